"""The gate's rules over evidence; the history of an alias; and both on MLflow with models that can be loaded."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

import seldtune
from data import storage
from data.errors import GateError, UserError
from infra.cli import app
from infra.models.aliases import history, promote, rollback
from infra.models.gate import failed
from infra.models.history import PROMOTE, ROLLBACK, AliasLog, Move
from infra.models.import_weights import bring_own_weights
from infra.models.packing import CODE
from infra.models.register import FINALIST, evidence_of, faults_of, find_version
from support.checked_models import each_model_loaded_once
from support.registered_models import change_member, register_untrained
from support.tested_models import evidence
from support.tiny_models import tiny_config
from trainables.config.tree import override
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained
from trainables.weights.files import parse_state

REPOSITORY = Path(__file__).parents[2]


# --- the history of an alias ------------------------------------------------------------------------------------------


def move(sequence, version, before, kind=PROMOTE):
    return Move(sequence=sequence, kind=kind, version=version, before=before, reason="because")


def test_a_place_in_the_history_is_taken_once(tmp_path):
    log = AliasLog(str(tmp_path), "seld", "champion")
    assert log.last() is None
    first = move(1, "4", None)
    log.claim(first)
    log.claim(first)  # the same claim, tried again after a lost answer
    with pytest.raises(GateError, match="it was nothing and is version 4"):
        log.claim(move(1, "5", None))
    log.claim(move(2, "5", "4"))
    assert [m.version for m in log.moves()] == ["4", "5"]
    assert log.moves()[0] == first


# --- on MLflow --------------------------------------------------------------------------------------------------------

MODELS = 9


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V1", "a/b"])
def test_an_alias_that_mlflow_never_takes_is_refused(tmp_path, alias):
    said = f"^alias '{alias}': use letters"
    with pytest.raises(UserError, match=said):
        promote(str(tmp_path), "seld", None, alias, "why")
    with pytest.raises(UserError, match=said):
        history(str(tmp_path), "seld", alias)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A registry with versions 1 to 9 of one network, each a little better on the test split than the one before."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("seldtune", artifact_location=(folder / "artifacts").as_uri())
        for number in range(MODELS):
            run = client.create_run(experiment)
            tested = evidence(0.3 + 0.05 * number, seed=number, trial=number)
            version = register_untrained(
                folder, run.info.run_id, number, "search-finals", alias=FINALIST, evidence=tested
            )
            assert version.version == str(number + 1)
            assert evidence_of(version) == tested
        yield folder


@pytest.fixture
def root(places, tmp_path):
    """A history that has not begun, and a registry where nobody is champion."""
    yield str(tmp_path)
    client = mlflow.MlflowClient()
    client.delete_registered_model_alias("seld", "champion")
    for tag in client.get_registered_model("seld").tags:
        client.delete_registered_model_tag("seld", tag)


@pytest.fixture
def loaded_once():
    """For tests that are not about loading; the models have the same code and weights."""
    with each_model_loaded_once():
        yield


def champion():
    return str(mlflow.MlflowClient().get_model_version_by_alias("seld", "champion").version)


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_promotion_history_and_rollback(root):
    dry = promote(root, "seld", "2", "champion", "", dry_run=True)
    assert dry.passed, failed(dry.verdicts)
    assert AliasLog(root, "seld", "champion").last() is None
    with pytest.raises(MlflowException):
        champion()
    with pytest.raises(UserError, match="--reason"):
        promote(root, "seld", "2", "champion", " ")
    promote(root, "seld", "2", "champion", "the first")
    assert champion() == "2"
    with pytest.raises(UserError, match="is 'champion' already"):
        promote(root, "seld", "2", "champion", "again")
    with pytest.raises(GateError, match="FAILED better than the holder"):
        promote(root, "seld", "1", "champion", "hope")
    assert champion() == "2"
    promote(root, "seld", None, "champion", "the finalist")
    assert champion() == str(MODELS)
    forced = promote(root, "seld", "1", "champion", "a test of force", force=True)
    assert "better than the holder" in forced.move.against
    assert champion() == "1"

    back = rollback(root, "seld", "champion", "worse, as was to be seen")
    assert (back.kind, back.version, champion()) == (ROLLBACK, str(MODELS), str(MODELS))
    assert rollback(root, "seld", "champion", "further").version == "2"
    with pytest.raises(UserError, match="nobody held"):
        rollback(root, "seld", "champion", "too far")

    moves = history(root, "seld", "champion")
    assert [(m.kind, m.version, m.before) for m in moves] == [
        (PROMOTE, "2", None),
        (PROMOTE, "9", "2"),
        (PROMOTE, "1", "9"),
        (ROLLBACK, "9", "1"),
        (ROLLBACK, "2", "9"),
    ]
    assert [m.forced for m in moves] == [False, False, True, False, False]
    assert "FORCED against better than the holder" in str(moves[2])
    tags = mlflow.MlflowClient().get_registered_model("seld").tags
    assert sorted(tags) == [*(f"alias.champion.{n:05d}" for n in range(1, 6)), "alias.champion.asked"]
    assert json.loads(tags["alias.champion.00003"])["reason"] == "a test of force"


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_a_crash_between_claim_and_alias_is_repaired_by_the_next_command(root):
    promote(root, "seld", "2", "champion", "the first")
    AliasLog(root, "seld", "champion").claim(move(2, "4", "2"))  # and here the power went
    assert champion() == "2"
    assert history(root, "seld", "champion")[-1].version == "4"
    # Judged against the version that was claimed.
    with pytest.raises(GateError, match="FAILED better"):
        promote(root, "seld", "3", "champion", "better than the first alone")
    assert champion() == "4"
    assert "alias.champion.00002" in mlflow.MlflowClient().get_registered_model("seld").tags


@pytest.mark.slow
def test_damaged_models_stay_where_they_are_even_by_force(root, places):
    version = find_version("seld", "5")
    assert faults_of(version) == []
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=version.uri))  # a local store's own folder
    weights = next(folder.rglob("model.safetensors"))
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert "is not what was registered" in faults_of(version)[0]
        with pytest.raises(GateError, match="FAILED files"):
            promote(root, "seld", "5", "champion", "no matter what", force=True)
        weights.unlink()
        assert "model.safetensors is missing" in faults_of(version)
        weights.write_bytes(content)
        (weights.parent / "more.pkl").write_bytes(b"\x80\x04.")
        assert any("more.pkl is of no known kind" in fault for fault in faults_of(version))
    finally:
        weights.write_bytes(content)
        (weights.parent / "more.pkl").unlink(missing_ok=True)
    assert AliasLog(root, "seld", "champion").last() is None


@pytest.fixture
def shipped(places):
    """The archive of the code that version 5 brings, to be changed."""
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=find_version("seld", "5").uri))
    content = (folder / CODE).read_bytes()
    yield folder / CODE
    (folder / CODE).write_bytes(content)


@pytest.mark.slow
def test_a_model_is_judged_by_the_code_that_it_brings(root, shipped, monkeypatch):
    """Today's code, which is loaded here and installed in this environment, would load it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    version, path = find_version("seld", "5"), list(sys.path)
    code = "trainables/networks/model.py"
    content = zipfile.ZipFile(shipped).read(code).decode()
    change_member(shipped, code, content + "\nraise ValueError('broken since it was shipped')\n")
    with pytest.raises(GateError, match=r"FAILED files: .*ValueError: broken since it was shipped"):
        promote(root, "seld", "5", "champion", "no matter what", force=True)
    change_member(shipped, code, content + "\nimport os\nos._exit(7)\n")
    assert faults_of(version) == ["the model does not load and predict: exit code 7: nothing said"]
    # What it is given, and where the rest comes from.
    given = "import os, sys\nassert 'AWS_SECRET_ACCESS_KEY' not in os.environ\n"
    elsewhere = f"sys.path.append({str(REPOSITORY)!r})\nimport infra.console.output\n"
    change_member(shipped, code, f"{content}\n{given}{elsewhere}")
    (said,) = faults_of(version)
    assert "does not bring all of its code: infra, infra.console, infra.console.output came from elsewhere" in said
    assert sys.path == path
    # What lies in the archive is of known kinds as well.
    change_member(shipped, "data/more.pkl", "")
    assert faults_of(version) == ["code/code.zip/data/more.pkl is of no known kind"]
    shipped.write_bytes(shipped.read_bytes()[:-100])
    assert faults_of(version) == ["code/code.zip cannot be read: File is not a zip file"]


@pytest.mark.slow
def test_a_registered_model_starts_trials_elsewhere(root):
    brought = bring_own_weights({"audio.weights": "models:/seld/5", "optimiser.lr": 0.1}, root)
    assert brought["optimiser.lr"] == 0.1
    config = override(tiny_config("audio_only"), {"audio.weights": brought["audio.weights"]})
    model = SeldModel(config)
    (taken,) = load_pretrained(model, config)
    assert taken.kind == "own"
    assert set(taken.keys) == {key for key in model.state_dict() if key.startswith("audio.")}
    _, provenance = parse_state(storage.read_bytes(brought["audio.weights"]), "weights")
    assert provenance["source"] == "models:/seld/5"
    assert bring_own_weights({"audio": {"weights": "models:/seld@finalist"}}, root) == {
        "audio.weights": brought["audio.weights"]
    }, "the same numbers are there once"
    for source, said in {
        "models:/seld/77": "the registry has no '77' of model 'seld'",
        "models:/seld": "'models:/seld': write models:/<name>@<alias>",
        "runs:/nobody": "runs:/nobody: MLflow has no such run",
        f"runs:/{find_version('seld', '5').run_id}": "is no trial's run",
    }.items():
        with pytest.raises(UserError, match=re.escape(said)):
            bring_own_weights({"audio.weights": source}, root)


PROMOTER = """
import sys, time
from pathlib import Path
from data.errors import GateError
from infra.models import aliases
root, version, start = sys.argv[1:]
# Whether the models load was looked at before, and is not what is looked at here.
aliases.faults_of = lambda version: []
judge = aliases.judge
def slowly(*arguments):
    # Everybody has seen the same holder before anybody claims.
    verdicts = judge(*arguments)
    Path(start, version).touch()
    while len(list(Path(start).iterdir())) < 4:
        time.sleep(0.01)
    return verdicts
aliases.judge = slowly
try:
    aliases.promote(root, "seld", version, "champion", f"version {version}")
except GateError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_of_four_that_promote_at_once_one_wins_and_the_others_are_told(root, tmp_path):
    promote(root, "seld", "1", "champion", "the holder")
    start = tmp_path / "judged"
    start.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = {
        version: subprocess.Popen(
            [sys.executable, "-c", PROMOTER, root, version, str(start)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in map(str, range(2, 6))
    }
    deadline = time.monotonic() + 400
    ends = {v: (*p.communicate(timeout=deadline - time.monotonic()), p.returncode) for v, p in processes.items()}
    winners = [version for version, (_, _, code) in ends.items() if code == 0]
    assert len(winners) == 1, ends
    for version, (out, err, code) in ends.items():
        if version not in winners:
            assert code == 3, err
            assert f"changed meanwhile: it was version 1 and is version {winners[0]}" in out
    assert champion() == winners[0]
    assert [(m.version, m.before) for m in history(root, "seld", "champion")] == [("1", None), (winners[0], "1")]


@pytest.mark.slow
def test_of_an_alias_that_was_never_moved_the_others_are_told(places, monkeypatch):
    for name, value in (("MLFLOW_TRACKING_URI", os.environ["MLFLOW_TRACKING_URI"]), ("SELDTUNE_ROOT", str(places))):
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["history", "seld", "--of", "nobody"])
    assert (shown.exit_code, shown.stdout) == (
        0,
        f"seld@nobody was never moved; aliases of seld: finalist (version {MODELS})\n",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("loaded_once")
def test_the_same_from_python(root, monkeypatch):
    """By `seldtune` alone; a model that it loads hears arrays."""
    for name, value in (("MLFLOW_TRACKING_URI", os.environ["MLFLOW_TRACKING_URI"]), ("SELDTUNE_ROOT", root)):
        monkeypatch.setenv(name, value)
    given = seldtune.Settings(root=root, mlflow_tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    with pytest.raises(seldtune.GateError, match="FAILED seeds"):
        seldtune.promote("seld", "too few", candidate="2", rules=seldtune.Rules(seeds=9), settings=given)
    judged = seldtune.promote("seld", "the first one", candidate="2", force=True, settings=given)
    assert (judged.candidate.version, champion()) == ("2", "2")
    assert [move.reason for move in seldtune.history("seld", settings=given)] == ["the first one"]
    with pytest.raises(seldtune.UserError, match="nobody held seld@champion before"):
        seldtune.rollback("seld", "deaf to bells", settings=given)
    model = seldtune.load_model("models:/seld@champion", settings=given)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (4, 3 * 24_000)).astype(np.float32)
    events = model.predict(noise).events()
    assert model.config.fusion.name == "gru"
    assert np.all(events.frame < 30)
    with pytest.raises(seldtune.UserError, match="has no '99' of model 'seld'"):
        seldtune.load_model("models:/seld/99", settings=given)
