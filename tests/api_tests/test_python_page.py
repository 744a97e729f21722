"""docs/python.md names all of the face, and the script of examples/ that is all Python runs."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import seldtune
from infra.sweep import conclude
from support.embedded_stack import Stack
from support.pages import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text()


def test_every_function_and_every_registry_is_shown() -> None:
    untold = {"Comparison", "Conclusion", "Finals", "Judged", "Plan", "Pretrained", "RegisteredModel", "Store"}
    untold |= {"Decided", "SceneOptions", "__version__"}
    assert not {name for name in seldtune.__all__ if not re.search(rf"\b{name}\b", PAGE)} - untold


@pytest.mark.slow
def test_the_script_of_the_examples_runs(
    embedded_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMALL", "1")
    # What has hardly trained finds nothing that is there; it is registered here all the same.
    monkeypatch.setattr(conclude, "why_unfit", lambda record: None)
    with embedded_stack.active():
        runpy.run_path(str(REPOSITORY / "examples" / "compare_fusions.py"))
    assert (tmp_path / "fusions-small-comparison" / "comparison.html").is_file()
    assert len(list((tmp_path / "fusions-small-heard").iterdir())) == 2
