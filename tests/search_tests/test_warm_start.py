"""Trials of earlier sweeps, through a real MLflow store: written by the tracker, read back for a new sweep's study."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from data.errors import UserError
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.search.proposals import SearchSettings
from infra.search.searcher import StudySearcher
from infra.search.warm_start import earlier_trials, keep, kept
from infra.tracking.tracker import SweepTracker
from search_spaces.quickstart import QUICKSTART
from search_spaces.space import SearchSpace, Trial
from trainables.config import TrialConfig
from trainables.config.tree import from_dict
from trainables.networks.model import count_parameters
from trainables.training.reports import LATENCY, OBJECTIVE

pytestmark = pytest.mark.slow
EXPERIMENT, DATA = "warm", "a1b2"
STATES = (COMPLETE, PRUNED, FAILED, COMPLETE, COMPLETE, PRUNED, COMPLETE, COMPLETE)


def run_sweep(client: mlflow.MlflowClient, folder: Path, name: str, data: str, seed: int) -> list[TrialRecord]:
    """A sweep of quickstart as the driver would have recorded it; its last trial is still running."""
    records: list[TrialRecord] = []
    store = SweepStore(str(folder), name)
    search = searcher(store, records, seed=seed, trials=len(STATES) + 1)
    tracker = SweepTracker(client.tracking_uri, EXPERIMENT, name, {"data": data})
    for number, state in enumerate(STATES):
        search.suggest(str(number))
        for epoch in (1, 2, 3):
            score = abs(records[-1].config["optimiser"]["lr"] - 2e-3) * 100 + 0.3 / epoch
            records[-1].add_report(
                {"epoch": epoch, "best_epoch": epoch, OBJECTIVE: score, LATENCY: 2.0, "epoch_s": 1.0, "at": 1e9 + epoch}
            )
        records[-1].state = state
        records[-1].error = "it broke" if state == FAILED else None
        store.write(records[-1])
        tracker.update(records[-1])
        search.tell(records[-1])
    search.suggest("runs")
    tracker.update(records[-1])
    assert tracker.flush()
    return records


def searcher(store: SweepStore, records: list[TrialRecord], seed: int = 4, **options) -> StudySearcher:
    earlier = options.pop("earlier", ())
    settings = SearchSettings(**{"space": QUICKSTART, "trials": 6, "seed": seed, **options})
    return StudySearcher(settings, store, records, is_over=lambda: False, earlier=earlier)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@pytest.fixture(scope="module")
def client(folder: Path) -> mlflow.MlflowClient:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    client.create_experiment(EXPERIMENT, artifact_location=str(folder / "artifacts"))
    return client


@pytest.fixture(scope="module")
def first(client: mlflow.MlflowClient, folder: Path) -> list[TrialRecord]:
    return run_sweep(client, folder, "first", DATA, seed=1)


@pytest.fixture(scope="module")
def other(client: mlflow.MlflowClient, folder: Path) -> list[TrialRecord]:
    return run_sweep(client, folder, "other", "c3d4", seed=2)


def read(client: mlflow.MlflowClient, sweeps: list[str], space: SearchSpace = QUICKSTART, **options):
    return earlier_trials(client, EXPERIMENT, sweeps, space, **{"data": DATA, "objectives": ("seld",), **options})


def test_ended_trials_come_back_as_they_were(client, first, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = read(client, ["first"])
    ended = [record for record in first if record.state in (COMPLETE, PRUNED)]
    assert [(r.number, r.params, r.distributions, r.state) for r in found] == [
        (r.number, r.params, r.distributions, r.state) for r in ended
    ]
    for mine, theirs in zip(found, ended, strict=True):
        assert mine.best
        assert theirs.best
        assert mine.best[OBJECTIVE] == pytest.approx(theirs.best[OBJECTIVE])
        if mine.state == PRUNED:
            assert [(r["epoch"], r[OBJECTIVE]) for r in mine.reports] == [
                (r["epoch"], r[OBJECTIVE]) for r in theirs.reports
            ]
    assert "2 trials of first are left out: they failed or have not ended" in caplog.text


def test_only_trials_on_the_same_data_unless_any_will_do(client, first, other, caplog) -> None:
    with caplog.at_level(logging.INFO):
        assert [record.number for record in read(client, ["first", "other"])] == [0, 1, 3, 4, 5, 6, 7]
    assert "7 trials of first, other are left out: they were trained on other data" in caplog.text
    numbers = [record.number for record in read(client, ["other", "first"], data=None)]
    assert numbers == [0, 1, 3, 4, 5, 6, 7] * 2


def space_with(**changed: object) -> SearchSpace:
    """quickstart with some suggestions made otherwise."""

    class Changed:
        def __init__(self, trial: Trial) -> None:
            self._trial = trial

        def suggest_categorical(self, name: str, choices):
            return self._trial.suggest_categorical(name, changed.get(name, choices))

        def suggest_int(self, name: str, low: int, high: int, **how) -> int:
            return self._trial.suggest_int(name, low, high, **how)

        def suggest_float(self, name: str, low: float, high: float, **how) -> float:
            low, high, log = changed.get(name, (low, high, True))
            return self._trial.suggest_float(changed.get("rename", name), low, high, log=log)

    def suggest(trial: Trial) -> TrialConfig:
        return QUICKSTART.suggest(Changed(trial))

    return replace(QUICKSTART, suggest=suggest)


@pytest.mark.parametrize(
    ("changed", "taken", "message"),
    [
        ({"lr": (1e-5, 1e-1, True)}, 7, None),
        ({"lr": (4e-4, 4e-3, False)}, 0, "lr is sampled otherwise"),
        ({"fusion": ["audio_only", "gru", "cmaf"]}, 0, None),
        ({"fusion": ["gru", "audio_only", "av_conformer", "cmaf"]}, 0, "fusion is sampled otherwise"),
        ({"rename": "rate"}, 0, "the space has parameters or choices that they do not"),
        ({"lr": (0.9e-3, 1.1e-3, True)}, None, "their lr is outside the space"),
    ],
)
def test_only_trials_that_the_space_could_have_proposed(client, first, caplog, changed, taken, message) -> None:
    space = space_with(**changed)
    with caplog.at_level(logging.INFO):
        found = read(client, ["first"], space)
    inside = [r for r in first if r.state in (COMPLETE, PRUNED) and 0.9e-3 <= r.params["lr"] <= 1.1e-3]
    assert len(found) == (len(inside) if taken is None else taken)
    assert message is None or message in caplog.text
    # Whatever was taken is a trial of the space's own distributions, which the study takes.
    searcher(SweepStore("unused", "s"), [], space=space, earlier=found)


@pytest.mark.parametrize("sampler", ["tpe", "forecast"])
def test_a_new_sweep_goes_by_them_and_does_not_count_them(client, first, tmp_path: Path, sampler: str) -> None:
    earlier = read(client, ["first"])
    plain, warm = (_proposals(tmp_path / name, taken, sampler) for name, taken in (("plain", []), ("warm", earlier)))
    assert [record.number for record in warm] == list(range(6))
    assert [r.params for r in warm[:4]] == [r.params for r in plain[:4]]  # the space's first points
    assert [r.params for r in warm[4:]] != [r.params for r in plain[4:]]


def _proposals(folder: Path, earlier: list[TrialRecord], sampler: str) -> list[TrialRecord]:
    """A sweep that is taken up anew after each trial, with what the first start kept."""
    sweep = SweepStore(str(folder), "s")
    assert kept(sweep) is None
    keep(sweep, earlier)
    for number in range(6):
        again = kept(sweep)
        assert again is not None
        records = sweep.trials()
        search = searcher(sweep, records, earlier=again, sampler=sampler)
        assert isinstance(search.suggest("t"), dict)
        assert records[-1].number == number
        records[-1].add_report({"epoch": 1, OBJECTIVE: 0.5 - 0.01 * number, "epoch_s": 1.0})
        records[-1].state = COMPLETE
        sweep.write(records[-1])
        search.tell(records[-1])
    whole: list[TrialRecord] = []
    one = SweepStore(str(folder), "one")
    search = searcher(one, whole, earlier=earlier, sampler=sampler)
    for number in range(6):
        search.suggest(str(number))
        whole[-1].add_report({"epoch": 1, OBJECTIVE: 0.5 - 0.01 * number, "epoch_s": 1.0})
        whole[-1].state = COMPLETE
        search.tell(whole[-1])
    assert [r.params for r in whole] == [r.params for r in sweep.trials()]
    return whole


def test_other_objectives_come_from_the_run_too(client, first) -> None:
    objectives = ("seld", "parameters", "latency")
    found = read(client, ["first"], objectives=objectives)
    by_number = {record.number: record for record in first}
    for record in found:
        assert record.measures == {"parameters": count_parameters(from_dict(by_number[record.number].config))}
    study = searcher(SweepStore("unused", "s"), [], earlier=found, objectives=objectives, sampler="nsga2")._study
    values = [trial.values for trial in study._trials() if trial.state.name == "COMPLETE"]
    assert len(values) == 5
    assert all(value[2] == 2.0 for value in values)


def test_an_unknown_sweep_is_refused_with_those_there_are(client, first, other) -> None:
    with pytest.raises(UserError, match=r"no sweep 'frist' .*did you mean first\?\); there are first, other"):
        read(client, ["frist"])
    with pytest.raises(UserError, match="there are none"):
        earlier_trials(client, "nothing here", ["first"], QUICKSTART, data=None, objectives=("seld",))
