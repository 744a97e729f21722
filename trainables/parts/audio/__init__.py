"""Audio encoders: from features to an embedding for each label frame. Each file but `contract` is one."""

from data.registry.parts import import_all
from trainables.parts.audio.contract import AUDIO_ENCODERS, AudioEncoder

import_all(__name__)

__all__ = ["AUDIO_ENCODERS", "AudioEncoder"]
