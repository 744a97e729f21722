"""`fusion`: the choices of "Fusion of audio and visual embeddings for SELD" (ICASSP 2024) at its sizes.

Which encoder for sound and which for pictures, which fusion, how deep, which rate, schedule and augmentation, and how
wide the convolution of the Conformers looks. Meant for GPUs; a visual encoder without `visual.weights` starts at
random, which a run says loudly.
"""

from __future__ import annotations

from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import (
    Adam,
    AdamW,
    AudioEncoder,
    AudioOnly,
    AugmentConfig,
    AvConformer,
    Cmaf,
    CnnConformer,
    Concatenation,
    ConformerConfig,
    ConstantDecay,
    Cosine,
    CrossAttention,
    Fusion,
    Gru,
    I3d,
    Muon,
    NoVisual,
    OneCycle,
    ResNetConformer,
    Schedule,
    SeldNet,
    TrainingConfig,
    TrialConfig,
    VisualEncoder,
    WarmupCosine,
)

WIDTH = 512
# The fusions, and what decides the depth of each at its first point.
FIRST: dict[str, dict[str, int]] = {
    "audio_only": {"fusion_depth": 4, "fusion_heads": 8},
    "av_conformer": {"fusion_depth": 4, "fusion_heads": 8},
    "cmaf": {"fusion_depth": 4, "fusion_heads": 8},
    "cross_attention": {"fusion_depth": 4, "fusion_heads": 8},
    "gru": {"gru_layers": 2, "gru_hidden": 256},
    "concat": {},
}
SCHEDULES: dict[str, Schedule] = {
    "constant_decay": ConstantDecay(),
    "cosine": Cosine(),
    "one_cycle": OneCycle(),
    "warmup_cosine": WarmupCosine(),
}
OPTIMISERS: dict[str, type[Adam | Muon]] = {"adam": Adam, "adamw": AdamW, "muon": Muon}
# What is added to the channel swaps, which every trial has.
AUGMENTS: dict[str, AugmentConfig] = {
    "swaps": AugmentConfig(),
    "masks": AugmentConfig(time_mask_frames=64, mel_mask_bands=16, cutouts=4),
    "shift": AugmentConfig(frequency_shift_bands=8),
    "mixup": AugmentConfig(mixup_alpha=0.4),
    "all": AugmentConfig(time_mask_frames=64, mel_mask_bands=16, cutouts=4, frequency_shift_bands=8, mixup_alpha=0.4),
}


def suggest(trial: Trial) -> TrialConfig:
    """Each audio and visual encoder under each fusion; depth and width of a fusion only where it has them."""
    fusion = trial.suggest_categorical("fusion", list(FIRST))
    kernel = trial.suggest_categorical("kernel", [7, 15, 31, 51])
    encoder = ConformerConfig(layers=trial.suggest_int("encoder_depth", 2, 6), feed_forward=2 * WIDTH, kernel=kernel)
    schedule = trial.suggest_categorical("schedule", list(SCHEDULES))
    optimiser = trial.suggest_categorical("optimiser", list(OPTIMISERS))
    lr = trial.suggest_float("lr", 1e-5, 1e-3, log=True)
    augment = trial.suggest_categorical("augment", list(AUGMENTS))
    return TrialConfig(
        audio=_audio(trial, encoder),
        visual=NoVisual() if fusion == AudioOnly.name else _visual(trial, encoder),
        fusion=_fusion(trial, fusion, kernel),
        schedule=SCHEDULES[schedule],
        optimiser=OPTIMISERS[optimiser](lr=lr),
        augment=AUGMENTS[augment],
        training=TrainingConfig(epochs=50, batch_size=32),
    )


def _audio(trial: Trial, encoder: ConformerConfig) -> AudioEncoder:
    """The paper's, or the DCASE baseline's with as many layers of attention, at the same width."""
    name = trial.suggest_categorical("audio", [CnnConformer.name, SeldNet.name])
    if name == CnnConformer.name:
        return CnnConformer(conformer=encoder)
    return SeldNet(time_pools=(4, 2, 2), hidden=WIDTH, attention_layers=encoder.layers)


def _visual(trial: Trial, encoder: ConformerConfig) -> VisualEncoder:
    name = trial.suggest_categorical("visual", [ResNetConformer.name, I3d.name])
    return I3d() if name == I3d.name else ResNetConformer(conformer=encoder)


def _fusion(trial: Trial, name: str, kernel: int) -> Fusion:
    if name == Concatenation.name:
        return Concatenation()
    if name == Gru.name:
        return Gru(
            layers=trial.suggest_int("gru_layers", 1, 3),
            hidden=trial.suggest_categorical("gru_hidden", [256, 512]),
        )
    depth = trial.suggest_int("fusion_depth", 1, 8)
    heads = trial.suggest_categorical("fusion_heads", [4, 8, 16])
    if name in (Cmaf.name, CrossAttention.name):
        layer = Cmaf if name == Cmaf.name else CrossAttention
        return layer(layers=depth, heads=heads)
    conformer = ConformerConfig(layers=depth, heads=heads, feed_forward=2 * WIDTH, kernel=kernel)
    return AudioOnly(conformer=conformer) if name == AudioOnly.name else AvConformer(conformer=conformer)


FUSION = SearchSpace(
    name="fusion",
    summary="the paper's encoders and fusions at full size, on GPUs",
    suggest=suggest,
    first=tuple(
        {
            "fusion": fusion,
            "audio": "cnn_conformer",
            "kernel": 51,
            "encoder_depth": 4,
            "schedule": "constant_decay",
            "optimiser": "adam",
            "lr": 5e-4,
            "augment": "swaps",
            **({} if fusion == "audio_only" else {"visual": "resnet_conformer"}),
            **depth,
        }
        for fusion, depth in FIRST.items()
    ),
    trials=64,
    budget_s=7 * 24 * 3600,
    grace_epochs=5,
    reduction=3,
    cpus_per_worker=4,
    gpus_per_worker=1.0,
    identity=source_identity(__file__),
)
