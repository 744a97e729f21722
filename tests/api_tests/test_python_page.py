"""The blocks of docs/python.md as written, on one embedded stack, and the script of examples/ that is all Python."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import seldtune
from support.ray_nodes import bare_environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
FENCE = re.compile(r"^<!-- (?P<mark>.*?) -->\n```python\n(?P<code>.*?)^```$", re.M | re.S)
BLOCKS = [
    pytest.param(match["code"], id=f"line-{PAGE.count(chr(10), 0, match.start('code')) + 1}")
    for match in FENCE.finditer(PAGE)
    if match["mark"].startswith("runs: ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's, with the services running: where the blocks run, one after another."""
    folder = tmp_path_factory.mktemp("python")
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(bare_environment())
    if "PYTHONPATH" in before:  # the services run this checkout too
        os.environ["PYTHONPATH"] = before["PYTHONPATH"]
    os.environ["SELDTUNE_HOME"] = str(folder / ".seldtune")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            assert {one.state for one in seldtune.up().services} == {"running"}
            yield folder
        finally:
            ray.shutdown()
            assert seldtune.down(purge=True).deleted
            os.environ.clear()
            os.environ.update(before)


def test_every_function_and_every_registry_is_shown() -> None:
    untold = {"Comparison", "Conclusion", "Finals", "Judged", "Plan", "Pretrained", "RegisteredModel", "Store"}
    untold |= {"SceneOptions", "__version__"}
    assert PAGE.count("```python\n") == len(FENCE.findall(PAGE)), "each block says how it is run"
    assert not {name for name in seldtune.__all__ if not re.search(rf"\b{name}\b", PAGE)} - untold


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS)
def test_blocks_run_as_written(folder: Path, code: str) -> None:
    (folder / "block.py").write_text(code)
    runpy.run_path(str(folder / "block.py"))


@pytest.mark.slow
def test_what_the_blocks_write_is_there(folder: Path) -> None:
    assert (folder / "mini.png").is_file()
    assert (folder / "first-comparison" / "comparison.html").is_file()
    assert sorted(path.suffix for path in (folder / "heard").iterdir()) == [".csv", ".png"]


@pytest.mark.slow
def test_the_script_of_the_examples_runs(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "compare_fusions.py")],
        env={**os.environ, "SMALL": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "fusions-small-comparison" / "comparison.html").is_file()
    assert len(list((folder / "fusions-small-heard").iterdir())) == 2
