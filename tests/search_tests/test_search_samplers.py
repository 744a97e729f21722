"""Every sampler suggests after a resume what it would have suggested without: trials running side by side, refused
proposals, trials run again, and trials of earlier sweeps included."""

import math
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from data.errors import UserError
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.search.objectives import check_objectives, pareto_front, values_of
from infra.search.proposals import SearchSettings, draw
from infra.search.samplers import POPULATION, SAMPLERS, check_sampler
from infra.search.samplers.contract import Sampler
from infra.search.searcher import StudySearcher
from search_spaces.quickstart import QUICKSTART
from search_spaces.space import SearchSpace, Trial
from support.outside_parts import registered
from trainables.config import AdamW, AudioOnly, ConformerConfig, Cosine, TrainingConfig, TrialConfig, WarmupCosine
from trainables.config.tree import from_dict
from trainables.networks.model import count_parameters
from trainables.training.reports import LATENCY, OBJECTIVE


def suggest(trial: Trial) -> TrialConfig:
    """Two parameters that are always there, and one of two that come and go."""
    warm = trial.suggest_categorical("schedule", ["cosine", "warmup"]) == "warmup"
    lr = trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    if warm:
        schedule = WarmupCosine(warmup_fraction=trial.suggest_float("warmup", 0.01, 0.5))
    return TrialConfig(
        fusion=AudioOnly(conformer=ConformerConfig(layers=trial.suggest_int("layers", 1, 4))),
        schedule=schedule if warm else Cosine(final_fraction=trial.suggest_float("final", 0.0, 0.5)),
        optimiser=AdamW(lr=lr),
        training=TrainingConfig(epochs=4),
    )


SPACE = SearchSpace(
    name="small",
    summary="",
    suggest=suggest,
    first=({"schedule": "cosine", "lr": 1e-3}, {"schedule": "warmup", "lr": 1e-3}),
    trials=30,
    budget_s=1,
    grace_epochs=1,
    reduction=2,
)
# A proposal of a Gaussian process takes as long as all of another sampler's.
SLOW = pytest.mark.slow
CASES = [
    pytest.param("tpe", ("seld",), 24),
    pytest.param("forecast", ("seld",), 24),
    pytest.param("random", ("seld",), 40),
    pytest.param("nsga2", ("seld",), 3 * POPULATION),
    pytest.param("gp", ("seld",), 7, marks=SLOW),
    pytest.param("tpe", ("seld", "latency"), 16),
    pytest.param("nsga2", ("seld", "latency"), 3 * POPULATION),
    pytest.param("gp", ("seld", "latency"), 4, marks=SLOW),
]


def refuses(config: TrialConfig) -> str | None:
    return "too fast" if config.optimiser.lr > 3e-3 else None


def outcome(record: TrialRecord) -> None:
    """How a trial ends follows from its config alone, so that both runs of a test see the same."""
    config = record.config
    score = abs(math.log10(config["optimiser"]["lr"]) + 3) + 0.05 * config["fusion"]["conformer"]["layers"]
    rng = random.Random(str(record.params))
    record.state = rng.choices((COMPLETE, PRUNED, FAILED), (8, 2, 1))[0]
    for epoch in range(1, 5 if record.state == COMPLETE else 3):
        latency = 2.0 * config["fusion"]["conformer"]["layers"] + 0.01 * epoch
        record.add_report({"epoch": epoch, OBJECTIVE: score + 0.4 / epoch, LATENCY: latency, "epoch_s": 1.0})


class Sweep:
    """A sweep with `width` trials at a time, whose process may be replaced by a fresh one at any point."""

    def __init__(self, folder: Path, make: Callable[[SweepStore, list[TrialRecord]], StudySearcher]) -> None:
        self.store = SweepStore(str(folder), "s")
        self.make = make
        self.running: list[TrialRecord] = []
        self.names = (f"t{i}" for i in range(10_000))
        self.start([])

    def start(self, records: list[TrialRecord]) -> None:
        self.records = records
        self.search = self.make(self.store, records)
        # What ran comes first, in order; then the search goes on.
        again = [self.suggest() for _ in self.running]
        order = [record.number for record in self.running]
        assert sorted(order) == [record.number for record in again if record]
        self.running = [records[number] for number in order]

    def suggest(self) -> TrialRecord | None:
        name = next(self.names)
        suggested = self.search.suggest(name)
        return self.search.record_of(name) if isinstance(suggested, dict) else None

    def run(self, width: int, seed: int) -> Iterator[int]:
        """Trials end in an order that depends on the seed; yields when one has."""
        rng = random.Random(seed)
        while True:
            while len(self.running) < width and (record := self.suggest()) is not None:
                self.running.append(record)
            if not self.running:
                return
            place = rng.randrange(len(self.running))
            record = self.running.pop(place)
            if rng.random() < 0.1:
                self.search.again(record)
                assert self.suggest() is record
                self.running.insert(place, record)
                continue
            outcome(record)
            self.store.write(record)
            self.search.tell(record)
            yield len(self.records)


def random_search(
    store: SweepStore, records: list[TrialRecord], refuses: Callable[[TrialConfig], str | None]
) -> StudySearcher:
    return StudySearcher(
        SearchSettings(space=SPACE, trials=99, seed=1, sampler="random"),
        store,
        records,
        is_over=lambda: False,
        refuses=refuses,
    )


@pytest.mark.parametrize(("sampler", "objectives", "trials"), CASES)
def test_resumed_is_uninterrupted(tmp_path: Path, sampler: str, objectives: tuple[str, ...], trials: int) -> None:
    earlier: list[TrialRecord] = []

    def make(store: SweepStore, records: list[TrialRecord]) -> StudySearcher:
        return StudySearcher(
            SearchSettings(space=SPACE, trials=trials, seed=11, sampler=sampler, objectives=objectives),
            store,
            records,
            is_over=lambda: False,
            refuses=refuses,
            earlier=earlier,
        )

    before = Sweep(tmp_path / "before", lambda store, records: random_search(store, records, refuses))
    for ended in before.run(width=1, seed=0):
        if ended == 10:
            break
    earlier = [record for record in before.records if record.state in (COMPLETE, PRUNED)]

    whole = Sweep(tmp_path / "whole", make)
    for _ in whole.run(width=3, seed=1):
        pass
    split = Sweep(tmp_path / "split", make)
    kills = random.Random(2)
    for _ in split.run(width=3, seed=1):
        if kills.random() < 0.2:
            split.start(split.store.trials())

    assert [r.params for r in split.store.trials()] == [r.params for r in whole.store.trials()]
    assert [r.number for r in whole.records] == list(range(trials))
    assert len({str(r.params) for r in whole.records}) > trials // 2
    assert sum(r.refused for r in whole.records) == whole.search.refusals["too fast"]
    assert whole.search.refusals or sampler == "forecast", "one that knows better from the start proposes none of it"
    assert all(r.config["optimiser"]["lr"] <= 3e-3 for r in whole.records)
    rebuilt = make(whole.store, whole.store.trials())
    live = whole.search._study.trials()
    assert {n: (t.state, t.values, t.number) for n, t in rebuilt._study.trials().items()} == {
        n: (t.state, t.values, t.number) for n, t in live.items()
    }


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 60), ("forecast", 60), pytest.param("gp", 18, marks=SLOW)])
def test_a_model_of_the_past_does_better_than_chance(tmp_path: Path, sampler: str, trials: int) -> None:
    def later_scores(name: str) -> list[float]:
        """Of the trials after the first half."""
        records: list[TrialRecord] = []
        store = SweepStore(str(tmp_path), name)
        settings = SearchSettings(space=SPACE, trials=99, seed=3, sampler=name)
        search = StudySearcher(settings, store, records, is_over=lambda: False)
        for number in range(trials):
            search.suggest(str(number))
            outcome(records[-1])
            records[-1].state = COMPLETE
            search.tell(records[-1])
        return [record.best[OBJECTIVE] for record in records[trials // 2 :] if record.best]

    assert statistics.median(later_scores(sampler)) < 0.8 * statistics.median(later_scores("random"))


def test_what_forecast_proposes_is_a_point_of_the_space(tmp_path: Path) -> None:
    """Ranges with steps that do not meet their end, logarithmic whole numbers, choices that are nothing, no choice."""

    def odd(trial: Trial) -> TrialConfig:
        trial.suggest_float("stepped", 0.1, 1.0, step=0.4)
        trial.suggest_int("wide", 1, 1000, log=True)
        trial.suggest_int("even", 2, 9, step=2)
        trial.suggest_categorical("maybe", [None, True, "x"])
        return TrialConfig(training=TrainingConfig(epochs=4))

    for suggest_any in (odd, lambda trial: TrialConfig(training=TrainingConfig(epochs=4))):
        records: list[TrialRecord] = []
        space = SearchSpace(**{**vars(SPACE), "suggest": suggest_any, "first": ()})
        settings = SearchSettings(space=space, trials=12, seed=3, sampler="forecast")
        search = StudySearcher(settings, SweepStore(str(tmp_path), "odd"), records, is_over=lambda: False)
        for number in range(12):
            assert isinstance(search.suggest(str(number)), dict)
            outcome(records[-1])
            search.tell(records[-1])
        assert not search.refusals


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(
        UserError, match=r"sampler 'tpee' is not known \(did you mean tpe\?\).*tpe, forecast, random, gp, nsga2"
    ):
        check_sampler("tpee", SPACE.name, [])
    with pytest.raises(UserError, match=r"objective 'latencie' is not known \(did you mean latency\?\).*parameters"):
        check_objectives(("seld", "latencie"))
    for wrong in ((), ("latency",), ("latency", "seld"), ("seld", "seld")):
        with pytest.raises(UserError, match="seld has to be the first"):
            check_objectives(wrong)


def test_what_makes_no_sampler_is_named_before_a_sweep_starts() -> None:
    odd = Sampler(name="odd", make=lambda seed: 3)  # type: ignore[arg-type,return-value]
    said = rf"^sampler 'odd': <lambda> \({__file__}\) makes 3, and one of Optuna is expected"
    with registered(SAMPLERS, odd), pytest.raises(UserError, match=said):
        check_sampler("odd", SPACE.name, [])


def test_samplers_say_what_they_do_not_learn() -> None:
    def unlearnt(sampler: str, space: SearchSpace) -> list[str]:
        return check_sampler(sampler, space.name, draw(space, {}, seed=0).parameters)

    assert unlearnt("tpe", SPACE) == unlearnt("forecast", SPACE) == []
    assert unlearnt("gp", SPACE) == unlearnt("nsga2", SPACE) == ["final", "warmup"]
    assert unlearnt("gp", QUICKSTART) == []

    def apart(trial: Trial) -> TrialConfig:
        # Every parameter comes and goes with a coin that is none.
        name = f"lr{len(seen) % 2}"
        seen.append(name)
        return TrialConfig(optimiser=AdamW(lr=trial.suggest_float(name, 1e-4, 1e-3)))

    seen: list[str] = []
    with pytest.raises(UserError, match=r"'gp' learns only of parameters that all trials have.*has none; choose tpe"):
        unlearnt("gp", SearchSpace(**{**vars(SPACE), "suggest": apart}))
    assert set(SAMPLERS) == {"tpe", "forecast", "random", "gp", "nsga2"}


def test_parameters_are_counted_once_and_kept_with_the_trial(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    store = SweepStore(str(tmp_path), "s")
    objectives = ("seld", "parameters")
    settings = SearchSettings(space=QUICKSTART, trials=4, seed=3, objectives=objectives)
    search = StudySearcher(settings, store, records, is_over=lambda: False)
    for number in range(4):
        assert isinstance(search.suggest(str(number)), dict)
        record = search.record_of(str(number))
        outcome_of = {"epoch": 1, OBJECTIVE: (0.5, 0.3, 0.4, 0.3)[number], "epoch_s": 1.0}
        record.add_report(outcome_of)
        record.state = COMPLETE
        store.write(record)
        search.tell(record)
    values = [values_of(record, objectives) for record in store.trials()]
    assert values == [trial.values for trial in search._study.trials().values()]
    assert [v[1] for v in values if v] == [count_parameters(from_dict(record.config)) for record in records]
    assert [record.number for record in pareto_front(records, objectives)] == [1, 0]


def test_a_complete_trial_without_an_objective_is_a_failed_one_to_the_study(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    objectives = ("seld", "latency")
    search = StudySearcher(
        SearchSettings(space=QUICKSTART, trials=2, seed=3, objectives=objectives),
        SweepStore(str(tmp_path), "s"),
        records,
        is_over=lambda: False,
    )
    for reports in ({LATENCY: 3.0}, {}):
        search.suggest(str(len(records)))
        records[-1].add_report({"epoch": 1, OBJECTIVE: 0.5, "epoch_s": 1.0, **reports})
        records[-1].state = COMPLETE
        search.tell(records[-1])
    states = [trial.state.name for trial in search._study.trials().values()]
    assert states == ["COMPLETE", "FAIL"]
    assert search.suggest("last") == Searcher.FINISHED
