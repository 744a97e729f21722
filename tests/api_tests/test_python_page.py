"""docs/python.md names all of the face, and the script of examples/ that is all Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import seldtune
from support.embedded_stack import Stack
from support.pages import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text()


def test_every_function_and_every_registry_is_shown() -> None:
    untold = {"Comparison", "Conclusion", "Finals", "Judged", "Plan", "Pretrained", "RegisteredModel", "Store"}
    untold |= {"SceneOptions", "__version__"}
    assert not {name for name in seldtune.__all__ if not re.search(rf"\b{name}\b", PAGE)} - untold


@pytest.mark.slow
def test_the_script_of_the_examples_runs(embedded_stack: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "compare_fusions.py")],
        env={**embedded_stack.environment, "SMALL": "1", "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "fusions-small-comparison" / "comparison.html").is_file()
    assert len(list((tmp_path / "fusions-small-heard").iterdir())) == 2
