"""Cross-modal attentive fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.parts.fusions.contract import FUSIONS
from trainables.parts.fusions.cross_attention import CrossAttention


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class Cmaf(CrossAttention):
    """Cross-modal attentive fusion: self- and cross-attention of each modality, side by side."""

    name: ClassVar[str] = "cmaf"
    attends_to_itself: ClassVar[bool] = True
