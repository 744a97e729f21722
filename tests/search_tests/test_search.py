"""The searcher against a record on disk: seeded, resumable at any point, nothing asked or told twice."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial
from ray.tune.search import Searcher

from data.errors import UserError
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord, best_trial
from infra.search.proposals import SearchSettings, draw
from infra.search.searcher import MAX_REFUSALS, StudySearcher
from search_spaces.quickstart import QUICKSTART
from search_spaces.table1 import table1_space
from trainables.config import TrialConfig
from trainables.training.reports import OBJECTIVE


def searcher(store: SweepStore, records: list[TrialRecord], trials: int = 8, over: bool = False) -> StudySearcher:
    settings = SearchSettings(space=QUICKSTART, trials=trials, seed=5)
    return StudySearcher(settings, store, records, is_over=lambda: over)


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
    assert resumed._study.trials()[2].value == 0.2
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
    told = [(t.state.name, t.intermediate_values) for t in search._study.trials().values()]
    assert [state for state, _ in told] == ["COMPLETE", "PRUNED", "FAIL"]
    assert list(told[1][1]) == [1, 2]
    rebuilt = searcher(store, store.trials())
    both = zip(rebuilt._study.trials().values(), search._study.trials().values(), strict=True)
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
        draw(QUICKSTART, {"audio.conformer.heads": 5}, seed=0).require_configs()
    with pytest.raises(UserError, match="epochz"):
        draw(QUICKSTART, {"training.epochz": 5}, seed=0).require_configs()


def test_settings_that_differ_are_listed(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "s")
    assert not store.check({"seed": 1})
    store.create({"seed": 1, "space": "fusion"})
    assert store.check({"seed": 1, "space": "fusion"})
    with pytest.raises(UserError, match="seed: was 1, now 2"):
        store.check({"seed": 2, "space": "fusion"})


def small(tmp_path: Path, records: list[TrialRecord], **options: Any) -> StudySearcher:
    asked = {name: options.pop(name) for name in ("space", "trials", "fixed", "objectives") if name in options}
    settings = SearchSettings(**{"space": QUICKSTART, "trials": 4, "seed": 5, **asked})
    return StudySearcher(settings, SweepStore(str(tmp_path), "s"), records, **{"is_over": lambda: False, **options})


def test_nothing_is_finished_while_a_trial_may_come_back(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    search = small(tmp_path, records, trials=2)
    assert isinstance(search.suggest("a"), dict)
    assert isinstance(search.suggest("b"), dict)
    assert search.suggest("c") is None
    first, second = records
    search.again(first)
    assert search.suggest("d") == {"number": 0, "config": first.config}
    assert search.record_of("d") is first
    store = SweepStore(str(tmp_path), "s")
    end(search, store, second, COMPLETE, 0.5)
    assert search.suggest("e") is None
    end(search, store, first, FAILED, 0.5)
    assert search.suggest("f") == Searcher.FINISHED
    assert [trial.state.name for trial in search._study.trials().values()] == ["FAIL", "COMPLETE"]
    with pytest.raises(AssertionError):
        search.again(first)


def test_an_over_budget_lets_running_trials_end(tmp_path: Path) -> None:
    over = [False]
    records: list[TrialRecord] = []
    search = small(tmp_path, records, is_over=lambda: over[0])
    search.suggest("a")
    over[0] = True
    assert search.suggest("b") is None
    end(search, SweepStore(str(tmp_path), "s"), records[0], PRUNED, 0.5)
    assert search.suggest("c") == Searcher.FINISHED
    assert len(records) == 1


def no_cmaf(config: TrialConfig) -> str | None:
    return "cmaf needs 90 GB" if config.fusion.name == "cmaf" else None


def test_what_cannot_run_is_never_a_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records: list[TrialRecord] = []
    store = SweepStore(str(tmp_path), "s")
    search = small(tmp_path, records, trials=12, refuses=no_cmaf)
    run(store, records, search, 12)
    assert [record.number for record in store.trials()] == list(range(12))
    assert {record.config["fusion"]["name"] for record in records} == {"audio_only", "av_conformer", "gru"}
    # The first three points are taken; the fourth, which is refused, has a sampled one in its place.
    assert [record.params["fusion"] for record in records[:3]] == ["audio_only", "gru", "av_conformer"]
    assert [record.refused for record in records[:3]] == [0, 0, 0]
    assert records[3].refused >= 1
    assert search.refusals == {"cmaf needs 90 GB": sum(record.refused for record in records)}
    assert caplog.text.count("cmaf needs 90 GB") == 1


def test_a_config_that_cannot_be_built_is_refused_like_any_other(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    fixed = {"visual.name": "resnet_conformer", "visual.width": 8}
    search = small(tmp_path, records, trials=6, fixed=fixed)
    run(SweepStore(str(tmp_path), "s"), records, search, 6)
    assert {record.config["visual"]["width"] for record in records} == {8}
    assert records[0].refused == 1
    (reason,) = [text for text in search.refusals if "audio_only" in text]
    assert "ignores the visual encoder" in reason


def test_a_search_without_a_way_out_gives_up(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    search = small(tmp_path, records, refuses=lambda config: "no memory" if records else None)
    assert isinstance(search.suggest("a"), dict)
    assert search.suggest("b") is None
    assert search.given_up == f"{MAX_REFUSALS} proposals in a row cannot be run: no memory ({MAX_REFUSALS} times)"
    assert search.refusals.total() == MAX_REFUSALS
    assert search.suggest("c") is None
    assert search.refusals.total() == MAX_REFUSALS
    end(search, SweepStore(str(tmp_path), "s"), records[0], COMPLETE, 0.5)
    assert search.suggest("d") == Searcher.FINISHED


def test_a_search_that_has_enough_ends_what_it_began(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    search = small(tmp_path, records, enough=lambda records: "little to gain" if len(records) == 2 else None)
    assert isinstance(search.suggest("a"), dict)
    assert isinstance(search.suggest("b"), dict)
    assert search.suggest("c") is None
    assert search.given_up == "little to gain"
    store = SweepStore(str(tmp_path), "s")
    end(search, store, records[0], COMPLETE, 0.5)
    assert search.suggest("d") is None
    end(search, store, records[1], COMPLETE, 0.4)
    assert search.suggest("e") == Searcher.FINISHED
    assert len(records) == 2


def test_fixed_points_are_all_there_is(tmp_path: Path) -> None:
    records: list[TrialRecord] = []
    space = table1_space(["audio_only", "resnet-gru", "resnet-cmaf"], "small", seeds=(0, 7))
    search = small(tmp_path, records, space=space, trials=9, refuses=no_cmaf)
    run(SweepStore(str(tmp_path), "s"), records, search, 4)
    assert search.suggest("more") == Searcher.FINISHED
    assert search.given_up == "space 'table1-small' has no more points"
    trained = [(record.label, record.config["training"]["seed"]) for record in records]
    assert trained == [("audio_only", 0), ("resnet-gru", 0), ("audio_only", 7), ("resnet-gru", 7)]
    assert len(draw(space, {"training.epochs": 2}, seed=3).configs) == 6


def test_some_points_that_cannot_be_built_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    configs = draw(QUICKSTART, {"visual.name": "resnet_conformer"}, seed=0).require_configs()
    assert {config.fusion.name for config in configs} == {"av_conformer", "gru", "cmaf"}
    assert f"{64 - len(configs)} of 64 points of space 'quickstart' cannot be built" in caplog.text


def test_telling_copies_one_trial_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[TrialRecord] = []
    store = SweepStore(str(tmp_path), "s")
    search = small(tmp_path, records, trials=99)
    run(store, records, search, 12)
    search.suggest("last")
    copied = []

    def count(trial: FrozenTrial, memo: dict[int, Any]) -> FrozenTrial:
        copied.append(trial.number)
        return trial

    monkeypatch.setattr(FrozenTrial, "__deepcopy__", count, raising=False)
    end(search, store, records[-1], COMPLETE, 0.5)
    assert copied == [records[-1].number]
