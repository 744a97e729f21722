"""Early stopping that is fair to variants: within each as well as across, by loss on the plateau, by evidence."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from infra.record.trials import FAILED, PRUNED, TrialRecord
from infra.search import fairness
from infra.search.fairness import expected_epochs, make_fair
from infra.search.stoppers import Stopper, StopperSettings, make_stopper
from trainables.training.decision import Decision, TakeOver
from trainables.training.reports import FOUND, LOSS, OBJECTIVE

EPOCHS = 9
SETTINGS = StopperSettings(max_epochs=EPOCHS, grace_epochs=1, reduction=3)


def variant_of(record: TrialRecord) -> str:
    return str(record.config["fusion"]["name"])


class Trials:
    """One after another, each with its objective by epoch."""

    def __init__(self, stopper: str = "asha") -> None:
        self.judging: Any = make_fair(stopper, SETTINGS, variant_of)
        self.records: list[TrialRecord] = []
        self.last = Decision()

    def train(self, fusion: str, objectives: Any, losses: Any = None) -> int:
        """Epochs until it ended."""
        config = {"fusion": {"name": fusion}, "training": {"epochs": EPOCHS}}
        record = TrialRecord(len(self.records), {}, {}, config)
        self.records.append(record)
        objectives = np.broadcast_to(objectives, EPOCHS)
        losses = np.broadcast_to(objectives if losses is None else losses, EPOCHS)
        for epoch, (objective, loss) in enumerate(zip(objectives, losses, strict=True), start=1):
            found = 0.0 if objective == 1 else 0.5
            self.last = self.judging.judge(
                record, {"epoch": epoch, OBJECTIVE: float(objective), LOSS: float(loss), FOUND: found}
            )
            if not self.last.go_on:
                return epoch
        return EPOCHS


SLOW = np.array([1, 1, 1, 0.9, 0.7, 0.4, 0.2, 0.1, 0.1])
FAST = np.array([0.6, 0.5, 0.45, 0.4, 0.38, 0.35, 0.33, 0.31, 0.3])


def test_a_variant_that_starts_slowly_has_its_trial_in_full() -> None:
    alone = make_stopper("asha", SETTINGS)
    trials = Trials()
    assert trials.train("fast", FAST) == EPOCHS
    assert trials.train("slow", SLOW) == EPOCHS
    # The rule itself would have stopped it where it had learnt nothing yet.
    for epoch in range(1, EPOCHS + 1):
        alone.judge(trials.records[0], {"epoch": epoch, OBJECTIVE: float(FAST[epoch - 1])})
    assert not alone.judge(trials.records[1], {"epoch": 1, OBJECTIVE: 1.0}).go_on


def test_halving_goes_on_within_each_variant() -> None:
    trials = Trials()
    assert trials.train("fast", FAST) == EPOCHS
    assert trials.train("fast", FAST + 0.05) == 1
    assert trials.last.why == "behind other trials of fast"
    assert trials.train("slow", SLOW, SLOW) == EPOCHS
    assert trials.train("slow", SLOW, SLOW + 0.1) == 1
    assert trials.train("fast", FAST - 0.1) == EPOCHS


def test_what_has_found_nothing_goes_by_its_loss() -> None:
    trials = Trials()
    silent = np.ones(EPOCHS)
    assert trials.train("slow", silent, 0.10) == EPOCHS
    assert trials.train("slow", silent, 0.12) == 1
    assert trials.train("slow", silent, 0.08) == EPOCHS


@pytest.mark.parametrize("floor", [1, 2])
def test_so_many_of_each_variant_train_in_full(floor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "FLOOR", floor)
    rng = np.random.default_rng(0)
    for _ in range(20):
        trials = Trials(str(rng.choice(["asha", "hyperband", "median"])))
        ended = [
            (fusion := str(rng.choice(["a", "b", "c"])), trials.train(fusion, rng.uniform(0.1, 1, EPOCHS)))
            for _ in range(18)
        ]
        for name in {fusion for fusion, _ in ended}:
            own = [epochs for fusion, epochs in ended if fusion == name]
            assert own.count(EPOCHS) >= min(floor, len(own)), (name, own)


def test_a_trial_that_failed_holds_no_place() -> None:
    trials = Trials()
    config = {"fusion": {"name": "fast"}, "training": {"epochs": EPOCHS}}
    broken = TrialRecord(100, {}, {}, config)
    for epoch in (1, 2):
        trials.judging.judge(broken, {"epoch": epoch, OBJECTIVE: 0.1, LOSS: 0.1, FOUND: 0.5})
    broken.state = FAILED
    assert trials.train("fast", FAST) == EPOCHS
    assert trials.train("fast", FAST + 0.1) == 1


def test_a_variant_is_given_up_by_its_trials_in_full_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    trials = Trials()
    trials.train("good", FAST - 0.2)
    trials.train("good", FAST - 0.21)
    assert trials.train("bad", FAST) == EPOCHS
    with caplog.at_level(logging.INFO):
        # Better than its own kind, it goes on, though all others are ahead.
        assert trials.train("bad", FAST - 0.005) == EPOCHS
    assert "bad is given up: 0.295 0.300 in full, with a spread of 0.006, against 0.090 of good; that one of 10" in (
        caplog.text
    )
    # Best of its kind, but behind the others at the first rung.
    assert trials.train("bad", FAST - 0.01) == 1
    assert trials.last.why.startswith("bad is given up")
    assert trials.train("good", FAST - 0.22) == EPOCHS


def test_evidence_is_taken_back_when_it_turns() -> None:
    trials = Trials()
    for objectives in (FAST - 0.2, FAST - 0.21):
        trials.train("good", objectives)
    for objectives in (FAST, FAST - 0.005):
        trials.train("bad", objectives)
    assert trials.train("bad", FAST - 0.01) == 1
    # Ahead of all after each epoch, one of the variant goes on; now it has the best of all.
    assert trials.train("bad", FAST - 0.25) == EPOCHS
    assert trials.train("bad", np.minimum(FAST - 0.25, SLOW - 0.05)) == EPOCHS


def test_what_was_cut_short_holds_no_place() -> None:
    """A trial that a spent budget ended while it waited: its record says so, and its last report does not."""
    trials = Trials()
    config = {"fusion": {"name": "fast"}, "training": {"epochs": EPOCHS}}
    overdue = TrialRecord(100, {}, {}, config, state=PRUNED)
    trials.judging.judge(overdue, {"epoch": 1, OBJECTIVE: 0.1, LOSS: 0.1, FOUND: 0.5})
    assert trials.train("fast", FAST) == EPOCHS


def test_a_take_over_goes_through() -> None:
    class Taking(Stopper):
        name = "taking"
        holds_against_others = True

        def judge(self, record: TrialRecord, report: Any) -> Decision:
            return Decision(take_over=TakeOver(donor=1, donor_epoch=1, changes={}))

    fair = fairness.FairStopper(lambda: Taking(SETTINGS), variant_of)
    record = TrialRecord(0, {}, {}, {"fusion": {"name": "a"}, "training": {"epochs": EPOCHS}})
    assert fair.judge(record, {"epoch": 1, OBJECTIVE: 0.5}).take_over is not None


def test_rules_without_variants_are_left_as_they_are() -> None:
    for name in ("none", "pbt"):  # and rules of one's own that do not ask for it
        assert type(make_fair(name, SETTINGS, variant_of)) is type(make_stopper(name, SETTINGS))
    assert expected_epochs("none", SETTINGS, 8, 2, 4) == EPOCHS
    few, many = (expected_epochs("asha", SETTINGS, 24, 2, variants) for variants in (8, 1))
    assert few != many
    assert 1 <= min(few, many) < max(few, many) <= EPOCHS
