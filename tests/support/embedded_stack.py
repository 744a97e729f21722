"""The embedded stack, and the command line on it: most commands run in this process, which imports and joins the
cluster once; what is to be killed runs in its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import ray

from infra.cli import main
from infra.stack.settings import load_settings
from support.ray_nodes import bare_environment

SELDTUNE = str(Path(sys.executable).parent / "seldtune")


class Stack:
    """S3, MLflow and Ray below one folder, and commands on them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said = self.printed = ""
        """What the last command in this process said on stderr and on stdout."""
        self.environment = bare_environment() | {"SELDTUNE_HOME": str(home)}
        if "PYTHONPATH" in os.environ:
            self.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SELDTUNE, *arguments],
            env=self.environment | environment,
            cwd=self.home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """Wait for what `start` started; what it said on stderr."""
        out, err = process.communicate(timeout=400)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return err

    @contextmanager
    def active(self) -> Iterator[Stack]:
        """This process's environment is that of the stack, and what it joined is left at the end."""
        patch = pytest.MonkeyPatch()
        patch.setenv("SELDTUNE_HOME", str(self.home))
        for name, value in load_settings().environment().items():
            patch.setenv(name, value)
        try:
            yield self
        finally:
            ray.shutdown()
            patch.undo()

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """The command in this process: what it says on stdout, or on stderr when it is to fail."""
        out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
        os.environ.update(environment)
        patch = pytest.MonkeyPatch()
        patch.setattr(sys, "argv", ["seldtune", *arguments])
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        finally:
            patch.undo()
            os.environ.clear()
            os.environ.update(before)
        said = f"{arguments}: exit code {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
        assert (ended.value.code or 0) == code, said
        self.said, self.printed = err.getvalue(), out.getvalue()
        return self.printed if code == 0 else self.said
