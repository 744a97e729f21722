"""Processes that a test starts and kills."""

import os
import signal
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TESTED = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}"
"""PYTHONPATH of a child that runs this checkout and imports `support`."""


def run_and_kill(script, *arguments, after_lines):
    """Run a Python script, wait for so many lines of its output, and kill it (SIGKILL)."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": TESTED},
    )
    assert child.stdout is not None
    for _ in range(after_lines):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
