"""The searcher against a record on disk: seeded, resumable at any point, nothing asked or told twice."""

from pathlib import Path

import pytest
from ray.tune.search import Searcher

from data.errors import UserError
from infra.records import COMPLETE, FAILED, PRUNED, SweepStore, TrialRecord, best_trial
from infra.search import StudySearcher, try_out
from search_spaces.quickstart import QUICKSTART
from trainables.loop import OBJECTIVE


def searcher(store: SweepStore, records: list[TrialRecord], trials: int = 8, over: bool = False) -> StudySearcher:
    return StudySearcher(QUICKSTART, store, records, fixed={}, seed=5, num_trials=trials, is_over=lambda: over)


def report(epoch: int, value: float) -> dict[str, float]:
    return {"epoch": epoch, OBJECTIVE: value, "epoch_s": 1.0}


def end(search: StudySearcher, store: SweepStore, record: TrialRecord, state: str, value: float) -> None:
    if state != FAILED:
        record.add_report(report(1, value + 0.1))
        record.add_report(report(2, value))
    record.state = state
    store.write(record)
    search.tell(record)


def run(store: SweepStore, records: list[TrialRecord], search: StudySearcher, count: int) -> None:
    for i in range(count):
        name = f"t{len(records)}-{i}"
        assert isinstance(search.suggest(name), dict)
        record = search.record_of(name)
        state = (COMPLETE, PRUNED, FAILED)[record.number % 3]
        end(search, store, record, state, 0.5 + 0.01 * record.number)


def test_resumed_search_suggests_what_an_uninterrupted_one_would_have(tmp_path: Path) -> None:
    whole_store, split_store = SweepStore(str(tmp_path), "whole"), SweepStore(str(tmp_path), "split")
    whole: list[TrialRecord] = []
    run(whole_store, whole, searcher(whole_store, whole), 8)

    first: list[TrialRecord] = []
    run(split_store, first, searcher(split_store, first), 5)
    again = split_store.trials()
    assert [r.number for r in again] == [0, 1, 2, 3, 4]
    run(split_store, again, searcher(split_store, again), 3)
    assert [r.params for r in split_store.trials()] == [r.params for r in whole_store.trials()]
    assert len({str(r.params) for r in whole}) == 8


def test_interrupted_trials_come_first_and_keep_number_config_and_reports(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "s")
    records: list[TrialRecord] = []
    search = searcher(store, records)
    run(store, records, search, 2)
    search.suggest("killed")
    lost = search.record_of("killed")
    lost.add_report(report(1, 0.9))
    store.write(lost)

    again = store.trials()
    resumed = searcher(store, again)
    assert resumed.suggest("x") == {"number": 2, "config": lost.config}
    assert resumed.record_of("x").reports == [report(1, 0.9)]
    end(resumed, store, resumed.record_of("x"), COMPLETE, 0.2)
    assert resumed._study.trials[2].value == 0.2
    assert resumed.suggest("y")["number"] == 3  # type: ignore[index]


def test_the_budget_ends_the_search(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "s")
    records: list[TrialRecord] = []
    search = searcher(store, records, trials=2)
    run(store, records, search, 2)
    assert search.suggest("z") == Searcher.FINISHED
    assert searcher(SweepStore(str(tmp_path), "other"), [], over=True).suggest("a") == Searcher.FINISHED


def test_states_reach_optuna(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "s")
    records: list[TrialRecord] = []
    search = searcher(store, records)
    run(store, records, search, 3)
    told = [(t.state.name, t.intermediate_values) for t in search._study.trials[:3]]
    assert [state for state, _ in told] == ["COMPLETE", "PRUNED", "FAIL"]
    assert list(told[1][1]) == [1, 2]
    rebuilt = searcher(store, store.trials())
    both = zip(rebuilt._study.trials, search._study.trials, strict=True)
    assert all((a.state, a.value) == (b.state, b.value) for a, b in both)


def test_a_report_counts_once() -> None:
    record = TrialRecord(number=0, params={}, distributions={}, config={})
    assert record.add_report(report(1, 0.5))
    assert not record.add_report(report(1, 0.5))
    assert record.add_report(report(2, 0.4))
    assert record.best == report(2, 0.4)
    assert best_trial([record, TrialRecord(1, {}, {}, {}, state=FAILED, reports=[report(1, 0.1)])]) is record


def test_impossible_fixed_fields_are_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match=r"heads = 5.*does not divide"):
        try_out(QUICKSTART, {"audio.conformer.heads": 5}, seed=0)
    with pytest.raises(UserError, match="epochz"):
        try_out(QUICKSTART, {"training.epochz": 5}, seed=0)


def test_settings_that_differ_are_listed(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "s")
    assert not store.check({"seed": 1})
    store.create({"seed": 1, "space": "fusion"})
    assert store.check({"seed": 1, "space": "fusion"})
    with pytest.raises(UserError, match="seed: was 1, now 2"):
        store.check({"seed": 2, "space": "fusion"})
