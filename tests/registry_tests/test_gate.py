"""The gate's rules over evidence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data.errors import UserError
from infra.models.evidence import Evidence
from infra.models.gate import Rules, Standing, failed, judge, read_rules
from support.tested_models import evidence
from trainables.evaluation.latency import Latency
from trainables.scores.metrics import SCORE_NAMES
from trainables.scores.recordings import overall, paired_difference


def refused(candidate, holder=None, **rules):
    """Names of the rules that refuse."""
    standing = Standing(version="2", evidence=candidate, sweep="search")
    before = None if holder is None else Standing(version="1", evidence=holder)
    return [verdict.rule for verdict in failed(judge(standing, before, Rules(**rules)))]


def test_the_first_model_needs_everything_but_the_comparison():
    assert refused(evidence()) == []
    verdicts = judge(Standing(version="1", evidence=evidence()), None, Rules(class_floor=0.1))
    rules = ["files", "provenance", "seeds", "class floor", "latency", "size", "better than silence"]
    assert [verdict.rule for verdict in verdicts] == rules


def test_a_model_that_may_be_no_better_than_silence_is_no_first_champion():
    deaf = evidence(0.0, noise=0.0)
    assert refused(deaf) == ["better than silence"]
    assert refused(deaf, better_than_silence=False) == []
    assert refused(evidence(0.3, noise=0.0)) == []
    # One recording has no interval; and beyond doubt better, but not by the margin.
    assert refused(evidence(0.3, recordings=1)) == ["better than silence"]
    assert refused(evidence(0.3, noise=0.0), margin=0.9) == ["better than silence"]


def test_a_gate_may_ask_that_pictures_help():
    for gains, refusals in (
        ({"eyes": (0.1, 0.02, 0.18)}, []),
        ({"eyes": (0.1, -0.02, 0.22)}, ["visual input helps"]),
        ({"ears": (0.1, 0.02, 0.18)}, ["visual input helps"]),
        ({}, ["visual input helps"]),
    ):
        assert refused(evidence(gains=gains), controls=["eyes"]) == refusals
        assert refused(evidence(gains=gains)) == []
    untested = judge(Standing(version="2", evidence=evidence()), None, Rules(controls=["eyes"]))
    assert any("its finals were without --control eyes" in str(verdict) for verdict in untested)
    for wrong in ("eyes", ["nose"]):
        with pytest.raises(UserError, match="has to be a list of eyes, ears"):
            Rules(controls=wrong)


def test_a_gate_may_ask_that_it_was_decided():
    for verdicts, refusals in (
        ({"audio_only": "better", "cmaf": "undecided"}, []),
        ({"audio_only": "equivalent"}, ["better than audio_only"]),
        ({"cmaf": "better"}, ["better than audio_only"]),
        ({}, ["better than audio_only"]),
    ):
        assert refused(evidence(verdicts=verdicts), better_than=["audio_only"]) == refusals
        assert refused(evidence(verdicts=verdicts)) == []
    (undecided,) = failed(judge(Standing(version="2", evidence=evidence()), None, Rules(better_than=["audio_only"])))
    assert "nothing decided against audio_only; `seldtune decide` does so" in str(undecided)
    for wrong in ("audio_only", [3]):
        with pytest.raises(UserError, match="has to be a list of variants, such as audio_only"):
            Rules(better_than=wrong)
    decided = evidence(verdicts={"audio_only": "better"})
    assert Evidence.from_json(decided.to_json()) == decided


def test_evidence_keeps_what_controls_said_and_is_without_them_what_it_was():
    with_gains = evidence(gains={"eyes": (0.1, 0.02, 0.18)})
    assert Evidence.from_json(with_gains.to_json()) == with_gains
    before = json.loads(evidence().to_json())
    assert not {"gains", "verdicts"} & before.keys()
    assert Evidence.from_json(json.dumps(before)).sha256 == evidence().sha256


def test_a_model_that_was_never_tested_is_sent_to_the_finals():
    [verdict] = failed(judge(Standing(version="3", evidence=None, sweep="quickstart"), None, Rules()))
    assert verdict.rule == "evidence"
    assert "`seldtune finals quickstart`" in verdict.needed
    mine = Standing(version="3", evidence=None, sweep="quickstart", plugins=("my_parts.py",))
    assert "`seldtune finals quickstart --plugin my_parts.py`" in failed(judge(mine, None, Rules()))[0].needed


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"data_sha256": ""}, "provenance"),
        ({"weights_sha256": ""}, "provenance"),
        ({"commit": None}, "provenance"),
        ({"changed": True}, "provenance"),
        ({"seeds": (0, 1)}, "seeds"),
        ({"seeds": (0, 0, 0)}, "seeds"),
        ({"latency": Latency(window_s=3.0, ms=3001.0, repeats=7, processor="p")}, "latency"),
        ({"bytes": 1_000_000_001}, "size"),
    ],
)
def test_each_rule_refuses_alone(fields, rule):
    assert refused(evidence(**fields)) == [rule]


def test_damaged_files_are_named():
    standing = Standing(version="2", evidence=evidence(), faults=("model.safetensors is missing",))
    [verdict] = failed(judge(standing, None, Rules()))
    assert (verdict.rule, verdict.got) == ("files", "model.safetensors is missing")


def test_better_is_beyond_the_interval_of_the_paired_difference():
    holder = evidence(0.6, seed=1)
    assert refused(evidence(0.7), holder) == []
    # As good, but for luck; and worse.
    assert refused(evidence(0.605, seed=2), holder) == ["better than the holder"]
    assert refused(evidence(0.5), holder) == ["better than the holder"]
    assert refused(evidence(0.7), holder, margin=0.2) == ["better than the holder"]


def test_pairing_finds_a_difference_that_two_intervals_hide():
    """Recordings differ by 0.3 from easy to hard, the models by 0.04: apart only when each is compared with itself."""
    ours, theirs = evidence(0.64, noise=0.005), evidence(0.6, noise=0.005, seed=1)
    assert refused(ours, theirs) == []
    spread = paired_difference(ours.per_recording, theirs.per_recording, "present")
    seld = SCORE_NAMES.index("SELD")
    separate = json.loads(ours.to_json())["summary"]["intervals"]["present"]["SELD"]
    assert separate[1] > theirs.score("present") > ours.score("present")
    assert spread.high[seld] - spread.low[seld] < 0.3 * (separate[1] - separate[0])


def test_the_difference_is_that_of_the_scores_and_turns_with_the_order():
    ours, theirs = evidence(0.7).per_recording, evidence(0.6, seed=1).per_recording
    forth, back = paired_difference(ours, theirs, "macro"), paired_difference(theirs, ours, "macro")
    expected = [overall(sum(side[1:], side[0]), "macro") for side in (ours, theirs)]
    np.testing.assert_allclose(forth.value, expected[0] - expected[1], atol=1e-12)
    np.testing.assert_allclose(forth.low, -back.high, atol=1e-12)


def test_no_class_may_be_given_up_for_the_mean():
    holder = evidence(0.6, noise=0.0)
    # Two classes much better, the third much worse.
    traded = evidence(noise=0.0, by_class={0: 0.95, 4: 0.95, 8: 0.4})
    assert refused(traded, holder) == ["no class worse"]
    assert refused(traded, holder, class_drop=0.5) == []
    [verdict] = failed(judge(Standing(version="2", evidence=traded), None, Rules(class_floor=0.5)))
    assert verdict.rule == "class floor"
    assert "the lowest" in verdict.got


def test_models_of_different_test_recordings_are_not_compared():
    for holder in (evidence(test_sha256="0" * 64), None):
        standing = Standing(version="1", evidence=holder)
        verdicts = failed(judge(Standing(version="2", evidence=evidence(0.9)), standing, Rules()))
        assert [v.rule for v in verdicts] == ["same test", "better than the holder", "no class worse"]


def test_other_training_data_with_the_same_test_recordings_is_compared():
    assert refused(evidence(0.7, data_sha256="a" * 64), evidence(0.6, data_sha256="b" * 64)) == []


def test_one_recording_shows_nothing():
    assert refused(evidence(0.9, recordings=1), evidence(0.3, recordings=1)) == ["better than the holder"]


def test_every_failed_rule_is_listed_with_what_was_got_and_needed():
    bad = evidence(0.4, changed=True, seeds=(0,), bytes=2_000_000_000)
    verdicts = failed(
        judge(Standing(version="2", evidence=bad), Standing(version="1", evidence=evidence(0.6)), Rules())
    )
    assert [v.rule for v in verdicts] == ["provenance", "seeds", "size", "better than the holder", "no class worse"]
    assert "1 trainings; needed: 3 or more" in str(verdicts[1])
    assert all(v.got and v.needed for v in verdicts)


def test_rules_from_yaml(tmp_path):
    file = tmp_path / "rules.yaml"
    file.write_text("margin: 1e-2\naverage: macro\nclean_commit: false\n")
    assert read_rules(file) == Rules(margin=0.01, average="macro", clean_commit=False)
    assert read_rules(None) == Rules()
    for text, said in (
        ("margn: 1", "'margn' is no rule; there are: average, margin"),
        ("margin: -1", "0 or more"),
        ("margin: true", "has to be a number"),
        ("margin: .inf", "margin = inf: has to be a number, 0 or more"),
        ("margin: .nan", "margin = nan: has to be a number, 0 or more"),
        ("margin: 0.1\nmargin: 0.2", "margin is given twice"),
        ("class_floor: 2", "class_floor = 2: has to be a share, from 0 to 1"),
        ("seeds: 0.5", "seeds = 0.5: has to be a whole number, 0 or more"),
        ("clean_commit: 1", "true or false"),
        ("average: mean", "present"),
        ("- a", "mapping"),
        ("{", "no YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=said):
            read_rules(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_rules(tmp_path / "none.yaml")


def test_evidence_comes_back_as_it_was():
    kept = evidence()
    again = Evidence.from_json(kept.to_json())
    assert again == kept
    assert again.sha256 == kept.sha256
    with pytest.raises(UserError, match="run finals again"):
        Evidence.from_json("{}")
