"""The account of a sweep: every attempt counts, over all starts, and limits end it."""

from pathlib import Path

import pytest

from data.errors import UserError
from infra.record.budget import Budget, Ledger
from infra.record.folder import SweepStore, put_right
from infra.record.retries import Retries, parse_retries
from infra.record.trials import COMPLETE, ENDED, INTERRUPTED, PRUNED, RUNNING, TrialRecord
from trainables.training.resources import TrialResources

CONFIG = {"training": {"epochs": 2}}
LIMITS = Budget(trials=10, wall_s=1000.0)
CPUS, GPUS = TrialResources(), TrialResources(workers=2, gpus_per_worker=1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


def record(number: int = 0) -> TrialRecord:
    return TrialRecord(number, {}, {}, CONFIG)


@pytest.mark.parametrize(
    ("budget", "resources", "message"),
    [
        (Budget(trials=0, wall_s=1), CPUS, "0 trials"),
        (Budget(trials=1, wall_s=0), CPUS, "nothing to do"),
        (Budget(trials=1, wall_s=1, gpu_hours=0), GPUS, "--gpu-hours 0"),
        (Budget(trials=1, wall_s=1, gpu_hours=-2), GPUS, "--gpu-hours -2"),
        (Budget(trials=1, wall_s=1, cpu_hours=float("nan")), CPUS, "--cpu-hours nan"),
        (Budget(trials=1, wall_s=1, gpu_hours=40), CPUS, "trials use no GPU"),
        (Budget(trials=1, wall_s=1, least_gain=0), CPUS, "--least-gain 0"),
    ],
)
def test_budgets_that_cannot_be(budget: Budget, resources: TrialResources, message: str) -> None:
    def check() -> None:
        budget.check()
        budget.check_hours(resources)

    with pytest.raises(UserError, match=message):
        check()


def test_hours_count_every_attempt_however_it_ended(tmp_path: Path) -> None:
    clock, one, other = Clock(), record(0), record(1)
    budget = Budget(trials=10, wall_s=1e9, gpu_hours=3.0)
    budget.check_hours(GPUS)
    ledger = Ledger(budget, [], 0.0, clock)
    ledger.start()
    ledger.begin(one, cpus=2, gpus=2)
    clock.now += 1800
    assert ledger.spent().gpu_hours == 1.0  # while it lasts
    ledger.end(one, "diverged", "loss is nan")
    ledger.begin(one, cpus=2, gpus=2)
    ledger.begin(other, cpus=2, gpus=2)
    clock.now += 900
    ledger.end(one, ENDED)
    assert ledger.used_up() is None
    clock.now += 900
    ledger.measure(other)
    assert ledger.spent().gpu_hours == 2.5
    assert ledger.spent().wall_s == other.budget_spent_s == 3600
    clock.now += 900
    assert ledger.used_up() == "3 GPU-hours"

    # The driver is killed; what it last wrote is known, and that it lived for a minute more.
    store = SweepStore(str(tmp_path), "s")
    for each in (one, other):
        store.write(each)
    records = store.trials()
    assert records == [one, other]
    assert [r.number for r in put_right(records, last_sign=clock.now - 900 + 60)] == [1]
    assert [[a.outcome for a in r.attempts] for r in records] == [["diverged", ENDED], [INTERRUPTED]]
    resumed = Ledger(budget, records, 3600.0, clock)
    assert resumed.spent().gpu_hours == pytest.approx(2.5 + 2 * 60 / 3600)
    assert resumed.spent().wall_s == 3600
    assert Ledger(LIMITS, records, 1000.0, clock).used_up() == "1000 s"


def test_a_trial_that_got_no_resources_costs_nothing() -> None:
    ledger, one = Ledger(LIMITS, [], 0.0), record()
    ledger.end(one, "node lost", "gone before it began")
    assert [(a.outcome, a.cpus, a.gpus) for a in one.attempts] == [("node lost", 0, 0)]
    assert ledger.spent().cpu_hours == 0


def test_what_only_had_not_come_to_say_so_has_ended() -> None:
    told, done, going, fresh = (record(number) for number in range(4))
    told.reports, told.told_to_stop = [{"epoch": 1}], True
    done.reports = [{"epoch": 1}, {"epoch": 2}]
    going.reports = [{"epoch": 1}]
    assert [r.number for r in put_right([told, done, going, fresh], 0.0)] == [0, 1]
    assert [r.state for r in (told, done, going, fresh)] == [PRUNED, COMPLETE, RUNNING, RUNNING]


def failed(retries: Retries, *outcomes: str) -> list[bool]:
    """Whether the trial is tried again after each failure."""
    ledger, one, answers = Ledger(LIMITS, [], 0.0), record(), []
    for outcome in outcomes:
        ledger.end(one, outcome)
        answers.append(retries.allow(one))
    return answers


def test_failures_count_together_but_a_lost_node_is_not_the_trials_fault() -> None:
    assert failed(Retries(together=2), "raised", "node lost", "diverged", "node lost", "out of memory") == [
        True,
        True,
        True,
        True,
        False,
    ]
    assert failed(Retries(together=0), "node lost", "raised") == [True, False]
    assert failed(Retries(), *["node lost"] * 21) == [True] * 20 + [False]


def test_kinds_may_have_limits_of_their_own() -> None:
    retries = parse_retries("2,diverged=0,out-of-memory=1,node-lost=1")
    assert failed(retries, "diverged") == [False]
    assert failed(retries, "raised", "out of memory", "raised", "raised") == [True, True, True, False]
    assert failed(retries, "node lost", "node lost") == [True, False]
    assert failed(parse_retries("raised=3"), "diverged", "diverged") == [True, False]
    for text in ("", "-1", "1.5", "nodes=1", "raised=", "2;3", "²"):
        with pytest.raises(UserError, match="--retries"):
            parse_retries(text)
