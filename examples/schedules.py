"""A space in Python: the quickstart's, with one fusion and every schedule.

seldtune sweep examples/schedules.py --data s3://seldtune/data/quickstart
"""

from dataclasses import replace

from search_spaces.quickstart import QUICKSTART, suggest
from search_spaces.space import Trial
from trainables.config import ConstantDecay, Cosine, OneCycle, TrialConfig, WarmupCosine


def gru_schedules(trial: Trial) -> TrialConfig:
    """The quickstart's GRU under one of four schedules; its own choice of fusion and schedule is not asked for."""
    schedule = trial.suggest_categorical("schedule", ["constant_decay", "cosine", "one_cycle", "warmup_cosine"])
    config = suggest(Fixed(trial))
    entries = {entry.name: entry for entry in (ConstantDecay, Cosine, OneCycle, WarmupCosine)}
    return replace(config, schedule=entries[schedule](), training=replace(config.training, epochs=8))


CHOSEN = {"fusion": "gru", "schedule": "one_cycle"}


class Fixed:
    """A trial of which two choices are made."""

    def __init__(self, trial: Trial) -> None:
        self.suggest_float = trial.suggest_float
        self.suggest_int = trial.suggest_int

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        return CHOSEN[name]


SPACE = replace(
    QUICKSTART,
    name="gru-schedules",
    summary="four schedules of the quickstart's GRU",
    suggest=gru_schedules,
    first=(),
    trials=12,
)
