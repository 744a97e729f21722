"""No visual encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.parts.visual.contract import VISUAL_ENCODERS, VisualEncoder


@VISUAL_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class NoVisual(VisualEncoder):
    """The model does not see; no video is read or decoded for it."""

    name: ClassVar[str] = "none"

    def build(self, width: int) -> None:
        return None
