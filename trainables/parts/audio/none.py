"""No audio encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.checks import check_positive
from trainables.parts.audio.contract import AUDIO_ENCODERS, AudioEncoder


@AUDIO_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class NoAudio(AudioEncoder):
    """The model does not hear; it goes by pictures alone."""

    name: ClassVar[str] = "none"
    hears: ClassVar[bool] = False
    width_field: ClassVar[str] = "width"
    width: int = 512
    """Width of the visual embedding, which follows the audio encoder's where there is one."""

    def __post_init__(self) -> None:
        check_positive(self, "audio", "width")

    def build(self, num_bands: int) -> None:
        return None
