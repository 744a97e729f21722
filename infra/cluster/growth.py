"""How far a cluster that Ray's autoscaler scales may grow: its nodes come when trials wait for them.

Ray tells nobody how far its autoscaler goes, and a sweep that begins on a head alone would find no room for a trial. So
the head's environment says it, and a sweep counts on what it says.
"""

from __future__ import annotations

import re

from data.errors import UserError

GROWS_TO_VARIABLE = "SELDTUNE_GROWS_TO"
_FORM = re.compile(r"CPU=(\d+),GPU=(\d+)")


def parse_grows_to(text: str) -> dict[str, float]:
    """CPU and GPU of the variable.

    Raises:
        UserError: another form.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise UserError(f"{GROWS_TO_VARIABLE} is {text!r}; write what the cluster may grow to, e.g. CPU=80,GPU=8")
    return {"CPU": float(found[1]), "GPU": float(found[2])}


TRIAL_DRIVER = "trial_driver"
"""A resource of nodes that stay, where a cluster says so: the drivers of worker groups go there, workers anywhere."""
