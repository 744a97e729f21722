"""Who goes to the finals, what they are trained with, and what is said of them."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import optuna
import pytest

from data.classes import STARSS23
from data.errors import UserError
from data.stores.chunks import Manifest, Shard, Split, Store
from infra.finals.finalists import choose, closed_twins, finals_space, new_seeds, seed_by_seed
from infra.finals.finals import FinalsRequest, _write, all_controls, evidence_for
from infra.finals.gains import OTHERS_PICTURES
from infra.finals.held_out import with_others_pictures
from infra.finals.report import Finalist, Finals, mean_and_deviation
from infra.finals.training import Training
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, RUNNING, TrialRecord
from infra.search.proposals import draw, propose
from infra.tracking.tracker import SweepTracker
from search_spaces.quickstart import QUICKSTART, suggest
from support.tested_models import CLASSES, counts, kinds
from trainables.config.tree import fingerprint, from_dict, override, to_dict
from trainables.evaluation.bundle import save_bundle
from trainables.evaluation.latency import Latency, measure_latency
from trainables.networks.model import SeldModel
from trainables.scores.metrics import SCORE_NAMES, SeldCounts, pooled, scores
from trainables.scores.recordings import table_of
from trainables.training.reports import OBJECTIVE


def record(number, objective, *, lr=None, seed=0, state=COMPLETE, fusion="audio_only", params=None):
    point = {"fusion": fusion, "depth": 1, "schedule": "one_cycle", "lr": lr or 1e-3 * (1 + number / 100)}
    config = override(suggest(optuna.trial.FixedTrial(point)), {"training.seed": seed})
    made = TrialRecord(number=number, params=params or point, distributions={}, config=to_dict(config), state=state)
    if objective is not None:
        made.add_report({"epoch": 2, OBJECTIVE: objective, "epoch_s": 1.0})
    return made


# --- who and how ------------------------------------------------------------------------------------------------------


def test_the_best_distinct_configs_on_validation_are_chosen():
    records = [
        record(0, 0.5),
        record(1, 0.3, lr=2e-3),
        record(2, 0.2, state=FAILED),
        record(3, 0.35, lr=2e-3, seed=7),  # the config of trial 1 with another seed
        record(4, 0.4, state=PRUNED),
        record(5, None, state=PRUNED),
    ]
    assert [r.number for r in choose(records, 2, "s")] == [1, 4]
    assert [r.number for r in choose(records, 9, "s")] == [1, 4, 0]


def test_a_sweep_that_goes_on_or_has_no_model_has_no_finals():
    with pytest.raises(UserError, match="trial 1 of sweep 's' has not ended"):
        choose([record(0, 0.5), record(1, 0.4, state=RUNNING)], 1, "s")
    with pytest.raises(UserError, match="no trial of sweep 's' has a model"):
        choose([record(0, 0.5, state=FAILED)], 1, "s")


def test_every_config_is_trained_with_every_seed():
    chosen = [record(3, 0.3), record(8, 0.4, fusion="gru")]
    space = finals_space("s", "quickstart", chosen, seed_by_seed(chosen, (1, 2, 3)))
    assert space.trials == 6
    assert space.grace_epochs == 14
    assert draw(space, {}, 0).configs
    study = optuna.create_study()
    got = []
    for point in space.first:
        study.enqueue_trial(point)
        trial = study.ask()
        got.append((trial.params.get("finalist"), propose(space, trial, {}, 99)))
        assert got[-1][1].training.seed == trial.params["seed"]
    trained = {fingerprint(config) for _, config in got}
    wanted = {fingerprint(override(from_dict(r.config), {"training.seed": seed})) for r in chosen for seed in (1, 2, 3)}
    assert trained == wanted, "and not with the seed that they were searched with"


def test_seeds_are_those_that_nobody_was_searched_with():
    assert new_seeds([record(3, 0.3, seed=1), record(8, 0.4, seed=4)], 4) == (0, 2, 3, 5)
    assert (
        new_seeds([record(3, 0.3)], 2) == new_seeds(closed_twins([record(3, 0.3, fusion="gru")], "eyes"), 2) == (1, 2)
    )


def test_more_seeds_go_on_and_other_configs_do_not():
    chosen = [record(3, 0.3), record(8, 0.4)]
    few = finals_space("s", "quickstart", chosen, seed_by_seed(chosen, (1, 2)))
    more = finals_space("s", "quickstart", chosen, seed_by_seed(chosen, (1, 2, 3, 4)))
    assert more.name == few.name
    assert more.first[: len(few.first)] == few.first
    others = [record(3, 0.3), record(9, 0.4)]
    assert finals_space("s", "quickstart", others, seed_by_seed(others, (1, 2))).name != few.name


def test_a_search_gives_its_trials_its_own_seed():
    study = optuna.create_study()
    study.enqueue_trial(QUICKSTART.first[0])
    assert propose(QUICKSTART, study.ask(), {}, 5).training.seed == 5


# --- what is said of them ---------------------------------------------------------------------------------------------


def finalist(number, validations, qualities, recordings=8):
    """One training for each validation score, which finds that share of what sounds in the test recordings."""
    hard = np.linspace(0, 0.2, recordings)
    trainings = []
    for seed, (value, quality) in enumerate(zip(validations, qualities, strict=True)):
        own = [counts(quality, h) for h in hard]
        trained = record(10 * number + seed, value)
        trainings.append(
            Training(
                record=trained,
                seed=seed,
                counts=own,
                kinds=[kinds(quality, h) for h in hard],
                weights_sha256="f" * 64,
                commit="abc",
                changed=False,
            )
        )
    return Finalist(
        trial=number,
        config=from_dict(record(number, 0.5).config),
        trainings=trainings,
        latency=Latency(window_s=3.0, ms=40.0, repeats=7, processor="a processor"),
        parameters=1000,
        bytes=4100,
    )


def finals_of(*finalists):
    return Finals(
        sweep="s",
        name="s-finals",
        data_sha256="d",
        trained_on="target: 1.00 h of starss23 0123456789ab",
        test_sha256="e",
        finalists=list(finalists),
        model="models:/seld/7",
        url="http://mlflow",
    )


@pytest.mark.slow
def test_what_the_test_split_said_goes_the_way_of_all_that_a_sweep_tells_mlflow(tmp_path, monkeypatch):
    """By the sweep's tracker alone: any other client of this process asks a server that is not there."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    client.create_experiment("finals", artifact_location=(tmp_path / "artifacts").as_uri())
    winner, other = finalist(0, [0.3, 0.4], [0.8, 0.7]), finalist(1, [0.5], [0.6])
    trainings = [*winner.trainings, *other.trainings]
    sweep = SweepStore(str(tmp_path), "s-finals")
    tracker = SweepTracker(uri, "finals", "s-finals", {}, outbox=f"{sweep.uri}/outbox")
    for training in trainings:
        training.record.params = {}
        training.record.reports[-1]["at"] = 1_700_000_000.0
    tracker.update(*(training.record for training in trainings))
    _write(finals_of(winner, other), SimpleNamespace(sweep=sweep, tracker=tracker))
    assert tracker.close("FINISHED")
    for training in trainings:
        run = client.get_run(tracker.run_id(training.record.number))
        assert {f"test/{key}": value for key, value in training.flat().items()}.items() <= run.data.metrics.items()
        assert run.data.tags["protocol"] == "test, once"


def test_the_test_split_decides_nothing():
    """The training that is best on validation is taken, though another is better on the test split."""
    lucky = finalist(1, [0.30, 0.25, 0.35], [0.9, 0.5, 0.7])
    assert lucky.best.seed == 1
    document = finals_of(lucky, finalist(2, [0.4], [0.95])).as_json()
    assert document["chosen"] == {"trial": 1, "seed": 1, "by": f"validation {OBJECTIVE}"}


def test_a_gain_is_the_twins_score_minus_the_finalists_own():
    with_pictures, blind = finalist(3, [0.3, 0.32], [0.8, 0.7]), finalist(3, [0.35, 0.4, 0.5], [0.6, 0.6, 0.5])
    told = replace(with_pictures, controls={"eyes": blind.trainings})
    (gain,) = finals_of(told).gains()
    own, twins = (pooled([t.counts for t in side.trainings[:2]]) for side in (with_pictures, blind))
    seld = [table_of(side, "present")[0]["SELD"] for side in (own, twins)]
    assert gain.gain == pytest.approx(seld[1] - seld[0])
    assert gain.low < gain.gain < gain.high
    assert gain.seeds.keys() == {0, 1}, "a seed that one side alone has tells nothing"
    assert gain.validation == pytest.approx({0: 0.05, 1: 0.08})
    assert str(gain).endswith("visual input helps")
    assert "against itself with its eyes closed" in finals_of(told).markdown()
    assert finals_of(told).as_json()["gains"][0]["control"] == "eyes"
    same = replace(with_pictures, controls={"eyes": with_pictures.trainings})
    assert str(finals_of(same).gains()[0]).endswith("visual input makes no difference that these recordings show")
    assert finals_of(with_pictures).gains() == []


def test_a_gain_is_told_by_kind_of_source_and_by_class():
    with_pictures, blind = finalist(3, [0.3, 0.32], [0.8, 0.7]), finalist(3, [0.35, 0.4], [0.6, 0.6])
    told = finals_of(replace(with_pictures, controls={"eyes": blind.trainings}))
    (gain,) = told.gains()
    assert list(gain.kinds) == ["alone", "overlapped", "still", "seen", "unseen", "without a decoy"], "what is there"
    assert gain.kinds["seen"].gain == pytest.approx(0.75 - 0.6)
    assert gain.kinds["unseen"].gain == pytest.approx((0.75 - 0.6) / 2)
    assert gain.kinds["seen"].low < 0.15 < gain.kinds["seen"].high
    assert list(gain.classes) == [STARSS23.short_names[index] for index in CLASSES]
    ours, theirs = (
        sum(pooled([t.counts for t in side.trainings]), SeldCounts.zero()) for side in (with_pictures, blind)
    )
    f_scores = [scores(side).per_class.f_score[CLASSES[0]] for side in (ours, theirs)]
    first = gain.classes[STARSS23.short_names[CLASSES[0]]]
    assert (first.own, first.without) == pytest.approx(f_scores)
    assert "## Trial 3 (audio_only) against itself with its eyes closed" in told.markdown()
    assert "| recall, unseen | 0.250 | 0.325 | +0.075 |" in told.markdown()
    assert "seen +0.15*, unseen +0.07*" in "\n".join(told.lines())
    document = json.loads(json.dumps(told.as_json()))
    assert document["gains"][0]["kinds"]["seen"]["own"] == pytest.approx(0.65)


def test_a_model_that_is_shown_another_recording_was_not_trained_for_it():
    own, shown = finalist(3, [0.3, 0.32], [0.8, 0.7]), finalist(3, [0.3, 0.32], [0.3, 0.3])
    (gain,) = finals_of(replace(own, controls={OTHERS_PICTURES: shown.trainings})).gains()
    assert gain.validation == {}
    assert "while it is shown another recording: SELD better by +" in str(gain)
    assert "validation" not in str(gain)


def test_each_recording_shows_what_another_does():
    def row(recording, start):
        return {"recording": recording, "start_frame": start, "frames": f"{recording}{start}", "has_video": start < 10}

    pieces = [[row("a", 0), row("a", 10)], [row("b", 0), row("b", 10)], [row("c", 0)]]
    found = [r for piece in with_others_pictures(pieces, ("frames",)) for r in piece]
    assert [(r["recording"], r["start_frame"]) for r in found] == [("a", 0), ("a", 10), ("b", 0), ("b", 10), ("c", 0)]
    assert [r["frames"] for r in found] == ["b0", "b0", "a10", "a10", "b10"]
    assert [r["has_video"] for r in found] == [True, True, False, False, False]
    assert list(with_others_pictures(pieces[:1], ("frames",))) == []


def test_twins_are_of_finalists_that_hear_and_see():
    chosen = [record(3, 0.3), record(8, 0.4, fusion="gru")]
    (twin,) = closed_twins(chosen, "eyes")
    assert twin.number == 8
    assert twin.config["fusion"]["closed"] == "eyes"
    with pytest.raises(UserError, match="no finalist both hears and sees"):
        closed_twins(chosen[:1], "ears")


def test_controls_of_an_earlier_call_stay(tmp_path: Path):
    request = FinalsRequest(sweep="s", controls=("ears",))
    assert all_controls(request, str(tmp_path)) == ("ears",)
    SweepStore(str(tmp_path), "s-finals-eyes-closed").create({"data": "d"})
    assert all_controls(request, str(tmp_path)) == ("ears", "eyes")
    assert all_controls(replace(request, name="other"), str(tmp_path)) == ("ears",)


def test_scores_are_of_all_trainings_and_the_spread_is_between_them():
    one = finalist(1, [0.3, 0.3, 0.3], [0.5, 0.6, 0.7])
    document = one.as_json()
    expected, bounds = table_of(pooled([training.counts for training in one.trainings]), "present")
    assert document["test"]["present"] == expected
    assert document["intervals"]["present"] == bounds
    of_seeds = [training.flat()["present/F"] for training in one.trainings]
    assert document["spread"]["present"]["F"] == pytest.approx((np.mean(of_seeds), np.std(of_seeds, ddof=1)))
    # Doubling every count changes no score and no interval.
    twice = table_of(pooled([one.trainings[0].counts] * 2), "present")
    assert twice[0] == pytest.approx(table_of(one.trainings[0].counts, "present")[0])
    for name in SCORE_NAMES:
        assert twice[1][name] == pytest.approx(table_of(one.trainings[0].counts, "present")[1][name])


def test_every_pair_is_compared_on_the_same_recordings():
    a, b, c = finalist(1, [0.3], [0.8]), finalist(2, [0.4], [0.6]), finalist(3, [0.5], [0.6])
    found = finals_of(a, b, c).comparisons()
    assert [(x.first, x.second) for x in found] == [(1, 2), (1, 3), (2, 3)]
    assert found[0].high < 0
    assert "trial 1 is better than trial 2" in str(found[0])
    assert "no difference" in str(found[2])
    assert "trial 1 is better than trial 2" in str(finals_of(b, a).comparisons()[0])


def test_a_single_recording_has_scores_without_intervals():
    document = finals_of(finalist(1, [0.3], [0.8], recordings=1), finalist(2, [0.3], [0.7], recordings=1))
    assert document.comparisons() == []
    assert document.as_json()["finalists"][0]["intervals"]["present"] == {}
    assert "| - |" in document.markdown()


def test_the_report_can_be_read_by_people_and_programs():
    found = finals_of(finalist(1, [0.3, 0.3], [0.8, 0.7]), finalist(2, [0.4, 0.4], [0.6, 0.6]))
    document = json.loads(json.dumps(found.as_json()))
    assert [f["trial"] for f in document["finalists"]] == [1, 2]
    assert set(document["finalists"][0]["classes"]) == {STARSS23.short_names[index] for index in CLASSES}
    text = found.markdown()
    assert text.count("\n| 1 | audio_only |") == 1
    assert "trial 1 is better than trial 2" in text
    assert any("seldtune promote seld" in line for line in found.lines())
    assert mean_and_deviation([0.5]) == (0.5, 0.0)


# --- what is kept and measured ----------------------------------------------------------------------------------------


def test_latency_is_measured_on_one_thread(tmp_path: Path):
    config = suggest(optuna.trial.FixedTrial({"fusion": "gru", "depth": 1, "schedule": "one_cycle", "lr": 1e-3}))
    save_bundle(tmp_path, SeldModel(config), config, {})
    measured = measure_latency(str(tmp_path))
    assert measured.window_s == pytest.approx(config.inputs.window_labels / 10)
    assert 1 < measured.ms < 60_000
    assert measured.processor
    assert measured.real_time_factor == pytest.approx(measured.ms / 1000 / measured.window_s)


def test_evidence_names_the_training_that_is_registered():
    def split(digest):
        shards = (Shard(path=f"part-{digest}.parquet", sha256=digest, bytes=1, rows=1),)
        return Split(1, 0, 0.1, ("room",), (0,) * 13, (0,) * 6, shards)

    def store(train, test):
        splits = {"train": split(train), "test": split(test)}
        return Store("s3://store", Manifest("synthetic", {}, splits, Shard("index.parquet", "0", 1, 2)))

    one = finalist(4, [0.3, 0.2], [0.5, 0.6])
    kept = evidence_for("s", "s-finals", store("a", "b"), one, one.best, {"gru": "better"})
    assert kept.verdicts == {"gru": "better"}
    assert (kept.trial, kept.seed, kept.seeds, kept.epoch) == (41, 1, (0, 1), 2)
    assert kept.score("present", "F") == pytest.approx(one.best.flat()["present/F"])
    # Other training data leaves the identity of the test split as it is; other test data does not.
    more, other = (
        evidence_for("s", "s-finals", store(*parts), one, one.best, {}) for parts in (("c", "b"), ("a", "c"))
    )
    assert more.data_sha256 != kept.data_sha256
    assert more.test_sha256 == kept.test_sha256 != other.test_sha256


def test_what_cannot_be_asked_of_finals_is_refused_before_they_start():
    with pytest.raises(UserError, match="seeds = '3': has to be a whole number"):
        FinalsRequest(sweep="mine", seeds="3")
