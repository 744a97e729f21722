"""The variants of a grouping: their counts, medians, intervals, and tests against the reference variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.errors import UserError
from infra.comparison import statistics
from infra.comparison.cost import SearchCost, search_cost
from infra.comparison.statistics import FEWEST, Interval, RankTest
from infra.comparison.trials import ComparedTrial
from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING

USUAL_REFERENCES = ("audio_only", "none")
"""Variants that others are measured against, where they are there and nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The trials of a grouping that are alike in it."""

    name: str
    trials: int
    complete: int
    stopped: int
    failed: int
    running: int
    compared: int
    """Trials with a score at equal epochs."""
    configs: int
    """Different configs among them."""
    best: ComparedTrial | None
    median: float | None
    """Of the configs' scores at equal epochs."""
    interval: Interval | None
    test: RankTest | None
    """Against the reference variant; None for itself, or where one of the two has no score."""
    p_holm: float | None
    verdict: str
    cost: SearchCost


def variant_json(variant: Variant) -> dict[str, Any]:
    """A variant's figures as plain values."""
    best = variant.best
    return {
        "name": variant.name,
        **{key: getattr(variant, key) for key in ("trials", "complete", "stopped", "failed", "running", "compared")},
        "configs": variant.configs,
        "best": None if best is None else {"trial": best.label, "scores": best.record.best},
        "median": variant.median,
        "interval": None if variant.interval is None else asdict(variant.interval),
        "test": None if variant.test is None else asdict(variant.test),
        "p_holm": variant.p_holm,
        "verdict": variant.verdict,
        "cost": variant.cost.as_json(),
    }


def choose_reference(trials: Sequence[ComparedTrial], grouping: str, wanted: str | None) -> str:
    """The variant to test against: the one wanted, else one without video, else the one with most trials."""
    names = [trial.variants[grouping] for trial in trials]
    if wanted is not None and wanted not in names:
        raise UserError(
            f"--reference {wanted!r}: no trial has this {grouping}; there are {', '.join(sorted({*names}))}"
        )
    usual = [name for name in USUAL_REFERENCES if name in names]
    return wanted or (usual[0] if usual else max(sorted(set(names)), key=names.count))


def compare_variants(trials: Sequence[ComparedTrial], grouping: str, reference: str, target: float) -> list[Variant]:
    """Every variant of the grouping, the smallest median first; p-values are corrected for their number."""
    members: dict[str, list[ComparedTrial]] = {}
    for trial in trials:
        members.setdefault(trial.variants[grouping], []).append(trial)
    samples = {name: Sample.of(group) for name, group in members.items()}
    tests = {name: _test(samples[name], samples[reference]) for name in members if name != reference}
    tested = {name: test for name, test in tests.items() if test is not None}
    corrected = dict(zip(tested, statistics.holm([test.p for test in tested.values()]), strict=True))
    variants = []
    for name, group in members.items():
        states = [trial.record.state for trial in group]
        sample, test = samples[name], tested.get(name)
        scored = [trial for trial in group if trial.best_score is not None]
        verdict = statistics.TOO_FEW if test is None else test.verdict(corrected[name])
        variants.append(
            Variant(
                name=name,
                trials=len(group),
                complete=states.count(COMPLETE),
                stopped=states.count(PRUNED),
                failed=states.count(FAILED),
                running=states.count(RUNNING),
                compared=sum(trial.score is not None for trial in group),
                configs=len(sample.configs),
                best=min(scored, key=lambda trial: trial.best_score or 0.0, default=None),
                median=float(np.median(sample.configs)) if sample.configs else None,
                interval=statistics.mean_interval(list(sample.seeds.values()))
                if sample.repeated
                else statistics.median_interval(sample.configs),
                test=test,
                p_holm=corrected.get(name),
                verdict=statistics.REFERENCE if name == reference else verdict,
                cost=search_cost([(trial.record, trial.started_at) for trial in group], target),
            )
        )
    return sorted(variants, key=lambda variant: (variant.median is None, variant.median or 0.0, variant.name))


@dataclass(frozen=True)
class Sample:
    """What a variant's interval and test are over."""

    configs: list[float]
    """A score for each config: the mean over its seeds."""
    seeds: dict[int, float]
    """Of the config that ran with most seeds: seed -> score."""

    @property
    def repeated(self) -> bool:
        return len(self.seeds) >= FEWEST

    @classmethod
    def of(cls, trials: Sequence[ComparedTrial]) -> Sample:
        runs: dict[str, dict[int, float]] = {}
        for trial in trials:
            if trial.score is not None:
                runs.setdefault(trial.config_key, {})[trial.seed] = trial.score
        means = {key: float(np.mean(list(seeds.values()))) for key, seeds in runs.items()}
        most = min(runs, key=lambda key: (-len(runs[key]), means[key]), default=None)
        return cls(list(means.values()), {} if most is None else runs[most])


def _test(ours: Sample, theirs: Sample) -> RankTest | None:
    """Over seeds where both have them, in pairs where enough belong together; else over configs."""
    if not ours.configs or not theirs.configs:
        return None
    if not (ours.repeated and theirs.repeated):
        return statistics.mann_whitney(ours.configs, theirs.configs)
    common = sorted(ours.seeds.keys() & theirs.seeds.keys())
    if len(common) >= statistics.pairs_needed():
        return statistics.wilcoxon([ours.seeds[seed] for seed in common], [theirs.seeds[seed] for seed in common])
    return statistics.mann_whitney(list(ours.seeds.values()), list(theirs.seeds.values()))
