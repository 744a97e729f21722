"""What is looked at when all of a tree has been read, before its store is published: do sound and labels agree?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from data.agreement.stored import agreement_of
from data.agreement.verdict import FEWEST_FRAMES, FEWEST_NEAR
from data.errors import UserError
from data.names import some_of
from data.stores.build import Review
from data.stores.chunks import Store

MOST_APART: Final = 0.25
"""Share of the recordings that may disagree, of those that can be told; a store with more is not published."""

logger = logging.getLogger(f"seldtune.{__name__}")


def review_labels(store: Store, recordings: Mapping[str, Any], trusted: bool) -> Review:
    """Whether labels say what is heard, in the store as a whole and in each recording.

    Args:
        recordings: the report's, with the `facts["agreement"]` of each.
        trusted: what disagrees is a remark, and taken as it is.

    Raises:
        UserError: they disagree, with what would mend it where that is known.
    """
    agreement = agreement_of(store)
    apart = _apart(recordings)
    told = [str(agreement)] if agreement.doubts else []
    if apart:
        told.append(f"sound and labels disagree in {len(apart)} of {len(recordings)} recordings: {some_of(apart)}")
    many = len(apart) > MOST_APART * sum(_frames(one) >= FEWEST_FRAMES for one in recordings.values())
    if (agreement.doubts or many) and not trusted:
        raise UserError(
            f"nothing new is published at {store.root}: {'; '.join(told)}; mend what is wrong, or take it as it is "
            "with --trust-labels"
        )
    if not told:
        logger.info("%s: %s", store.root, agreement)
    return Review(tuple(told), {"agreement": agreement.to_dict()})


def _apart(recordings: Mapping[str, Any]) -> list[str]:
    """The recordings whose labels do not say what is heard."""
    return [
        name
        for name, one in recordings.items()
        if _frames(one) >= FEWEST_FRAMES and one["facts"]["agreement"]["near"] < FEWEST_NEAR
    ]


def _frames(recording: Mapping[str, Any]) -> int:
    # Records of earlier versions do not say.
    return recording["facts"].get("agreement", {}).get("frames", 0)
