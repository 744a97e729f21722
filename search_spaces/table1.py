"""`table1`: published systems as fixed points, each trained once for each seed. Nothing is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from search_spaces.presets import Pretrained, find_preset
from search_spaces.space import SearchSpace, Trial
from trainables.config import TrialConfig
from trainables.config_tree import fingerprint

PRESET = "preset"


def table1_space(
    presets: Sequence[str], size: str = "paper", faithful: bool = False, pretrained: Pretrained | None = None
) -> SearchSpace:
    """A space of these presets, which have to share their inputs.

    Raises:
        UserError: an unknown preset or size.
    """
    configs = {name: find_preset(name, size, faithful, pretrained) for name in presets}

    identity = hashlib.sha256("".join(map(fingerprint, configs.values())).encode()).hexdigest()

    def suggest(trial: Trial) -> TrialConfig:
        return configs[trial.suggest_categorical(PRESET, list(configs))]

    return SearchSpace(
        # A sweep of the same name is continued only where it trains the very same systems.
        name="-".join(("table1", size, *(["faithful"] if faithful else []), identity[:12])),
        summary="published systems side by side",
        suggest=suggest,
        first=tuple({PRESET: name} for name in configs),
        trials=len(configs),
        budget_s=30 * 24 * 3600,
        grace_epochs=max(config.training.epochs for config in configs.values()),
        reduction=2,
        cpus_per_worker=4 if size == "paper" else 1,
        gpus_per_worker=1.0 if size == "paper" else 0.0,
    )


def groups(presets: Sequence[str], size: str = "paper") -> list[list[str]]:
    """The presets in their order, those that share their inputs together."""
    by_inputs: dict[object, list[str]] = {}
    for name in presets:
        by_inputs.setdefault(find_preset(name, size).inputs, []).append(name)
    return list(by_inputs.values())
