"""How a decision goes on: who gets another seed, when it ends, and what each look sees. Trainings are made up here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from infra.finals import decide as decide_module
from infra.finals import trainings as trainings_module
from infra.finals.decide import DecisionRequest, run_decide
from infra.finals.decision import Question
from infra.finals.held_out import HeldOut
from infra.finals.trainings import Searched, put_to_test
from infra.record.trials import COMPLETE, TrialRecord
from infra.stack.settings import Settings
from support.planted_sweeps import trial
from support.tested_models import counts

VARIANTS = ("gru", "cmaf", "audio_only")
HARD = (0.0, 0.05, 0.1, 0.15)

Quality = Callable[[str, int], float]
"""Share of what sounds that a variant finds with a seed."""


class Rounds:
    """In place of trainings: notes which are asked for, and answers with models of the quality that is wanted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, quality: Quality, finished: bool = True) -> None:
        self.asked: list[list[tuple[str, int]]] = []
        self.concluded: dict[str, Any] = {}
        self._quality, self._finished = quality, finished
        records = [trial(number, variant, [0.5, 0.4 + number / 100]) for number, variant in enumerate(VARIANTS)]
        searched = Searched(name="s", space="quickstart", data="d", recordings=len(HARD), records=records)
        for name, fake in {
            "find_searched": lambda request, settings: searched,
            "run_sweep": self._run,
            "put_to_test": self._tested,
            "rank": lambda outcome, configs, trainings, controls, settings: list(trainings),
            "conclude": self._conclude,
            "_write": lambda *_: None,
        }.items():
            monkeypatch.setattr(decide_module, name, fake)
        self.settings = Settings(root=str(tmp_path))
        self._clock_s = 0.0

    @contextmanager
    def _run(self, request: Any, settings: Settings) -> Iterator[Any]:
        points = [(VARIANTS[point["finalist"]], point["seed"]) for point in request.space.first]
        self.asked.append(points)
        self._clock_s = 60.0 * len(points)
        tracker = SimpleNamespace(require_written=lambda: None)
        yield SimpleNamespace(finished=self._finished, seconds=self._clock_s, name="s-decide", tracker=tracker)

    def _tested(self, outcome: Any, points: Sequence[tuple[int, int]], settings: Settings) -> Any:
        found: dict[int, list[Any]] = {}
        for number, seed in points:
            quality = self._quality(VARIANTS[number], seed)
            found.setdefault(number, []).append(SimpleNamespace(counts=[counts(quality, hard) for hard in HARD]))
        return found

    def _conclude(self, request: Any, outcome: Any, finalists: Any, verdicts: Any) -> Any:
        self.concluded = verdicts
        return SimpleNamespace()

    def decide(self, **options: Any) -> Any:
        return run_decide(DecisionRequest(sweep="s", **options), self.settings)


def wavering(variant: str, seed: int) -> float:
    """gru and cmaf are near each other and differ by seed; audio_only is far off."""
    return {"gru": 0.8, "cmaf": 0.77, "audio_only": 0.3}[variant] + 0.02 * np.sin(3 * seed + len(variant))


def test_only_those_between_which_something_is_open_get_another_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rounds = Rounds(monkeypatch, tmp_path, wavering)
    found = rounds.decide(question=Question(most_seeds=5, margin=0.001))
    assert rounds.asked[0] == [(variant, seed) for seed in (1, 2) for variant in VARIANTS]
    # Each round begins with what was trained before.
    for (before, after), seed in zip(pairwise(rounds.asked), (3, 4, 5), strict=True):
        assert after == [*before, ("gru", seed), ("cmaf", seed)]
    assert found.decision.seeds == {"gru": 5, "cmaf": 5, "audio_only": 2}
    assert rounds.concluded[2] == {"gru": "worse", "cmaf": "worse"}


def test_what_is_clear_at_the_first_look_ends_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    rounds = Rounds(monkeypatch, tmp_path, lambda variant, seed: {"gru": 0.9, "cmaf": 0.6, "audio_only": 0.3}[variant])
    found = rounds.decide()
    assert len(rounds.asked) == 1
    assert found.decision.sentence == "gru is better than cmaf and audio_only."


def test_an_interrupted_round_decides_nothing_and_a_spent_budget_begins_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    assert Rounds(monkeypatch, tmp_path / "a", wavering, finished=False).decide() is None
    rounds = Rounds(monkeypatch, tmp_path / "b", wavering)
    found = rounds.decide(question=Question(margin=0.001), budget_s=6 * 60.0)
    assert len(rounds.asked) == 1
    assert "undecided against cmaf" in found.decision.sentence
    # With more of it, the same decision goes on.
    rounds.decide(question=Question(margin=0.001), budget_s=9 * 60.0)
    assert len(rounds.asked) == 1 + 3


def test_a_look_sees_no_training_of_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted start may have left one."""
    records = [
        TrialRecord(number=n, params={"finalist": 0, "seed": seed}, distributions={}, config={}, state=COMPLETE)
        for n, seed in enumerate((1, 2, 3, 4))
    ]
    asked = [(record, HeldOut([], [])) for record in records]
    monkeypatch.setattr(trainings_module, "held_out", lambda outcome, settings, shown_others: asked)
    monkeypatch.setattr(
        trainings_module, "_training", lambda outcome, record, tested: SimpleNamespace(seed=record.params["seed"])
    )
    found = put_to_test(None, [(0, 1), (0, 3), (1, 4)], None)  # type: ignore[arg-type]
    assert [training.seed for training in found[0]] == [1, 3]
    assert list(found) == [0]
