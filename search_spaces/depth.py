"""`depth`: how deep, how wide and with how many heads, for the paper's encoders and fusions under its own schedule.

Nothing but the size of the network varies: schedule, rate and augmentation are the paper's.
"""

from __future__ import annotations

from dataclasses import replace

from search_spaces.presets import find_preset
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import (
    AudioOnly,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConformerConfig,
    CrossAttention,
    Fusion,
    Gru,
    NoVisual,
    ResNetConformer,
    TrialConfig,
    VisualEncoder,
)

WIDTHS = (256, 384, 512)
"""Each is a whole number of 16 heads."""
HEADS = (4, 8, 16)
# What the sampler starts from: each fusion as in the paper's table.
FIRST: dict[str, dict[str, int]] = {
    "audio_only": {"fusion_depth": 4, "fusion_heads": 8, "fusion_expansion": 2},
    "av_conformer": {"fusion_depth": 4, "fusion_heads": 8, "fusion_expansion": 2},
    "cmaf": {"fusion_depth": 4, "fusion_heads": 8, "fusion_expansion": 4},
    "cross_attention": {"fusion_depth": 4, "fusion_heads": 8, "fusion_expansion": 4},
    "gru": {"gru_depth": 2, "gru_hidden": 256},
}


def suggest(trial: Trial) -> TrialConfig:
    """One fusion with the sizes that it has; the visual encoder's only where there is one."""
    fusion = trial.suggest_categorical("fusion", list(FIRST))
    width = trial.suggest_categorical("width", list(WIDTHS))
    audio = CnnConformer(
        channels=(width // 8, width // 4, width // 2, width), conformer=_conformer(trial, "audio", width)
    )
    visual: VisualEncoder = NoVisual()
    if fusion != AudioOnly.name:
        visual = ResNetConformer(conformer=_conformer(trial, "visual", width))
    return replace(find_preset("audio_only"), audio=audio, visual=visual, fusion=_fusion(trial, fusion, width))


def _conformer(trial: Trial, part: str, width: int) -> ConformerConfig:
    return ConformerConfig(
        layers=trial.suggest_int(f"{part}_depth", 1, 8),
        heads=trial.suggest_categorical(f"{part}_heads", list(HEADS)),
        feed_forward=width * trial.suggest_categorical(f"{part}_expansion", [1, 2, 4]),
    )


def _fusion(trial: Trial, name: str, width: int) -> Fusion:
    if name == Gru.name:
        return Gru(
            layers=trial.suggest_int("gru_depth", 1, 4),
            hidden=trial.suggest_categorical("gru_hidden", [128, 256, 512]),
        )
    conformer = _conformer(trial, "fusion", width)
    if name in (Cmaf.name, CrossAttention.name):
        layer = Cmaf if name == Cmaf.name else CrossAttention
        return layer(layers=conformer.layers, heads=conformer.heads, feed_forward=conformer.feed_forward)
    return AudioOnly(conformer=conformer) if name == AudioOnly.name else AvConformer(conformer=conformer)


DEPTH = SearchSpace(
    name="depth",
    summary="depth, width and heads of encoders and fusions, all else as in the paper, on GPUs",
    suggest=suggest,
    first=tuple(
        {
            "fusion": fusion,
            "width": 512,
            "audio_depth": 4,
            "audio_heads": 8,
            "audio_expansion": 2,
            **({} if fusion == "audio_only" else {"visual_depth": 4, "visual_heads": 8, "visual_expansion": 2}),
            **sizes,
        }
        for fusion, sizes in FIRST.items()
    ),
    trials=48,
    budget_s=7 * 24 * 3600,
    grace_epochs=5,
    reduction=3,
    cpus_per_worker=4,
    gpus_per_worker=1.0,
    identity=source_identity(__file__),
)
