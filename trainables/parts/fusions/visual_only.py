"""No fusion: pictures alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.parts.fusions.av_conformer import AvConformer
from trainables.parts.fusions.contract import FUSIONS


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class VisualOnly(AvConformer):
    """No fusion: a second Conformer on the visual embedding."""

    name: ClassVar[str] = "visual_only"
    needs: ClassVar[tuple[str, ...]] = ("visual",)
