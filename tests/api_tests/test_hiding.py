"""Packages and modules of the same names that stand in front of ours, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACE = ("-c", "import seldtune\ntry:\n    seldtune.UserError\nexcept ImportError as error:\n    print(error)")
AS_EDITABLE = """
import sys
from importlib.util import spec_from_file_location

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("data", "infra", "search_spaces", "seldtune", "trainables"):
            folder = f"{sys.argv[1]}/{name}"
            return spec_from_file_location(name, f"{folder}/__init__.py", submodule_search_locations=[folder])

sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in str(one).lower()] + [Finder]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's own, with the console script as pip would write it."""
    home, _, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
        "seldtune"
    ].partition(":")
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "seldtune").write_text(f"import sys\nfrom {home} import {function}\nsys.exit({function}())\n")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    return theirs


def run(*arguments: str, folder: Path, in_path: bool = False) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*([str(folder)] if in_path else []), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def script(folder: Path) -> str:
    return str(folder.parent / "bin" / "seldtune")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("data", "data.py"),
        ("data", "data/__init__.py"),
        ("trainables", "trainables.py"),
        ("search_spaces", "search_spaces/__init__.py"),
        ("infra", "infra/__init__.py"),
    ],
)
def test_who_hides_whom_is_said_before_anything_starts(folder: Path, name: str, file: str) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("raise SystemExit('it was imported')\n")
    sentence = f"{folder / file} stands in front of seldtune's own {name!r}, which is {ROOT / name}: "
    for arguments, in_path in ((("-m", "seldtune", "status"), False), ((script(folder), "status"), True)):
        refused = run(*arguments, folder=folder, in_path=in_path)
        assert refused.stderr.startswith(f"error: {sentence}rename it, or keep {folder} off Python's path"), arguments
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    face = run(*FACE, folder=folder)
    assert face.stdout.startswith(sentence), face.stderr


def test_a_module_that_was_imported_already_hides_as_well(folder: Path) -> None:
    (folder / "data.py").write_text("")
    said = run("-c", f"import data, sys\nsys.path.remove('')\n{FACE[1]}", folder=folder)
    assert said.stdout.startswith(f"{folder / 'data.py'} stands in front"), said.stderr


def test_a_plain_folder_hides_only_what_is_installed_as_editable(folder: Path) -> None:
    """pip's finder for an editable install is asked last, so that Python finds the plain folder before it."""
    (folder / "data").mkdir()
    for arguments in (("-m", "seldtune", "--help"), (script(folder), "--help"), ("-m", "infra.cli", "--help")):
        helped = run(*arguments, folder=folder, in_path=True)
        assert (helped.returncode, "Hyperparameter search" in helped.stdout) == (0, True), helped.stderr
    assert run(*FACE, folder=folder).stdout == ""
    editable = subprocess.run(
        [sys.executable, "-c", AS_EDITABLE + FACE[1], str(ROOT)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert editable.stdout.startswith(f"{folder / 'data'} stands in front"), editable.stderr


def test_the_old_ways_in_go_on(folder: Path) -> None:
    assert "Hyperparameter search" in run("-m", "infra.cli", "--help", folder=folder).stdout
    assert "usage: python -m infra.kube.launch" in run("-m", "infra.kube.launch", folder=folder).stderr
