"""From a sweep to a champion, with a watch on the object store: who reads the test split, and how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pytest

from data import storage
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import open_store
from infra.record.folder import SweepStore
from infra.stack.home import read_state
from infra.stack.settings import embedded_urls
from support.checked_models import each_model_loaded_once
from support.embedded_stack import Stack
from support.tracking_server import wait_for
from support.watched_door import Door, watched
from trainables.training.reports import OBJECTIVE

pytestmark = pytest.mark.slow

DATA = "s3://seldtune/data/watched"
TEST_FILES = "/seldtune/data/watched/test/"
TINY = SynthSettings(train_clips=4, val_clips=2, test_clips=3, clip_s=6.0, train_rooms=2, clips_per_task=1)
# A second process that imports PyTorch takes longer than what it would train.
ONE_BY_ONE = ("--concurrency", "1")
SWEEP = (
    *("sweep", "quickstart", "--name", "search", "--data", DATA, "--trials", "2", "--stopper", "none", *ONE_BY_ONE),
    # With so low a threshold what has hardly trained finds something, and is worth registering.
    *("--set", "training.epochs=1", "--set", "training.epoch_windows=16", "--set", "inference.threshold=0.02"),
)
FINALS = ("finals", "search", "--data", DATA, "--best", "2", "--seeds", "3", *ONE_BY_ONE, "--json")
SEARCHING = {
    "sweep": SWEEP,
    "the same sweep again": SWEEP,
    "plan": ("plan", "--preset", "audio_only"),
}
"""Commands that may not read the test split, in the order in which they are run."""


class Watched(Stack):
    """A stack whose object store is behind a door, and the command line on it."""

    door: Door

    def run_apart(self, *arguments: str, **environment: str) -> str:
        """The command in a process of its own, which remembers nothing of those before: what it says on stdout."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return out

    def test_reads(self) -> list[Any]:
        return self.door.reads(TEST_FILES)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    stack = Watched(tmp_path_factory.mktemp("stack") / ".seldtune")
    patch = pytest.MonkeyPatch()
    try:
        # The object store alone at first; MLflow and Ray start on the other side of the door.
        stack.run_apart("up", MLFLOW_TRACKING_URI="sqlite:///unused.db", RAY_ADDRESS="local")
        state = read_state(stack.home)
        assert state is not None
        with watched(urlsplit(embedded_urls(state)["s3"]).port) as stack.door:
            stack.environment |= {
                "AWS_ENDPOINT_URL": stack.door.url,
                "AWS_ACCESS_KEY_ID": state.secrets["s3_access_key"],
                "AWS_SECRET_ACCESS_KEY": state.secrets["s3_secret_key"],
            }
            stack.run_apart("up")
            for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, stack.environment[name])
            with stack.active(), each_model_loaded_once():
                synthesise(TINY, DATA)
                yield stack
    finally:
        patch.undo()
        stack.run_apart("down")


@pytest.fixture(scope="module")
def searched(stack: Watched) -> dict[str, int]:
    """How often each command read the test split."""
    reads = {}
    for name, command in SEARCHING.items():
        before = len(stack.test_reads())
        (stack.run_apart if "again" in name else stack.run)(*command)
        reads[name] = len(stack.test_reads()) - before
    return reads


@pytest.fixture(scope="module")
def finals(stack: Watched, searched: dict[str, int]) -> dict[str, Any]:
    return json.loads(stack.run(*FINALS))


def test_searching_reads_nothing_of_the_test_split(stack: Watched, searched: dict[str, int]) -> None:
    assert searched == dict.fromkeys(SEARCHING, 0)
    # The door is where the data goes through.
    for split in ("train", "val"):
        assert stack.door.reads(f"/seldtune/data/watched/{split}/")


def test_finals_read_every_test_recording_once(stack: Watched, finals: dict[str, Any]) -> None:
    reads = stack.test_reads()
    shards = {f"{TEST_FILES}{shard.path.rpartition('/')[2]}" for shard in open_store(DATA).split("test").shards}
    assert {path for path, _ in reads} == shards
    assert len(reads) == len(set(reads)), "something was read twice"
    assert json.loads(stack.run_apart(*FINALS)) == finals
    assert stack.test_reads() == reads


def test_finals_train_the_best_with_every_seed(finals: dict[str, Any]) -> None:
    records = SweepStore("s3://seldtune", "search-finals").trials()
    searched = {record.number: record for record in SweepStore("s3://seldtune", "search").trials()}
    assert [(r.params["finalist"], r.config["training"]["seed"]) for r in records] == [
        (number, seed)
        for seed in (1, 2, 3)
        for number in sorted(searched, key=lambda n: searched[n].best[OBJECTIVE])  # type: ignore[index]
    ]
    for record in records:
        original = searched[record.params["finalist"]]
        searched_seed = original.config["training"]["seed"]
        assert record.config["training"]["seed"] != searched_seed, "what was chosen for its luck is not taken again"
        trained_as = {**record.config["training"], "seed": searched_seed}
        assert {**record.config, "training": trained_as} == original.config
    assert len({record.reports[0]["train_loss"] for record in records}) == 6


def test_finals_say_how_sure_they_are(finals: dict[str, Any]) -> None:
    assert finals["recordings"] == 3
    assert finals["protocol"] == "test, once"
    for finalist in finals["finalists"]:
        for average in ("macro", "micro", "present"):
            low, high = finalist["intervals"][average]["SELD"]
            assert low <= high
            mean, deviation = finalist["spread"][average]["SELD"]
            of_seeds = [training["test"][f"{average}/SELD"] for training in finalist["trainings"]]
            assert mean == pytest.approx(sum(of_seeds) / 3)
            assert deviation >= 0
        assert [training["seed"] for training in finalist["trainings"]] == [1, 2, 3]
        assert finalist["classes"]
        assert finalist["latency"]["ms"] > 1
        assert finalist["bytes"] > 4 * finalist["parameters"]
    [comparison] = finals["comparisons"]
    assert comparison["low"] <= comparison["high"]
    means = [finalist["validation"]["mean"] for finalist in finals["finalists"]]
    assert means == sorted(means)
    winner = finals["finalists"][0]
    assert finals["chosen"]["trial"] == winner["trial"]
    by_seed = {training["seed"]: training["validation"] for training in winner["trainings"]}
    assert by_seed[finals["chosen"]["seed"]] == min(by_seed.values())
    for name in ("finals.md", "finals.json"):
        assert storage.exists(f"s3://seldtune/sweeps/search-finals/{name}")


def test_the_finalist_is_registered_with_its_evidence_and_promoted(
    stack: Watched, finals: dict[str, Any], tmp_path: Path
) -> None:
    client = mlflow.MlflowClient()
    finalist = client.get_model_version_by_alias("seld", "finalist")
    assert finals["model"] == f"models:/seld/{finalist.version}"
    assert finalist.tags["protocol"] == "test, once"
    assert finalist.tags["test.seeds"] == "1 2 3"
    assert "to" in finalist.tags["test.present.SELD"]
    run = client.get_run(finalist.run_id or "")
    assert run.data.tags["protocol"] == "test, once"
    assert "test/present/SELD" in run.data.metrics
    files = {file.path for file in client.list_artifacts(finalist.run_id or "")}
    assert "evidence.json" in files

    before = len(stack.test_reads())
    message = stack.run("promote", "seld", "--from", "challenger", "--reason", "too soon", code=3)
    assert "seldtune finals search" in message
    rules = tmp_path / "rules.yaml"
    # The checkout under test may have changes, and this machine be slow.
    rules.write_text("clean_commit: false\nbetter_than_silence: false\nreal_time_factor: 1000\n")
    judged = json.loads(stack.run("promote", "seld", "--rules", str(rules), "--dry-run", "--json"))
    assert judged["passed"]
    assert "champion" not in client.get_registered_model("seld").aliases
    rules.write_text("clean_commit: false\nreal_time_factor: 0\nseeds: 4\n")
    message = stack.run("promote", "seld", "--rules", str(rules), "--reason", "no", code=3)
    assert "FAILED latency" in message
    assert "FAILED seeds: 3 trainings; needed: 4 or more" in message
    rules.write_text("clean_commit: false\nbetter_than_silence: false\nreal_time_factor: 1000\n")
    stack.run("promote", "seld", "--rules", str(rules), "--reason", "the best of the finals")
    assert client.get_model_version_by_alias("seld", "champion").version == finalist.version
    # A model that was never tested takes its place by force alone, and gives it back.
    stack.run("promote", "seld", "--from", "challenger", "--reason", "a test of force", "--force")
    stack.run("rollback", "seld", "--reason", "enough")
    assert client.get_model_version_by_alias("seld", "champion").version == finalist.version
    moves = json.loads(stack.run("history", "seld", "--json"))["moves"]
    assert [(move["kind"], move["forced"]) for move in moves] == [
        ("promote", False),
        ("promote", True),
        ("rollback", False),
    ]
    assert moves[0]["evidence"] == finalist.tags["evidence.sha256"]
    assert len(stack.test_reads()) == before
    assert "no sweep 'nothing'" in stack.run("finals", "nothing", code=2)


DECIDE = ("decide", "search", "--data", DATA, "--seeds", "4", *ONE_BY_ONE, "--json")


@pytest.fixture(scope="module")
def decided(stack: Watched, finals: dict[str, Any]) -> dict[str, Any]:
    """A decision whose driver was killed on the way, and that was gone on with."""
    sweep = SweepStore("s3://seldtune", "search-decide")
    process = stack.start(*DECIDE)
    try:
        wait_for(lambda: process.poll() is not None or any(record.ended for record in sweep.trials()), timeout_s=200)
    finally:
        process.kill()
        process.communicate()
    assert sum(record.ended for record in sweep.trials()) < 4, "it was to be killed before its first look"
    return json.loads(stack.run(*DECIDE))


def test_a_decision_that_was_killed_ends_as_one_that_was_not(stack: Watched, decided: dict[str, Any]) -> None:
    assert {variant["variant"] for variant in decided["variants"]} == {"audio_only", "gru"}
    (pair,) = decided["pairs"]
    assert pair["verdict"] in ("better", "worse", "equivalent", "undecided")
    assert pair["low"] <= pair["difference"] <= pair["high"]
    assert decided["recordings"] == 3
    records = SweepStore("s3://seldtune", "search-decide").trials()
    trained = [(record.params["finalist"], record.params["seed"]) for record in records]
    seeds = {variant["seeds"] for variant in decided["variants"]}
    assert len(trained) == len(set(trained)) == sum(variant["seeds"] for variant in decided["variants"])
    assert seeds <= {2, 3, 4}
    whole = json.loads(stack.run(*DECIDE, "--name", "whole"))
    told = ("sentence", "variants", "pairs", "seeds_for", "recordings")
    assert {key: whole[key] for key in told} == {key: decided[key] for key in told}


def test_asked_again_a_decision_trains_and_reads_nothing(stack: Watched, decided: dict[str, Any]) -> None:
    reads = stack.test_reads()
    assert json.loads(stack.run(*DECIDE))["pairs"] == decided["pairs"]
    assert stack.test_reads() == reads
    refused = stack.run(*DECIDE, "--margin", "0.1", code=2)
    assert "'search-decide' was begun with margin 0.02, not 0.1" in refused
    planned = json.loads(stack.run(*DECIDE, "--plan"))
    assert planned["spread_of"] == "search-decide"
    assert planned["pairs"] == 1


def test_a_verdict_is_in_mlflow_on_the_page_and_a_rule(stack: Watched, decided: dict[str, Any], tmp_path: Path) -> None:
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        "tags.`seldtune.sweep` = 'search-decide' and tags.`seldtune.kind` = 'sweep'",
    )
    assert run.data.tags["decision"] == decided["sentence"]
    assert {"decision.md", "decision.json"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
    assert sum(name.startswith("decision/") for name in run.data.metrics) == 3
    said = stack.run("compare", "search", "--out", str(tmp_path))
    assert f"decided   {decided['sentence']}" in said
    page = (tmp_path / "comparison.html").read_text()
    assert page.index(decided["sentence"]) < page.index("<nav")
    assert "What was decided" in page
    rules = tmp_path / "rules.yaml"
    (pair,) = decided["pairs"]
    chosen = next(one["variant"] for one in decided["variants"] if one["trial"] == decided["finals"]["chosen"]["trial"])
    turned = {"better": "worse", "worse": "better"}
    of_gru = pair["verdict"] if pair["first"] == "gru" else turned.get(pair["verdict"], pair["verdict"])
    rules.write_text("clean_commit: false\nreal_time_factor: 0\nbetter_than: [audio_only]\n")
    message = stack.run("promote", "seld", "--rules", str(rules), "--reason", "a test of the rule", code=3)
    assert "FAILED latency" in message
    got = f"decided: {of_gru}" if chosen == "gru" else "nothing decided against audio_only"
    assert (f"FAILED better than audio_only: {got}" in message) == (got != "decided: better")
