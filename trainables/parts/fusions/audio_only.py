"""No fusion: sound alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.parts.fusions.av_conformer import AvConformer
from trainables.parts.fusions.contract import FUSIONS


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class AudioOnly(AvConformer):
    """No fusion: a second Conformer on the audio embedding, so that depths match the audio-visual models."""

    name: ClassVar[str] = "audio_only"
    needs: ClassVar[tuple[str, ...]] = ("audio",)
