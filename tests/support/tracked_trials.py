"""Trials that are told to a tracker: their records, their reports, their ends."""

from __future__ import annotations

from optuna.distributions import FloatDistribution, distribution_to_json

from infra.record.trials import COMPLETE, TrialRecord
from infra.tracking.writer import Limits
from trainables.config import TrialConfig
from trainables.config.tree import to_dict
from trainables.training.reports import OBJECTIVE, REPORT_KEYS

EXPERIMENT = "tracking"


EAGER = Limits(first_retry_s=0.2, longest_retry_s=1.0)


BEGAN_S = 1_700_000_000.0


def new_record(number: int) -> TrialRecord:
    rate = {"lr": distribution_to_json(FloatDistribution(1e-4, 1e-2, log=True))}
    return TrialRecord(number=number, params={"lr": 1e-3}, distributions=rate, config=to_dict(TrialConfig()))


def report(number: int, epoch: int) -> dict[str, float]:
    """An epoch of a trial, a minute after the one before; trial 3 is the best, and each gets better."""
    values = dict.fromkeys((*REPORT_KEYS, *(f"class/{index}/F" for index in range(13))), 0.5)
    score = 0.4 + 0.1 * abs(number - 3) + 0.01 / epoch
    at_s = BEGAN_S + 60.0 * epoch + number + 0.25
    return {**values, "epoch": epoch, "epoch_s": 60.0, OBJECTIVE: score, "lr_scale": 0.8, "at": at_s}


def end(record: TrialRecord, state: str = COMPLETE) -> None:
    record.state, record.budget_spent_s = state, 100.0 + record.number
