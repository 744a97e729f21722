"""Commands that only look something up or move a name do not wait for torch to be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import infra
from support.golden_texts import GOLDEN
from support.registered_before import register

pytestmark = pytest.mark.slow  # some load a model in one more process

CHECKOUT = Path(infra.__file__).parents[1]
# In this order: the model is promoted twice before the alias goes back.
COMMANDS = (
    ("--help",),
    ("sweep", "--help"),
    ("status",),
    ("status", "begun"),
    ("promote", "seld", "--rules", "rules.yaml", "--dry-run"),
    ("promote", "seld", "--rules", "rules.yaml", "--reason", "the best"),
    ("history", "seld"),
    ("promote", "seld", "--from", "2", "--force", "--reason", "another"),
    ("rollback", "seld", "--reason", "not so good"),
)
LOOKS = f"""
import sys
from infra.cli import main
for command in {COMMANDS}:
    sys.argv = ["seldtune", *command]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
    assert "torch" not in sys.modules, f"torch was imported by {{command}}"
"""


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Mapping[str, str]]:
    """A folder with rules of the gate, and what leads to a registered model and a sweep."""
    import tarfile

    folder = tmp_path
    # What it was trained for in two epochs is hardly better than silence.
    (folder / "rules.yaml").write_text("better_than_silence: false\n")
    environment = register(folder)
    with tarfile.open(GOLDEN / "sweep_before" / "sweep.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    sweeps = Path(environment["SELDTUNE_ROOT"]) / "sweeps"
    sweeps.mkdir(parents=True)
    (folder / "sweep").rename(sweeps / "begun")
    return folder, environment


def test_no_torch(place: tuple[Path, Mapping[str, str]]) -> None:
    folder, variables = place
    environment = {**os.environ, **variables, "PYTHONPATH": str(CHECKOUT)}
    looked = [sys.executable, "-c", LOOKS]
    done = subprocess.run(looked, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
