"""Benchmarks of sweeps: simulated trials give answers that are known beforehand. No test looks at the clock."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.bench.measure import OURS
from infra.bench.search import fair_naming, many_trials, search_cost, trial_overhead, wide_rates
from infra.bench.search.search_cost import RANDOM, CurveTable, Method, Search, search
from infra.bench.search.simulated_tune import KeepAndTell, LocalBoard, simulate
from infra.record.trials import COMPLETE, PRUNED, TrialRecord
from infra.search.proposals import SearchSettings
from infra.search.scheduler import GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from search_spaces.quickstart import QUICKSTART
from trainables.training.decision import GO_ON, Decision
from trainables.training.reports import OBJECTIVE, report_of

EPOCHS = 9
RATES = tuple(float(rate) for rate in np.geomspace(1.5e-3, 6e-3, 5))
GOOD = ("gru", RATES[2])
ORDERED = dataclasses.replace(
    QUICKSTART,
    first=tuple(
        {"fusion": fusion, "depth": 1, "schedule": "one_cycle", "lr": RATES[2]}
        for fusion in ("audio_only", "cmaf", "gru", "av_conformer")
    ),
)


def planted() -> CurveTable:
    """Five rates of each fusion, each as bad at its last epoch as at its first, but for one that gets better."""

    def curve(number: int, fusion: str, rate: float) -> list[float]:
        better = (fusion, rate) == GOOD
        return [0.9 - 0.1 * epoch if better else 1.0 - 0.001 * number for epoch in range(EPOCHS)]

    points = list(itertools.product(("audio_only", "av_conformer", "gru", "cmaf"), RATES))
    return CurveTable(
        [
            {
                "params": {"fusion": fusion, "depth": 1, "schedule": "one_cycle", "lr": rate},
                OBJECTIVE: curve(number, fusion, rate),
                "epoch_s": [2.0] * EPOCHS,
            }
            for number, (fusion, rate) in enumerate(points)
        ]
    )


# --- Tune without Ray -------------------------------------------------------------------------------------------------


class Heard(KeepAndTell):
    """What was called, in order."""

    def __init__(self, searcher: StudySearcher, stopping: GracefulStopping) -> None:
        super().__init__(searcher, stopping)
        self.calls: list[tuple[str, int, int]] = []

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        super().on_trial_result(iteration, trials, trial, result)
        self.calls.append(("report", trial.record.number, int(result["epoch"])))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        super().on_trial_complete(iteration, trials, trial)
        self.calls.append(("end", trial.record.number, trial.epoch))


def run(
    scores: list[float], slots: int, epochs: int, stops: bool, seconds: float = 1.0
) -> tuple[list[TrialRecord], Heard, list[float]]:
    """Trials that report the same score at each epoch; odd ones take three times as long."""
    records: list[TrialRecord] = []
    searcher = StudySearcher(
        SearchSettings(space=QUICKSTART, trials=len(scores), fixed={"training.epochs": epochs}),
        search_cost.Unkept("/nowhere", "s"),
        records,
        is_over=lambda: False,
    )
    board = LocalBoard()
    settings = StopperSettings(max_epochs=epochs, grace_epochs=2, reduction=2)
    stopping = GracefulStopping(
        make_stopper("asha" if stops else "none", settings), board, lambda: False, searcher.record_of
    )
    heard = Heard(searcher, stopping)

    def report(record: TrialRecord, epoch: int) -> tuple[dict[str, float], float]:
        return {"epoch": epoch, OBJECTIVE: scores[record.number]}, seconds * (3 if record.number % 2 else 1)

    times = [now for now, _ in simulate(searcher, stopping, board, heard, slots, report)]
    return records, heard, times


def test_slots_are_filled_in_the_order_of_time() -> None:
    records, heard, times = run([0.5, 0.5, 0.5], slots=2, epochs=2, stops=False)
    assert heard.calls == [
        ("report", 0, 1),
        ("report", 0, 2),
        ("end", 0, 2),
        ("report", 1, 1),
        ("report", 2, 1),
        ("report", 2, 2),
        ("end", 2, 2),
        ("report", 1, 2),
        ("end", 1, 2),
    ]
    assert times == [1, 2, 3, 3, 4, 6]
    assert [record.state for record in records] == [COMPLETE] * 3


def test_asha_stops_what_is_worse_at_its_rung() -> None:
    """One after the other, in rungs at 2 and 4 of 5 epochs; half goes on."""
    records, _, _ = run([0.5, 0.9, 0.4, 0.8], slots=1, epochs=5, stops=True)
    assert [(len(r.reports), r.state) for r in records] == [(5, COMPLETE), (2, PRUNED), (5, COMPLETE), (2, PRUNED)]


# --- the cost of a search ---------------------------------------------------------------------------------------------


def test_the_nearest_trial_has_the_same_choices_before_the_same_rate() -> None:
    table = planted()
    params = {"fusion": "gru", "depth": 1, "schedule": "one_cycle", "lr": RATES[2] * 1.05}
    assert table.trials[table.nearest(params)]["params"] == {**params, "lr": RATES[2]}
    other = {**params, "schedule": "warmup_cosine", "depth": 2, "lr": RATES[0] / 2}
    assert table.trials[table.nearest(other)]["params"] == {**params, "lr": RATES[0]}


def test_target_is_what_one_in_twenty_reaches() -> None:
    table = planted()
    assert table.target() == pytest.approx(0.9 - 0.1 * (EPOCHS - 1))
    assert table.target(0.1) == pytest.approx(1.0 - 0.001 * 19)


def test_halves_share_no_trial_and_windows_hold_neighbouring_rates() -> None:
    table = planted()
    halves = [[id(trial) for trial in table.half(name).trials] for name in search_cost.HALVES]
    assert sorted(halves[0] + halves[1]) == sorted(id(trial) for trial in table.trials)
    wide = CurveTable(
        [{**trial, "params": {**trial["params"], "lr": 0.001 * (1 + i)}} for i, trial in enumerate(table.trials[:10])]
    )
    windows = [wide.window(seed).rates for seed in range(5)]
    assert windows == [pytest.approx((0.001 * (1 + first), 0.001 * (7 + first))) for first in (0, 1, 2, 3, 0)]


def test_a_search_trains_no_recorded_trial_twice_while_there_are_others() -> None:
    table = planted()
    params, used = {"fusion": "gru", "depth": 1, "schedule": "one_cycle", "lr": RATES[2]}, set()
    for _ in RATES:
        used.add(table.nearest(params, used))
    assert {table.trials[place]["params"]["lr"] for place in used} == set(RATES)
    assert table.trials[table.nearest(params, used)]["params"]["fusion"] != "gru"


def test_cost_counts_the_epochs_of_all_trials_until_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first points are tried first, in order; what is good is the third of them, one trial at a time."""
    monkeypatch.setattr(wide_rates, "QUICKSTART", ORDERED)
    found = search(planted(), Method(stopper="none"), seed=0, slots=1, least=0, most=1000)
    assert (found.epochs, found.seconds, found.trials) == (3 * EPOCHS, 2.0 * 3 * EPOCHS, 3)
    assert found.steps == [(EPOCHS, 0.998), (2 * EPOCHS, 0.983), (3 * EPOCHS, pytest.approx(0.1))]
    # Two at a time: the third trains beside the fourth, which is an epoch behind it.
    found = search(planted(), Method(stopper="none"), seed=0, slots=2, least=0, most=1000)
    assert found.epochs in (4 * EPOCHS - 1, 4 * EPOCHS)


def test_a_search_that_finds_nothing_costs_without_end() -> None:
    found = search(planted(), Method(stopper="none"), seed=0, slots=2, least=0, most=EPOCHS - 1)
    assert math.isinf(found.epochs)
    cost = search_cost.summary({OURS: [found]})
    assert cost[OURS]["unfound"] == 1
    assert math.isinf(cost[OURS]["epochs"]["median"])


def test_early_stopping_finds_the_same_trial_for_less() -> None:
    """One trial at a time: the same trials in the same order, of which ASHA lets the good one pass."""
    saved = 0.0
    for seed in range(3):
        whole = search(planted(), search_cost.METHODS[RANDOM], seed, slots=1, least=0, most=5000)
        stopped = search(planted(), search_cost.METHODS["random, ASHA"], seed, slots=1, least=0, most=5000)
        assert whole.epochs == EPOCHS * whole.trials
        assert stopped.trials == whole.trials
        saved += whole.epochs - stopped.epochs
    assert saved > 0


def test_best_by_cost() -> None:
    runs = [Search(steps=[(2, 0.8), (4, 0.5)]), Search(steps=[(3, 0.6)])]
    np.testing.assert_array_equal(
        search_cost.best_by_cost(runs, np.arange(1, 6)), [[1, 0.8, 0.8, 0.5, 0.5], [1, 1, 0.6, 0.6, 0.6]]
    )
    assert search_cost.spread([1.0, 2.0, math.inf]) == {"low": 1.0, "median": 2.0, "high": math.inf}


def test_search_cost_says_how_many_times_cheaper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"trials": planted().trials}).encode()))
    monkeypatch.setattr(search_cost, "DRAWN_EPOCHS", 50)
    search_cost.main(["--table", str(path), "--seeds", "2", "--figure", str(tmp_path / "cost.png")])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["methods"].keys() == search_cost.METHODS.keys()
    assert said["methods"][OURS]["ratio"] == 1.0
    assert (tmp_path / "cost.png").stat().st_size < 100_000


def test_who_is_named_best_and_how_many_train_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"trials": planted().trials}).encode()))
    fair_naming.main(["--table", str(path), "--seeds", "3", "--epochs", "150"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["best"], said["sides"].keys()) == (["gru"], {OURS, "by forecast", search_cost.PLAIN})
    ours, _, plain = said["sides"].values()
    assert ours["right"] > 0, "its one good trial is found by some"
    # The rule alone stops all of a variant that is behind after its first epochs.
    assert ours["all_in_full"] == 1
    assert plain["all_in_full"] < 1


# --- many trials, and what one costs ----------------------------------------------------------------------------------


def test_ever_better_trials_are_never_stopped_and_are_paid_for_by_block(tmp_path: Path) -> None:
    blocks = many_trials.measure(str(tmp_path), None, trials=6, reports=7, slots=2, block=2)
    assert len(blocks) == 3
    assert all(block["cpu_s"] > 0 and block["requests"] == 0 for block in blocks)
    assert all(block["cpu_s/search"] > 0 and block["cpu_s/record"] > 0 for block in blocks)
    grown = many_trials.compared([{"cpu_s": 2.0, "rss_mb": 100.0}, {"cpu_s": 3.0, "rss_mb": 150.0}], block=2)
    assert grown["first"] == {"cpu_s": 1.0, "rss_mb": 100.0}
    assert grown["ratio"] == {"cpu_s": 1.5, "rss_mb": 1.5}


def test_a_part_does_not_count_what_another_does_in_it() -> None:
    class Parts:
        def outer(self) -> int:
            return sum(i * i for i in range(10_000)) + self.inner()

        def inner(self) -> int:
            return sum(i * i for i in range(200_000))

    parts, meter = Parts(), many_trials.Meter()
    meter.watch("outer", parts, "outer")
    meter.watch("inner", parts, "inner")
    parts.outer()
    assert 0 < meter.cpu_s["outer"] < meter.cpu_s["inner"]


def test_idle_trials_report_what_real_ones_do() -> None:
    report = trial_overhead.scores(3)
    assert report_of(report) == report
    assert report["epoch"] == 3
    assert len(report) > 50


class AlwaysOn:
    """A session that goes on, and keeps what is reported to it."""

    rank, world_size = 0, 1

    def __init__(self, ask: trial_overhead.TimedAsk) -> None:
        self._keep_going = ask(7)
        self.reports: list[dict[str, float]] = []

    def report(self, metrics: dict[str, float]) -> Decision:
        self.reports.append(metrics)
        return self._keep_going(int(metrics["epoch"]))


def test_idle_loop_reports_each_epoch_with_the_times_of_the_one_before() -> None:
    from search_spaces.presets import find_preset

    config = find_preset("audio_only", "small")
    ask = trial_overhead.TimedAsk(lambda number: lambda epoch: GO_ON)
    session = AlwaysOn(ask)
    trial_overhead.learn_nothing(ask, epoch_s=0.0)(config, session, None, None, None, {})
    assert [report["epoch"] for report in session.reports] == list(range(1, config.training.epochs + 1))
    assert trial_overhead.REPORT not in session.reports[0]
    for report in session.reports[1:]:
        assert report[trial_overhead.REPORT] >= report[trial_overhead.ANSWER] >= 0
