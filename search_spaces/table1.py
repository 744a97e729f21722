"""`table1`: published systems as fixed points, each trained once for each seed. Nothing is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from data.registry.user_code import hash_text
from search_spaces.presets import PRESETS, Pretrained, find_preset
from search_spaces.space import PRESET, SEED, SearchSpace, Trial
from trainables.config import TrialConfig
from trainables.config.tree import fingerprint

ROWS = tuple(name for name in PRESETS if not name.startswith("dcase"))
"""The rows of the paper's table that share their inputs and need nothing from elsewhere. The DCASE baselines are left
out: of two the windows are longer, and the third reads boxes. The command `table1` trains those too."""


def table1_space(
    presets: Sequence[str],
    size: str = "paper",
    faithful: bool = False,
    pretrained: Pretrained | None = None,
    seeds: Sequence[int] = (),
) -> SearchSpace:
    """A space of these presets, which have to share their inputs.

    Args:
        seeds: each preset is a point with each of these as its `training.seed`, all presets with one seed before the
            next; none: each is one point, with the sweep's seed.

    Raises:
        UserError: an unknown preset or size.
    """
    configs = {name: find_preset(name, size, faithful, pretrained) for name in presets}

    def suggest(trial: Trial) -> TrialConfig:
        config = configs[trial.suggest_categorical(PRESET, list(configs))]
        if not seeds:
            return config
        seed = trial.suggest_categorical(SEED, list(seeds))
        return replace(config, training=replace(config.training, seed=seed))

    points: list[dict[str, str | int]] = [{PRESET: name} for name in configs]
    if seeds:
        points = [{**point, SEED: seed} for seed in seeds for point in points]
    return SearchSpace(
        name="-".join(("table1", *([] if size == "paper" else [size]), *(["faithful"] if faithful else []))),
        summary="published systems side by side" + (f", {size} size" if size != "paper" else ", on GPUs"),
        suggest=suggest,
        first=tuple(points),
        only_first=True,
        sets_seed=bool(seeds),
        trials=len(points),
        budget_s=30 * 24 * 3600,
        grace_epochs=max(config.training.epochs for config in configs.values()),
        reduction=2,
        cpus_per_worker=4 if size == "paper" else 1,
        gpus_per_worker=1.0 if size == "paper" else 0.0,
        identity=hash_text("".join([*map(fingerprint, configs.values()), *map(str, seeds)])),
    )


def groups(presets: Sequence[str], size: str = "paper") -> list[list[str]]:
    """The presets in their order, those that share their inputs together."""
    by_inputs: dict[object, list[str]] = {}
    for name in presets:
        by_inputs.setdefault(find_preset(name, size).inputs, []).append(name)
    return list(by_inputs.values())


TABLE1 = table1_space(ROWS, seeds=(0, 1, 2))
