"""One run of each command on a real stack, held to what it said before; and a sweep that an earlier build began.

Documents are compared by keys and words, texts without their numbers (`golden_texts`).
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import soundfile
import torch

from data import storage
from data.files.audio import read_foa_wav
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE
from infra.stack.settings import load_settings
from support.checked_models import each_model_loaded_once
from support.embedded_stack import Stack
from support.golden_texts import GOLDEN, assert_golden, masked, masked_json
from trainables.layers.resnet import ResNetBackbone

pytestmark = pytest.mark.slow

HEARD = """
name: heard
base:
  inputs: {n_fft: 1024, hop: 600, n_mels: 16}
  audio:
    channels: [4, 8]
    time_strides: [2, 2]
    frequency_strides: [4, 2]
    conformer: {layers: 1, heads: 2, feed_forward: 8, kernel: 3}
  fusion: {name: audio_only, conformer: {layers: 1, heads: 2, feed_forward: 8, kernel: 3}}
  head: {hidden: 8}
  training: {epochs: 2, batch_size: 8, epoch_windows: 16}
  # What has hardly trained finds something, and is worth registering.
  inference: {threshold: 0.02}
parameters:
  fusion.conformer.layers: {choices: [1, 2]}
  optimiser.lr: {low: 1e-3, high: 4e-3, log: true}
first:
  - {fusion.conformer.layers: 1, optimiser.lr: 2e-3}
  - {fusion.conformer.layers: 2, optimiser.lr: 2e-3}
trials: 2
"""
OF_THIS_MACHINE = (
    (re.compile(r"one core of .*?, # cores"), "one core of <processor>"),
    (re.compile(rf"(# #  |by: '){getpass.getuser()}"), r"\1<user>"),
    (re.compile(rf"(on |'){socket.gethostname()}\b"), r"\1<host>"),
    # What a model that has learnt nothing believes to hear.
    (re.compile(r"(?<=# rows: ).*"), "<classes>"),
    (re.compile(r"^(classes\[\]): .*(\n\1: .*)*", re.MULTILINE), r"\1: <classes>"),
    (re.compile(r"^.*axes/LE_.*\n", re.MULTILINE), ""),
)
# A second process that imports PyTorch takes longer than what it would train.
RESOURCES = ("--cpus", "1", "--concurrency", "1")
CLIPS = ("--train-clips", "2", "--val-clips", "1", "--test-clips", "1", "--clip-s", "3", "--no-video")


class Commands:
    """Runs commands on the stack and compares what they print on stdout."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.places = {str(folder): "<folder>", str(stack.home): "<home>"}

    def say(self, name: str, *arguments: str, code: int = 0) -> str:
        """A command's document (with --json) or text is that of `golden/commands/<name>.txt`; returns it."""
        said = self.stack.run(*arguments, code=code)
        self.compare(name, said, as_json="--json" in arguments and code == 0)
        return said

    def compare(self, name: str, said: str, *, as_json: bool) -> None:
        text = (masked_json if as_json else masked)(said, self.places)
        for pattern, kept in OF_THIS_MACHINE:
            text = pattern.sub(kept, text)
        assert_golden(f"commands/{name}.txt", text)

    def logged(self, name: str) -> None:
        """What the last command told of its progress is as before, each sentence once, in any order and width."""
        told = (line for line in self.stack.said.splitlines() if " INFO " in line)
        lines = {" ".join(masked(line, self.places).split()) for line in told}
        assert_golden(f"commands/{name}.txt", "\n".join(sorted(lines)))


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("commands")
    stack = Stack(folder / ".seldtune")
    stack.environment |= {"COLUMNS": "118", "NO_COLOR": "1", "TERM": "dumb"}
    if "PYTHONPATH" in os.environ:
        stack.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    commands = Commands(stack, folder)
    with pytest.MonkeyPatch.context() as patch, each_model_loaded_once():
        try:
            up = stack.start("up")
            out, err = up.communicate(timeout=400)
            assert up.returncode == 0, err
            commands.compare("up", out, as_json=False)
            for name in ("COLUMNS", "NO_COLOR", "TERM"):
                patch.setenv(name, stack.environment[name])
            patch.setenv("SELDTUNE_HOME", str(stack.home))
            for name, value in load_settings().environment().items():
                patch.setenv(name, value)
            patch.chdir(folder)
            (folder / "heard.yaml").write_text(HEARD)
            yield commands
        finally:
            ray.shutdown()
            down = stack.start("down")
            out, err = down.communicate(timeout=400)
        assert down.returncode == 0, err
        commands.compare("down", out, as_json=False)


@pytest.fixture(scope="module")
def data(commands: Commands) -> str:
    root = "s3://seldtune/data/heard"
    commands.say("data-synth-json", "data", "synth", "heard", *CLIPS, "--json")
    return root


@pytest.fixture(scope="module")
def tree(commands: Commands) -> Path:
    tree = commands.folder / "tree"
    commands.say("data-synth-tree", "data", "synth", *CLIPS, "--tree", str(tree))
    return tree


@pytest.fixture(scope="module")
def swept(commands: Commands, data: str) -> tuple[str, ...]:
    """A finished sweep, and the command that ran it."""
    command = ("sweep", "heard.yaml", "--data", data, *RESOURCES, "--stopper", "none", "--model", "heard")
    commands.say("sweep-json", *command, "--json")
    commands.logged("sweep-log")
    return command


def test_stack(commands: Commands) -> None:
    commands.say("up-json", "up", "--json")
    commands.say("status", "status")
    commands.say("status-json", "status", "--json")


def test_data(commands: Commands, data: str, tree: Path) -> None:
    commands.say("data-synth", "data", "synth", "heard", *CLIPS)
    commands.say("data-verify", "data", "verify", data)
    commands.say("data-verify-json", "data", "verify", data, "--json")
    commands.say("data-inspect", "data", "inspect", data, "--out", "picture.png")
    commands.say("data-inspect-json", "data", "inspect", data, "--no-picture", "--json")
    ingest = ("data", "ingest", str(tree), "--no-video", "--out", "s3://seldtune/data/taken")
    commands.say("data-ingest-json", *ingest, "--json")
    commands.say("data-ingest", *ingest)


def test_plan_and_sweep(commands: Commands, swept: tuple[str, ...], data: str) -> None:
    plan = ("plan", "heard.yaml", "--name", "new", "--data", data, "--cpus", "1", "--samples", "4", "--no-calibrate")
    commands.say("plan", *plan)
    commands.say("plan-json", *plan, "--json")
    commands.say("sweep", *swept)
    commands.say("status-sweep", "status", "heard")
    commands.say("status-sweep-json", "status", "heard", "--json")
    commands.say("compare", "compare", "heard", "--by", "depth", "--out", "report")
    commands.say("compare-json", "compare", "heard", "--by", "depth", "--out", "report", "--json")
    commands.say("submit-status", "submit", "--status", "heard", code=2)


def test_finals_and_registry(commands: Commands, swept: tuple[str, ...], data: str, tree: Path) -> None:
    finals = ("finals", "heard", "--best", "1", "--seeds", "2", "--data", data, *RESOURCES, "--model", "heard")
    commands.say("finals-json", *finals, "--json")
    commands.logged("finals-log")
    commands.say("finals", *finals)
    # Whether this checkout has changes is not what is looked at.
    (commands.folder / "rules.yaml").write_text("clean_commit: false\nbetter_than_silence: false\n")
    rules = ("--rules", "rules.yaml")
    commands.say("promote-refused", "promote", "heard", "--reason", "two seeds", *rules, code=3)
    (commands.folder / "rules.yaml").write_text("clean_commit: false\nbetter_than_silence: false\nseeds: 2\n")
    commands.say("promote-dry-run", "promote", "heard", *rules, "--dry-run")
    commands.say("promote-dry-run-json", "promote", "heard", *rules, "--dry-run", "--json")
    commands.say("promote", "promote", "heard", *rules, "--reason", "the first")
    commands.say(
        "promote-force-json", "promote", "heard", "--from", "1", *rules, "--force", "--reason", "why not", "--json"
    )
    commands.say("rollback", "rollback", "heard", "--reason", "worse")
    commands.say("history", "history", "heard")
    commands.say("history-json", "history", "heard", "--json")

    wav = next(tree.rglob("*.wav"))
    assert read_foa_wav(wav).shape[0] == 4
    truth = next(tree.rglob(f"{wav.stem}.csv"))
    predict = ("predict", str(wav), "--model", "models:/heard@champion", "--truth", str(truth), "--out", "predicted")
    commands.say("predict", *predict)
    commands.say("predict-json", *predict, "--json")
    samples, rate_hz = soundfile.read(wav, dtype="int16")
    soundfile.write(commands.folder / "soft.wav", samples // 32, rate_hz)
    commands.stack.run("predict", "soft.wav", "--model", "models:/heard@champion")
    said = r"soft\.wav is \d\d dB softer than what models:/heard@champion was trained on"
    assert re.search(said, " ".join(commands.stack.said.split()))


def test_published_systems(commands: Commands, data: str) -> None:
    command = ("table1", "--data", data, "--only", "audio_only", "--size", "small", *RESOURCES)
    small = ("--set", "training.epochs=1", "--set", "training.epoch_windows=8", "--set", "training.batch_size=4")
    commands.say("table1-json", *command, *small, "--json")
    commands.say("table1", *command, *small)


def test_weights(commands: Commands) -> None:
    torch.save(ResNetBackbone("basic", (2, 2, 2, 2), 64).state_dict(), "resnet18.pth")
    commands.say("weights-import", "weights", "import", "resnet18.pth", "--as", "resnet18")
    commands.say("weights-import-json", "weights", "import", "resnet18.pth", "--as", "resnet18", "--json")


# --- a sweep that commit f0a2365 began --------------------------------------------------------------------------------


def test_a_sweep_of_an_earlier_build_goes_on(commands: Commands) -> None:
    """Its driver was killed with one trial complete, and one after the second report and the third checkpoint."""
    root = "s3://seldtune/earlier"
    packed = commands.folder / "packed"
    with tarfile.open(GOLDEN / "sweep_before" / "sweep.tar.gz") as archive:
        archive.extractall(packed, filter="data")
    for folder, place in (("sweep", "sweeps/begun"), ("store", "data/begun")):
        for file in (packed / folder).rglob("*"):
            if file.is_file():
                storage.write_bytes(f"{root}/{place}/{file.relative_to(packed / folder)}", file.read_bytes())
    sweep = SweepStore(root, "begun")
    settings, (ended, interrupted) = sweep.settings(), sweep.trials()
    assert ended.state == COMPLETE
    assert [report["epoch"] for report in interrupted.reports] == [1, 2]

    space = str(GOLDEN / "sweep_before" / "begun.yaml")
    command = ("sweep", space, "--stopper", "none", "--cpus", "1", "--concurrency", "1", "--model", "begun", "--json")
    seen = json.loads(commands.stack.run("status", "begun", "--json", SELDTUNE_ROOT=root))
    assert (seen["state"], seen["counts"]["complete"]) == ("gone", 1)
    found = json.loads(commands.stack.run(*command, SELDTUNE_ROOT=root))

    assert "trial 1 continues after epoch 2" in commands.stack.said
    assert [row["state"] for row in found["trials"]] == ["complete"] * 3
    # From now on its early stopping is fair to something.
    assert sweep.settings() == {**settings, "by": "schedule"}
    first, second, third = sweep.trials()
    # It is told the id of its run in another MLflow, and nothing else.
    assert (first.config, first.reports, first.attempts) == (ended.config, ended.reports, ended.attempts)
    assert (second.config, second.reports[:2]) == (interrupted.config, interrupted.reports)
    assert [report["epoch"] for report in second.reports] == list(range(1, 9))
    assert [attempt.outcome for attempt in second.attempts] == ["interrupted", "ended"]
    assert (third.number, len(third.reports)) == (2, 8)
