"""Verdicts on the pairs of a sweep's variants: what is said, what is still open, and what may not be asked."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from data import storage
from data.errors import UserError
from infra.finals.decide import _require_same
from infra.finals.decision import Decision, Question
from infra.finals.looks import Trained

RECORDINGS = 6


def trained(mean: float, seeds: int = 4, spread: float = 0.002, by_recording: float = 0.0) -> Trained:
    """Trainings evenly about a mean; `by_recording` is what recordings make of it, in turn better and worse."""
    scores = mean + spread * np.linspace(-1, 1, seeds)
    return Trained(scores, scores[:, None] + by_recording * np.array([1, -1] * (RECORDINGS // 2)))


def decide(question: Question | None = None, **variants: Trained) -> Decision:
    numbers = {variant: number for number, variant in enumerate(variants)}
    return Decision.of("searched", "searched-decide", question or Question(), variants, numbers)


def verdicts(decision: Decision) -> dict[tuple[str, str], str]:
    return {(pair.first, pair.second): pair.verdict for pair in decision.pairs}


def test_what_is_far_apart_is_better_what_is_near_is_equivalent_and_what_is_neither_stays_open() -> None:
    found = decide(gru=trained(0.40), cmaf=trained(0.401), audio_only=trained(0.60), late=trained(0.50, spread=0.2))
    assert verdicts(found) == {
        ("gru", "cmaf"): "equivalent",
        ("gru", "audio_only"): "better",
        ("gru", "late"): "undecided",
        ("cmaf", "audio_only"): "better",
        ("cmaf", "late"): "undecided",
        ("audio_only", "late"): "undecided",
    }
    assert found.against("audio_only") == {"gru": "worse", "cmaf": "worse", "late": "undecided"}
    assert found.sentence == ("gru is better than audio_only, as good as cmaf within 0.02, undecided against late.")
    assert found.open_variants() == ["gru", "cmaf", "audio_only", "late"]
    assert str(found.pairs[1]).startswith("gru is better than audio_only: SELD lower by 0.200, 0.19")
    assert str(found.pairs[0]).startswith("gru and cmaf are equivalent within 0.02: SELD -0.001, ")
    assert str(found.pairs[2]).endswith("4 seeds; more seeds may tell (--seeds, under another --name)")


def test_all_intervals_of_more_pairs_are_wider() -> None:
    two = decide(gru=trained(0.4), cmaf=trained(0.5))
    three = decide(gru=trained(0.4), cmaf=trained(0.5), audio_only=trained(0.6))
    against_one = decide(Question(reference="cmaf"), gru=trained(0.4), cmaf=trained(0.5), audio_only=trained(0.6))
    widths = [found.pairs[0].interval[1] - found.pairs[0].interval[0] for found in (two, against_one, three)]
    assert widths == sorted(widths)
    assert len(set(widths)) == 3
    assert [(pair.first, pair.second) for pair in against_one.pairs] == [("gru", "cmaf"), ("audio_only", "cmaf")]


def test_a_verdict_that_was_given_stands() -> None:
    """A variant gets more seeds for another pair's sake; that its own is less clear with them takes nothing back."""

    def look(before: Decision | None = None, **variants: Trained) -> Decision:
        return Decision.of("searched", "decided", Question(), variants, {"gru": 0, "cmaf": 1}, before)

    clear, blurred = {"gru": trained(0.4), "cmaf": trained(0.5)}, {"gru": trained(0.4, 5, 0.3), "cmaf": trained(0.5)}
    first = look(**clear)
    kept = look(first, **blurred)
    assert kept.pairs == first.pairs
    assert kept.open_variants() == []
    undecided = look(**blurred)
    assert verdicts(undecided) == {("gru", "cmaf"): "undecided"}
    assert verdicts(look(undecided, **clear)) == {("gru", "cmaf"): "better"}


def test_where_recordings_leave_it_open_no_seed_is_added_and_it_is_said() -> None:
    found = decide(gru=trained(0.40, by_recording=0.1), cmaf=trained(0.44))
    (pair,) = found.pairs
    assert (pair.verdict, pair.hopeless) == ("undecided", True)
    assert found.open_variants() == []
    assert "more seeds would not tell with 6 test recordings, about " in str(pair)
    assert pair.recordings_for() > RECORDINGS
    assert found.seeds_for == {"0.02": None, "0.05": None}


def test_two_seeds_do_not_say_that_more_are_hopeless() -> None:
    found = decide(gru=trained(0.40, 2, by_recording=0.1), cmaf=trained(0.44, 2))
    assert (found.pairs[0].verdict, found.open_variants()) == ("undecided", ["gru", "cmaf"])


def test_an_early_look_asks_for_more_than_a_later_one() -> None:
    early, late = decide(gru=trained(0.4, 3), cmaf=trained(0.5, 3)), decide(gru=trained(0.4, 8), cmaf=trained(0.5, 8))
    assert early.pairs[0].level < early.pairs[0].last_level == late.pairs[0].level == late.pairs[0].last_level


def test_a_variant_without_trainings_is_left_open_and_named() -> None:
    none = Trained(np.zeros(0), np.zeros(0))
    found = decide(gru=trained(0.4), cmaf=none, audio_only=trained(0.6))
    assert verdicts(found)[("gru", "cmaf")] == "undecided"
    assert str(found.pairs[0]) == "gru and cmaf: undecided, for want of trainings that have a model"
    assert found.pairs[0].interval == (-math.inf, math.inf)
    assert found.open_variants() == []
    assert list(found.means) == ["gru", "audio_only"]
    assert found.sentence == "gru is better than audio_only, undecided against cmaf."


def test_the_document_is_json_and_the_report_says_it_all() -> None:
    found = decide(gru=trained(0.4), cmaf=trained(0.5))
    document = json.loads(json.dumps(found.as_json()))
    assert document["sentence"] == "gru is better than cmaf."
    assert document["variants"][0] == {
        "variant": "gru",
        "trial": 0,
        "seeds": 4,
        "mean": pytest.approx(0.4),
        "deviation": pytest.approx(np.std(found_scores(), ddof=1)),
    }
    (pair,) = document["pairs"]
    assert (pair["verdict"], pair["difference"]) == ("better", pytest.approx(-0.1))
    assert pair["low"] < -0.1 < pair["high"] < 0
    assert found.markdown().startswith("# gru is better than cmaf.\n\n| variant | trial |")
    assert any("wrong with a probability of 0.05 at most" in line for line in found.lines())


def found_scores() -> np.ndarray:
    return trained(0.4).scores


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "colour"}, "--by 'colour' is not known; choose one of fusion, visual, audio, schedule, depth"),
        ({"margin": 0.0}, "margin = 0.0: has to be a SELD, above 0"),
        ({"most_seeds": 1}, "seeds = 1: has to be 2 or more"),
        ({"alpha": 1.0}, "alpha = 1.0: has to be a probability"),
        ({"margin": "wide"}, "margin = 'wide': has to be a number"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Question(**asked)  # type: ignore[arg-type]


def test_there_have_to_be_two_and_the_reference_among_them() -> None:
    with pytest.raises(
        UserError, match="nothing to decide by fusion: two variants or more with a model are needed, got gru"
    ):
        Question().pairs(["gru"])
    with pytest.raises(UserError, match="reference 'late' has no model; choose one of gru, cmaf"):
        Question(reference="late").pairs(["gru", "cmaf"])


def test_a_question_may_not_change_once_something_was_seen(tmp_path) -> None:
    uri = str(tmp_path / "question.json")
    _require_same(Question(), uri, "mine")
    storage.write_bytes(uri, json.dumps(Question().__dict__).encode())
    _require_same(Question(), uri, "mine")
    with pytest.raises(UserError, match=r"'mine' was begun with margin 0.02, not 0.05: .* give another --name"):
        _require_same(Question(margin=0.05), uri, "mine")
