"""What every change must pass: the script itself, with a `make` in its way that only writes down what it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def test_an_installation_says_that_it_takes_minutes_and_what_comes_next(tmp_path: Path) -> None:
    """With a Python in place that only writes down what it is asked."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "python $@"\n')
    python.chmod(0o755)
    command = ["make", "--silent", "install", f"VENV={tmp_path}/venv"]
    first, *_, pip, last = subprocess.check_output(command, cwd=REPOSITORY, text=True).splitlines()
    assert first == f"Installing into {tmp_path}/venv, which takes some minutes ..."
    assert pip.startswith("python -m pip install")
    assert last == f"Installed. Next: make sweep, or: source {tmp_path}/venv/bin/activate && seldtune --help"


@pytest.mark.parametrize(
    ("fails", "asked", "code"), [("nothing", ["lint", "test"], 0), ("lint", ["lint"], 2), ("test", ["lint", "test"], 2)]
)
def test_style_and_types_come_before_the_tests(tmp_path: Path, fails: str, asked: list[str], code: int) -> None:
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "$@" "$PWD"\n[ "$1" != {fails} ] || exit 2\n')
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run([REPOSITORY / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == [f"{target} {REPOSITORY}" for target in asked]
    assert ended.returncode == code
