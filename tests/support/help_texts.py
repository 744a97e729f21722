"""Prints the help of every command as JSON, in a process whose terminal is 100 wide and knows no colours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

import infra
from infra.cli import app

CHECKOUT = Path(infra.__file__).parents[1]
FOREIGN = ("SELDTUNE_", "TERMINAL_WIDTH", "GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS")
"""What typer's help depends on besides."""


def help_texts() -> dict[str, str]:
    """Words of each command -> what its `--help` says; nothing of this process's environment matters."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environment |= {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*words, name))


def _help(words: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="seldtune")
    assert done.exit_code == 0, done.output
    return done.output


if __name__ == "__main__":
    print(json.dumps({" ".join(words): _help(words) for words in _commands(typer.main.get_command(app))}))
