"""`quickstart`: small models on synthetic scenes, minutes on two cores, with every kind of fusion in the race."""

from __future__ import annotations

from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import (
    AudioOnly,
    AugmentConfig,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConformerConfig,
    Fusion,
    Gru,
    HeadConfig,
    InputConfig,
    MultiAccdoa,
    Muon,
    NoVisual,
    OneCycle,
    ResNetConformer,
    TrainingConfig,
    TrialConfig,
    VisualEncoder,
    WarmupCosine,
)

# A coarser look at sound and picture than the paper's, and a network a hundred times smaller: what learns most in a few
# minutes of two cores.
INPUTS = InputConfig(
    n_fft=1024, hop=600, n_mels=32, frame_width=96, frame_height=48, frame_rate_hz=2.0, level="normalised"
)
# Elevation is learnt late where z counts no more than the other axes; at twice as much some classes are. Nothing is
# detected for epochs where silence counts as much as events; at ten times as much too is.
OUTPUT = MultiAccdoa(vertical_weight=1.5, active_weight=3.0)
CHANNELS = (16, 32, 96)
WIDTH = CHANNELS[-1]


def suggest(trial: Trial) -> TrialConfig:
    """One of the four fusions at a size that two cores can train, with its rate and schedule."""
    fusion = trial.suggest_categorical("fusion", ["audio_only", "av_conformer", "gru", "cmaf"])
    depth = trial.suggest_int("depth", 1, 2)
    schedule = trial.suggest_categorical("schedule", ["one_cycle", "warmup_cosine"])
    lr = trial.suggest_float("lr", 1.5e-3, 6e-3, log=True)
    return TrialConfig(
        inputs=INPUTS,
        audio=CnnConformer(
            channels=CHANNELS,
            time_strides=(4, 1, 1),
            frequency_strides=(2, 2, 2),
            conformer=_conformer(1, WIDTH),
        ),
        visual=_visual(fusion),
        fusion=_fusion(fusion, depth),
        head=HeadConfig(hidden=128),
        output=OUTPUT,
        schedule=OneCycle() if schedule == "one_cycle" else WarmupCosine(),
        optimiser=Muon(lr=lr),
        augment=AugmentConfig(channel_swaps=True),
        training=TrainingConfig(epochs=14, batch_size=16, epoch_windows=1024),
    )


def _conformer(layers: int, width: int) -> ConformerConfig:
    return ConformerConfig(layers=layers, heads=4, feed_forward=2 * width, kernel=7, dropout=0.05)


def _visual(fusion: str) -> VisualEncoder:
    if fusion == AudioOnly.name:
        return NoVisual()
    return ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=8, pool_columns=3, conformer=_conformer(1, WIDTH))


def _fusion(name: str, depth: int) -> Fusion:
    if name == AudioOnly.name:
        return AudioOnly(conformer=_conformer(depth, WIDTH))
    if name == AvConformer.name:
        return AvConformer(visual_gate=True, conformer=_conformer(depth, 2 * WIDTH))
    if name == Gru.name:
        return Gru(visual_gate=True, layers=depth, hidden=WIDTH, dropout=0.05)
    return Cmaf(visual_gate=True, layers=depth, heads=4, feed_forward=2 * WIDTH, dropout=0.05)


QUICKSTART = SearchSpace(
    name="quickstart",
    summary="tiny models, all fusions, minutes on two cores",
    suggest=suggest,
    first=(
        {"fusion": "audio_only", "depth": 1, "schedule": "warmup_cosine", "lr": 3e-3},
        {"fusion": "gru", "depth": 1, "schedule": "warmup_cosine", "lr": 3e-3},
        {"fusion": "av_conformer", "depth": 1, "schedule": "warmup_cosine", "lr": 3e-3},
        {"fusion": "cmaf", "depth": 1, "schedule": "warmup_cosine", "lr": 3e-3},
    ),
    trials=10,
    budget_s=600,
    grace_epochs=3,
    reduction=3,
    identity=source_identity(__file__),
)
