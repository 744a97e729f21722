"""One frozen object says everything about a trial: `TrialConfig`.

Each part is one entry of a registry (`AUDIO_ENCODERS`, `VISUAL_ENCODERS`, `FUSIONS`, `OUTPUTS`, `SCHEDULES`,
`OPTIMISERS`): a name and that entry's own fields, written where its network is (`trainables.parts`). A field checks
itself where it stands, an entry what stands beside it; other rules across parts are checked once, in `TrialConfig`.
Each message names the field to change. Defaults are the sizes of "Fusion of audio and visual embeddings for SELD"
(ICASSP 2024), section 3.

Dictionaries in, dictionaries out (YAML, JSON, flat "a.b.c" keys): `trainables.config.tree`.
"""

from trainables.config.inference import InferenceConfig
from trainables.config.training import TrainingConfig
from trainables.config.trial import TrialConfig
from trainables.inputs.augment import AugmentConfig
from trainables.inputs.input_config import InputConfig
from trainables.layers.conformer import ConformerConfig
from trainables.parts.audio import AUDIO_ENCODERS, AudioEncoder
from trainables.parts.audio.cnn_conformer import CnnConformer
from trainables.parts.audio.none import NoAudio
from trainables.parts.audio.seldnet import SeldNet
from trainables.parts.fusions import FUSIONS, Fusion
from trainables.parts.fusions.audio_only import AudioOnly
from trainables.parts.fusions.av_conformer import AvConformer
from trainables.parts.fusions.cmaf import Cmaf
from trainables.parts.fusions.concatenation import Concatenation
from trainables.parts.fusions.cross_attention import CrossAttention
from trainables.parts.fusions.gru import Gru
from trainables.parts.fusions.visual_only import VisualOnly
from trainables.parts.head import HeadConfig
from trainables.parts.optimisers import OPTIMISERS, Optimiser
from trainables.parts.optimisers.adam import Adam
from trainables.parts.optimisers.adamw import AdamW
from trainables.parts.optimisers.muon import Muon
from trainables.parts.outputs import OUTPUTS, Output
from trainables.parts.outputs.accdoa import Accdoa
from trainables.parts.outputs.multi_accddoa import MultiAccddoa
from trainables.parts.outputs.multi_accdoa import MultiAccdoa
from trainables.parts.schedules import SCHEDULES, Schedule
from trainables.parts.schedules.constant_decay import ConstantDecay
from trainables.parts.schedules.cosine import Cosine
from trainables.parts.schedules.one_cycle import OneCycle
from trainables.parts.schedules.warmup_cosine import WarmupCosine
from trainables.parts.visual import VISUAL_ENCODERS, VisualEncoder
from trainables.parts.visual.both import ResNetAndI3d
from trainables.parts.visual.boxes import ObjectBoxes
from trainables.parts.visual.i3d import I3d
from trainables.parts.visual.none import NoVisual
from trainables.parts.visual.resnet_conformer import ResNetConformer

__all__ = [
    "AUDIO_ENCODERS",
    "FUSIONS",
    "OPTIMISERS",
    "OUTPUTS",
    "SCHEDULES",
    "VISUAL_ENCODERS",
    "Accdoa",
    "Adam",
    "AdamW",
    "AudioEncoder",
    "AudioOnly",
    "AugmentConfig",
    "AvConformer",
    "Cmaf",
    "CnnConformer",
    "Concatenation",
    "ConformerConfig",
    "ConstantDecay",
    "Cosine",
    "CrossAttention",
    "Fusion",
    "Gru",
    "HeadConfig",
    "I3d",
    "InferenceConfig",
    "InputConfig",
    "MultiAccddoa",
    "MultiAccdoa",
    "Muon",
    "NoAudio",
    "NoVisual",
    "ObjectBoxes",
    "OneCycle",
    "Optimiser",
    "Output",
    "ResNetAndI3d",
    "ResNetConformer",
    "Schedule",
    "SeldNet",
    "TrainingConfig",
    "TrialConfig",
    "VisualEncoder",
    "VisualOnly",
    "WarmupCosine",
]
