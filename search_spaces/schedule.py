"""`schedule`: how the rate moves over the epochs, for one fixed model: ResNet-Conformer with AV-Conformer at the
paper's size, the paper's best row but for GRU.

Which schedule with its own fields, which rate, which optimiser. Stopping waits for long: a rate that is still high
scores worse than one that has come down, whatever it ends with.
"""

from __future__ import annotations

from dataclasses import replace

from search_spaces.presets import find_preset
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import (
    Adam,
    AdamW,
    ConstantDecay,
    Cosine,
    Muon,
    OneCycle,
    Optimiser,
    Schedule,
    TrialConfig,
    WarmupCosine,
)

PRESET = "resnet-av_conformer"


def suggest(trial: Trial) -> TrialConfig:
    """The preset under one schedule and one optimiser."""
    schedule = _schedule(trial)
    return replace(find_preset(PRESET), schedule=schedule, optimiser=_optimiser(trial))


def _schedule(trial: Trial) -> Schedule:
    name = trial.suggest_categorical("schedule", ["constant_decay", "cosine", "one_cycle", "warmup_cosine"])
    if name == ConstantDecay.name:
        return ConstantDecay(
            constant_epochs=trial.suggest_int("constant_epochs", 0, 45),
            decay=trial.suggest_float("decay", 0.8, 0.99),
        )
    if name == OneCycle.name:
        return OneCycle(
            rise_fraction=trial.suggest_float("rise_fraction", 0.05, 0.5),
            initial_fraction=trial.suggest_float("initial_fraction", 0.01, 0.2, log=True),
        )
    final = trial.suggest_float("final_fraction", 1e-4, 0.1, log=True)
    if name == Cosine.name:
        return Cosine(final_fraction=final)
    return WarmupCosine(warmup_fraction=trial.suggest_float("warmup_fraction", 0.01, 0.3), final_fraction=final)


def _optimiser(trial: Trial) -> Optimiser:
    lr = trial.suggest_float("lr", 1e-5, 2e-3, log=True)
    optimiser = trial.suggest_categorical("optimiser", [kind.name for kind in (Adam, AdamW, Muon)])
    if optimiser == Adam.name:
        return Adam(lr=lr)
    decay = trial.suggest_float("weight_decay", 1e-4, 0.1, log=True)
    return AdamW(lr=lr, weight_decay=decay) if optimiser == AdamW.name else Muon(lr=lr, weight_decay=decay)


SCHEDULE = SearchSpace(
    name="schedule",
    summary="schedules with their own fields, rate and optimiser of one model at the paper's size, on GPUs",
    suggest=suggest,
    first=(
        {"schedule": "constant_decay", "constant_epochs": 30, "decay": 0.95, "lr": 5e-4, "optimiser": "adam"},
        {"schedule": "cosine", "final_fraction": 0.01, "lr": 5e-4, "optimiser": "adam"},
        {"schedule": "one_cycle", "rise_fraction": 0.3, "initial_fraction": 0.04, "lr": 1e-3, "optimiser": "adam"},
        {"schedule": "warmup_cosine", "warmup_fraction": 0.1, "final_fraction": 0.01, "lr": 5e-4, "optimiser": "adam"},
    ),
    trials=40,
    budget_s=5 * 24 * 3600,
    grace_epochs=20,
    reduction=2,
    cpus_per_worker=4,
    gpus_per_worker=1.0,
    identity=source_identity(__file__),
)
