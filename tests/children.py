"""Processes that a test starts and kills."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def run_and_kill(script, *arguments, after_lines, pause_s=0.0):
    """Run a Python script, wait for so many lines of its output and then a while longer, and kill it (SIGKILL)."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert child.stdout is not None
    for _ in range(after_lines):
        child.stdout.readline()
    time.sleep(pause_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
