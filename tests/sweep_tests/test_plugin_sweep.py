"""A sweep with a plugin on the embedded stack: workers, the record, and the registered model have its parts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.files.audio import write_foa_wav
from data.registry.plugins import read_plugin
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE
from support.embedded_stack import Stack

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "parts.py"
ASKED = (
    *("gates.yaml", "--data", "s3://seldtune/data/gates", "--trials", "1", "--stopper", "patience"),
    *("--plugin", "patience.py"),
    *("--set", "training.epochs=2", "--set", "training.epoch_windows=32"),
)
SWEEP = ("sweep", *ASKED, "--model", "gated")
SPACE = """
name: gates
base:
  inputs: {n_fft: 1024, hop: 600, n_mels: 32, frame_width: 96, frame_height: 48, frame_rate_hz: 2.0}
  audio:
    name: cnn_conformer
    channels: [8, 16, 32]
    time_strides: [4, 1, 1]
    frequency_strides: [2, 2, 2]
    conformer: &small {layers: 1, heads: 4, feed_forward: 32, kernel: 7}
  visual: {name: resnet_conformer, block: basic, depths: [1, 1, 1, 1], width: 8, pool_columns: 3, conformer: *small}
  fusion: {name: gated, hidden: 16}
  training: {batch_size: 16}
  # What has hardly trained finds something, and is worth registering.
  inference: {threshold: 0.02}
parameters:
  optimiser.lr: {low: 1e-3, high: 3e-3, log: true}
budget: 10m
"""
FAULTS = """
from infra.stack.settings import load_settings
load_settings().export()
from infra.models.register import faults_of, find_version
print(faults_of(find_version("gated", "challenger")))
"""


class Commands:
    """The command line on the stack, each command in a process of its own: plugins stay where they were loaded."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self.environment = stack.environment | {"PYTHONPATH": str(CHECKOUT)}

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        return self.python("-m", "infra.cli", *arguments, code=code)

    def python(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def commands(embedded_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    commands = Commands(embedded_stack, tmp_path_factory.mktemp("plugins"))
    (commands.folder / "gates.yaml").write_text(SPACE)
    for name in ("parts.py", "patience.py"):
        shutil.copyfile(EXAMPLE.with_name(name), commands.folder / name)
    commands.run(
        "data", "synth", "gates", "--train-clips", "2", "--val-clips", "1", "--test-clips", "1", "--clip-s", "6"
    )
    return commands


def test_a_submitted_sweep_takes_its_plugin_along(commands: Commands) -> None:
    found = json.loads(commands.run("submit", *SWEEP[1:], "--name", "sent", "--plugin", "parts.py", "--json")[0])
    assert [job["state"] for job in found["jobs"]] == ["SUCCEEDED"], found


def test_a_fusion_that_cannot_run_is_refused_before_anything_is_written(commands: Commands) -> None:
    broken = EXAMPLE.read_text().replace("self.width_out = hidden", "self.width_out = hidden + 1")
    (commands.folder / "broken.py").write_text(broken)
    asked = (*ASKED, "--name", "ill-shaped", "--plugin", "broken.py")
    said = r"fusion 'gated': GatedFusion \(broken\.py\) gives \(16, 30, 16\), and \(B, T, width_out\) = \(16, 30, 17\)"
    plan = json.loads(commands.run("plan", *asked, "--json", code=2)[0])
    assert [check["name"] for check in plan["checks"] if check["state"] == "refused"] == ["models"]
    assert re.search(said, next(check["text"] for check in plan["checks"] if check["name"] == "models"))
    assert re.search(said, commands.run("sweep", *asked, code=2)[1])
    assert "there is no sweep 'ill-shaped'" in commands.run("status", "ill-shaped", code=2)[1]


def test_a_sweep_with_a_plugin_and_its_model(commands: Commands, embedded_stack: Stack) -> None:
    told = commands.run(*SWEEP, "--plugin", "parts.py")[0]
    with embedded_stack.active():
        (record,) = SweepStore("s3://seldtune", "gates").trials()
    assert (record.config["fusion"]["name"], len(record.reports), record.state) == ("gated", 2, COMPLETE)
    # Its suggestion runs as it is printed.
    assert "next     seldtune finals gates --model gated --plugin parts.py --plugin patience.py\n" in told

    # It goes on with this plugin alone.
    _, said = commands.run(*SWEEP, "--json", code=2)
    assert "fusion.name = 'gated' is not known" in said
    changed = EXAMPLE.read_text().replace("hidden: int = 64", "hidden: int = 32")
    (commands.folder / "parts.py").write_text(changed)
    _, said = commands.run(*SWEEP, "--plugin", "parts.py", code=2)
    was, _, now = said.partition("plugins: was ")[2].partition(", now ")
    before = f"'parts.py': '{read_plugin(str(EXAMPLE)).identity}'"
    assert before in was
    assert "'parts.py': '" in now
    assert before not in now
    _, said = commands.run("compare", "gates", code=2)
    assert re.search(r"was run with plugin (parts|patience)\.py", said)
    (commands.folder / "parts.py").unlink()

    # The model brings it.
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 24_000 * 3)).astype(np.float32)
    write_foa_wav(commands.folder / "noise.wav", noise)
    commands.run("predict", "noise.wav", "--model", "models:/gated@challenger")
    assert list(commands.folder.glob("noise*.csv"))
    assert commands.python("-c", FAULTS)[0].strip() == "[]"
