"""Early stopping that is fair to variants: within each as well as across, by loss on the plateau, by evidence."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from infra.record.trials import FAILED, TrialRecord
from infra.search import fairness
from infra.search.fairness import FOUND, LOSS, expected_epochs, hopeless, make_fair
from infra.search.stoppers import StopperSettings, make_stopper
from trainables.training.decision import Decision
from trainables.training.reports import OBJECTIVE

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
    assert trials.last.why == "behind other fast trials"
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


def test_evidence_is_wrong_as_seldom_as_it_says() -> None:
    """Variants drawn alike: one is given up though the next ten of it would have brought the best."""
    rng, wrong, given = np.random.default_rng(1), 0, 0
    for _ in range(2000):
        scores = {name: list(rng.normal(0.3, 0.02, rng.integers(1, 5))) for name in "abc"}
        best = min(min(own) for own in scores.values())
        for _ in hopeless(scores):
            given += 1
            wrong += rng.normal(0.3, 0.02, 10).min() < best
    # Where all are alike it is always a mistake to be sure, and it hardly happens.
    assert wrong / 2000 < fairness.LEAST_CHANCE
    assert given < 100
    assert hopeless({"a": [0.1, 0.12], "b": [0.5]}) == {}, "three trials say nothing"
    assert hopeless({"a": [0.1], "b": [0.5], "c": [0.5], "d": [0.6]}) == {}, "no spread is known"
    assert set(hopeless({"a": [0.1, 0.11], "b": [0.5, 0.52]})) == {"b"}


def test_rules_without_variants_are_left_as_they_are() -> None:
    for name in ("none", "pbt"):
        assert type(make_fair(name, SETTINGS, variant_of)) is type(make_stopper(name, SETTINGS))
    assert expected_epochs("none", SETTINGS, 8, 2, 4) == EPOCHS
    few, many = (expected_epochs("asha", SETTINGS, 24, 2, variants) for variants in (8, 1))
    assert many < few <= EPOCHS
