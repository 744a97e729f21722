"""The stopping rules on imitated sweeps: no Ray, no training, only reports and decisions."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from data.errors import UserError
from infra.record.trials import TrialRecord
from infra.search.fairness import make_fair
from infra.search.scheduler import DecisionBoard, GracefulStopping
from infra.search.stoppers import STOPPERS, Stopper, StopperSettings, make_stopper
from infra.search.stoppers.halving import Halving
from infra.search.stoppers.population import FACTORS
from trainables.config import Adam, AdamW, Cosine, OneCycle, TrainingConfig, TrialConfig
from trainables.config.tree import from_dict, to_dict
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import OBJECTIVE

EPOCHS, GRACE, TRIALS, AT_A_TIME = 18, 2, 27, 5
SETTINGS = StopperSettings(max_epochs=EPOCHS, grace_epochs=GRACE, reduction=3, seed=4)
PLAIN = TrialConfig(training=TrainingConfig(epochs=EPOCHS), schedule=OneCycle())


def record_of(number: int, config: TrialConfig = PLAIN) -> TrialRecord:
    return TrialRecord(number, {}, {}, to_dict(config))


@dataclass
class Board:
    """Hears what the actor would."""

    told: list[tuple[int, int, Decision]] = field(default_factory=list)

    def decide(self, number: int, epoch: int, decision: Decision) -> None:
        self.told.append((number, epoch, decision))


class Sweep:
    """Trials that report at random times; the objective falls towards a quality of the trial's weights."""

    def __init__(self, name: str, trials: int = TRIALS, *, fair: bool = False) -> None:
        self.name, self.fair = name, fair
        self.records = [record_of(n, cast(TrialConfig, self._config(n))) for n in range(trials)]
        self._rng = np.random.default_rng(8)
        self._quality = list(self._rng.uniform(0.1, 0.9, trials))
        self._running = list(range(AT_A_TIME))
        self._started = AT_A_TIME
        self._taken: dict[int, dict[str, float]] = {}
        self.restart()

    @staticmethod
    def _config(number: int) -> TrialConfig:
        optimiser = AdamW(lr=1e-3) if number % 2 else Adam(lr=5e-4 + 1e-5 * number)
        return TrialConfig(
            training=PLAIN.training, schedule=Cosine() if number % 3 else OneCycle(), optimiser=optimiser
        )

    def restart(self) -> None:
        """A driver that knows the record and nothing else."""
        self.board = Board()
        self.stopper = make_stopper(self.name, SETTINGS)
        by_name = {str(record.number): record for record in self.records}
        board = cast(DecisionBoard, self.board)
        fair = make_fair(self.name, SETTINGS, lambda record: str(record.number % 2)) if self.fair else self.stopper
        self.stopping = GracefulStopping(fair, board, lambda: False, by_name.__getitem__)
        self.stopping.replay(self.records)

    def report(self, number: int, epoch: int, objective: float) -> Decision:
        result = {"epoch": epoch, OBJECTIVE: objective, **self._taken.get(number, {})}
        self.stopping.on_trial_result(cast(Any, None), cast(Any, SimpleNamespace(trial_id=str(number))), result)
        self.records[number].add_report({**result, "at": float(sum(len(r.reports) for r in self.records))})
        return self.board.told[-1][2]

    def step(self) -> bool:
        """One report of one trial; False when all have ended."""
        if not self._running:
            return False
        number = int(self._rng.choice(self._running))
        epoch = len(self.records[number].reports) + 1
        decision = self.report(number, epoch, self._quality[number] + 1.0 / epoch + self._rng.normal(0, 0.02))
        if taking := decision.take_over:
            self._quality[number] = self._quality[taking.donor] + float(self._rng.normal(0, 0.05))
            self._taken[number] = {"pbt/donor": taking.donor, "pbt/epoch": epoch}
        if epoch == EPOCHS or not decision.go_on:
            self._running.remove(number)
            if self._started < len(self.records):
                self._running.append(self._started)
                self._started += 1
        return True

    def run(self) -> None:
        while self.step():
            pass


def decided(told: list[tuple[int, int, Decision]]) -> list[tuple[int, int, Decision]]:
    return [entry for entry in told if entry[2] != GO_ON]


@pytest.mark.parametrize("fair", [False, True])
@pytest.mark.parametrize("name", STOPPERS)
def test_after_a_crash_a_rule_goes_on_as_if_there_had_been_none(name: str, fair: bool) -> None:
    whole = Sweep(name, fair=fair)
    whole.run()
    assert bool(decided(whole.board.told)) == (name != "none")
    for crash in (30, 71):
        broken = Sweep(name, fair=fair)
        for _ in range(crash):
            broken.step()
        before = broken.board.told
        broken.restart()
        # Trials that were running repeat their last report; those that were told something are told it again.
        last = {number: (epoch, decision) for number, epoch, decision in before}
        for number, (epoch, decision) in last.items():
            assert broken.report(number, epoch, 9.0) == decision
        broken.board.told.clear()
        broken.run()
        assert before + broken.board.told == whole.board.told


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_rungs_after_a_crash_are_those_before_it(name: str) -> None:
    sweep = Sweep(name)
    for _ in range(90):
        sweep.step()
    before = rungs(sweep.stopper)
    assert sum(len(recorded) for rung in before for _, recorded in rung) > 10
    sweep.restart()
    assert rungs(sweep.stopper) == before


def rungs(stopper: Any) -> list[Any]:
    return copy.deepcopy([bracket._rungs for scheduler in stopper._brackets for bracket in scheduler._brackets])


def test_asha_stops_at_rungs_what_is_behind_there() -> None:
    sweep = Sweep("asha")
    sweep.run()
    stops = [(number, epoch) for number, epoch, decision in sweep.board.told if decision == STOP]
    assert len(stops) > TRIALS // 2
    assert {epoch for _, epoch in stops} <= {GRACE, GRACE * 3, GRACE * 9}
    assert {number for number, epoch in stops if epoch < EPOCHS} == sweep.stopping.stopped.keys()
    best = min(range(TRIALS), key=lambda number: sweep._quality[number])
    assert best not in sweep.stopping.stopped


def test_brackets_of_hyperband_have_their_shares_and_patience() -> None:
    settings = StopperSettings(max_epochs=27, grace_epochs=1, reduction=3)
    stopper = Halving(settings, brackets=None)
    first_rungs = [min(milestone for milestone, _ in rung) for rung in rungs(stopper)]
    assert first_rungs == [1, 3, 9, 27]
    counts = np.bincount([stopper.bracket_of(number) for number in range(1000)])
    # HyperBand's table for R = 27, eta = 3: 27, 12, 6 and 4 trials (Li et al., 2018).
    np.testing.assert_allclose(counts / 1000, np.array([27 / 4, 9 / 3, 3 / 2, 1]) / 12.25, atol=0.01)
    # A dozen trials reach every bracket already, and a resume finds each where it was.
    assert {stopper.bracket_of(number) for number in range(12)} == {0, 1, 2, 3}
    again = Halving(settings, brackets=None)
    assert [again.bracket_of(n) for n in range(50)] == [stopper.bracket_of(n) for n in range(50)]
    assert len(rungs(Halving(StopperSettings(max_epochs=3, grace_epochs=9), brackets=None))) == 1


def test_the_median_rule_stops_whose_best_is_worse_than_the_others_are_on_average() -> None:
    sweep = Sweep("median")
    sweep.run()
    reports: dict[int, list[float]] = {}
    stops = 0
    order = [(r["at"], record.number, r) for record in sweep.records for r in record.reports]
    for (number, epoch, decision), (_, _, report) in zip(
        sweep.board.told, sorted(order, key=lambda o: o[0]), strict=True
    ):
        reports.setdefault(number, []).append(report[OBJECTIVE])
        others = [statistics.fmean(r[:epoch]) for n, r in reports.items() if n != number and len(r) >= epoch]
        worse = len(others) >= 3 and min(reports[number]) > statistics.median(others)
        assert decision == (STOP if worse and epoch >= GRACE else GO_ON)
        stops += decision == STOP
    assert stops >= 5


def take_overs(sweep: Sweep) -> list[tuple[int, int, Any]]:
    return [(n, epoch, decision.take_over) for n, epoch, decision in sweep.board.told if decision.take_over]


def test_who_is_among_the_worst_takes_over_from_one_of_the_best() -> None:
    sweep = Sweep("pbt")
    sweep.run()
    assert all(len(record.reports) == EPOCHS for record in sweep.records)
    assert len(take_overs(sweep)) > 10
    for number, epoch, taking in take_overs(sweep):
        donor = sweep.records[taking.donor].reports
        mine = sweep.records[number].reports[epoch - 1][OBJECTIVE]
        assert epoch % GRACE == 0
        assert epoch < EPOCHS
        assert taking.donor_epoch % GRACE == 0
        assert taking.donor_epoch <= epoch
        assert donor[taking.donor_epoch - 1][OBJECTIVE] < mine
        from_dict({**sweep.records[number].config, **taking.changes})
    # Better at the end than trials left alone, on average.
    alone = Sweep("none")
    alone.run()
    final = [statistics.fmean(r.reports[-1][OBJECTIVE] for r in s.records) for s in (sweep, alone)]
    assert final[0] < final[1] - 0.1


def test_rate_and_schedule_are_the_donors_a_step_away() -> None:
    sweep = Sweep("pbt")
    sweep.run()
    goes_by = {
        record.number: {part: record.config[part] for part in ("optimiser", "schedule")} for record in sweep.records
    }
    for number, _, taking in take_overs(sweep):
        donor = goes_by[taking.donor]
        for part, was in donor.items():
            assert taking.changes[part].keys() == was.keys()
            for name, value in taking.changes[part].items():
                if name == "lr" or (part == "schedule" and isinstance(value, float)):
                    assert any(value == pytest.approx(was[name] * factor) for factor in (*FACTORS, 1.0)), name
                else:
                    assert value == was[name]
        assert taking.changes["optimiser"]["lr"] != donor["optimiser"]["lr"]
        goes_by[number] = taking.changes


def small_population(configs: list[TrialConfig], objectives: list[float]) -> list[Decision]:
    """All report their second epoch, in order."""
    stopper = make_stopper("pbt", SETTINGS)
    records = [record_of(number, config) for number, config in enumerate(configs)]
    return [
        stopper.judge(record, {"epoch": GRACE, OBJECTIVE: objective})
        for record, objective in zip(records, objectives, strict=True)
    ]


def test_populations_are_trials_of_the_same_model() -> None:
    other = TrialConfig(training=TrainingConfig(epochs=EPOCHS, batch_size=8), schedule=OneCycle())
    assert small_population([PLAIN] * 4, [0.5, 0.4, 0.6, 0.9])[3].take_over is not None
    assert small_population([PLAIN, PLAIN, other, PLAIN], [0.5, 0.4, 0.1, 0.9]) == [GO_ON] * 4
    # Three have no worst quarter.
    assert small_population([PLAIN] * 3, [0.5, 0.4, 0.9]) == [GO_ON] * 3


def test_a_take_over_that_did_not_happen_is_not_believed() -> None:
    """The donor's checkpoint may have gone; the trial's own report says by what it goes on."""
    for happened in (True, False):
        stopper = make_stopper("pbt", SETTINGS)
        records = [record_of(number) for number in range(4)]
        asked = [
            stopper.judge(r, {"epoch": 2, OBJECTIVE: v}) for r, v in zip(records, [0.1, 0.2, 0.3, 0.4], strict=True)
        ]
        taking = asked[3].take_over
        assert taking is not None
        said = {"pbt/donor": taking.donor, "pbt/epoch": 2} if happened else {}
        stopper.judge(records[3], {"epoch": 3, OBJECTIVE: 0.05, **said})
        # Now the best, it is whom the worst takes over from.
        values = [0.05, 0.2, 0.3, 0.4]
        order = [3, 1, 2, 0]
        last = [
            stopper.judge(records[n], {"epoch": 4, OBJECTIVE: v, **(said if n == 3 else {})})
            for n, v in zip(order, values, strict=True)
        ][-1]
        assert last.take_over is not None
        assert last.take_over.donor == 3
        start = taking.changes["optimiser"]["lr"] if happened else PLAIN.optimiser.lr
        assert last.take_over.changes["optimiser"]["lr"] in [start * factor for factor in FACTORS]


def test_reports_are_replayed_in_order_though_a_clock_went_back() -> None:
    heard: list[tuple[int, float]] = []

    class Listening(Stopper):
        name = "listening"

        def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
            heard.append((record.number, report["epoch"]))
            return GO_ON

    records = [record_of(number) for number in range(2)]
    for number, epoch, at in ((0, 1, 100.0), (1, 1, 110.0), (0, 2, 50.0), (1, 2, 60.0), (0, 3, 120.0)):
        records[number].add_report({"epoch": epoch, OBJECTIVE: 0.5, "at": at})
    GracefulStopping(
        Listening(SETTINGS), cast(DecisionBoard, Board()), lambda: False, lambda name: records[int(name)]
    ).replay(records)
    assert heard == [(0, 1), (0, 2), (1, 1), (1, 2), (0, 3)]


class Odd(Stopper):
    name = "odd"

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        return "stop"  # type: ignore[return-value]


def test_a_rule_that_gives_no_decision_is_named() -> None:
    stopper, record = Odd(SETTINGS), record_of(0)
    stopping = GracefulStopping(stopper, cast(DecisionBoard, Board()), lambda: False, lambda name: record)
    record.add_report({"epoch": 1, OBJECTIVE: 0.5, "at": 1.0})
    said = rf"^stopper 'odd': judge of Odd \({__file__}\) gives 'stop', and GO_ON, STOP or another Decision of"
    for ask in (lambda: stopping.replay([record]), lambda: stopper.expected_epochs(4, 2)):
        with pytest.raises(UserError, match=said):
            ask()


def test_an_unknown_rule_lists_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="'ahsa' is not known; choose one of asha, hyperband, median, forecast, pbt, none"
    ):
        make_stopper("ahsa", SETTINGS)
