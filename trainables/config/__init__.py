"""One frozen object says everything about a trial: `TrialConfig`.

Each part is one entry of a registry (`AUDIO_ENCODERS`, `VISUAL_ENCODERS`, `FUSIONS`, `OUTPUTS`, `SCHEDULES`,
`OPTIMISERS`): a name and that entry's own fields. A field checks itself where it stands; rules across parts are checked
once, in `TrialConfig`, and each message names the field to change. Defaults are the sizes of "Fusion of audio and
visual embeddings for SELD" (ICASSP 2024), section 3.

Dictionaries in, dictionaries out (YAML, JSON, flat "a.b.c" keys): `trainables.config.tree`.
"""

from trainables.config.encoders import (
    AUDIO_ENCODERS,
    VISUAL_ENCODERS,
    AudioEncoder,
    CnnConformer,
    ConformerConfig,
    I3d,
    NoAudio,
    NoVisual,
    ObjectBoxes,
    ResNetAndI3d,
    ResNetConformer,
    SeldNet,
    VisualEncoder,
)
from trainables.config.fusions import (
    FUSIONS,
    AudioOnly,
    AvConformer,
    Cmaf,
    Concatenation,
    CrossAttention,
    Fusion,
    Gru,
    VisualOnly,
)
from trainables.config.outputs import (
    OUTPUTS,
    Accdoa,
    HeadConfig,
    InferenceConfig,
    MultiAccddoa,
    MultiAccdoa,
    Output,
)
from trainables.config.training import (
    OPTIMISERS,
    SCHEDULES,
    Adam,
    AdamW,
    AugmentConfig,
    ConstantDecay,
    Cosine,
    OneCycle,
    Optimiser,
    Schedule,
    TrainingConfig,
    WarmupCosine,
)
from trainables.config.trial import TrialConfig
from trainables.inputs.input_config import RATE_HZ, InputConfig

__all__ = [
    "AUDIO_ENCODERS",
    "FUSIONS",
    "OPTIMISERS",
    "OUTPUTS",
    "RATE_HZ",
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
