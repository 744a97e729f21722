"""Plugins: files and packages that register parts, what is refused of them, and what is known of them afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from data.errors import UserError
from data.registry import plugins
from data.registry.parts import Registry
from data.registry.plugins import load_plugins, loaded, options_for, read_plugin, require
from support.forgotten_plugins import forgotten_plugins

SOUNDS: Registry[type] = Registry("sound", object, order=("bell",))
FILE = "from data_tests_sounds import SOUNDS\n\n\n@SOUNDS.register\nclass Horn:\n    name = 'horn'\n"


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    """Plugins of a test are gone after it."""
    monkeypatch.setitem(sys.modules, "data_tests_sounds", sys.modules[__name__])
    with forgotten_plugins():
        yield
    assert not SOUNDS


def written(folder: Path, text: str = FILE, name: str = "horns.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_adds_its_parts_once(tmp_path):
    path = written(tmp_path)
    (plugin,) = load_plugins([path])
    assert plugin in loaded()
    assert plugin.parts == {("sound", "horn")}
    assert SOUNDS["horn"].__module__ == "seldtune_plugin_horns"
    assert load_plugins([path, path]) == (plugin, plugin)


def test_suggested_commands_name_the_files(tmp_path):
    assert options_for(["horns.py", "a-package"]) == " --plugin horns.py"
    folder = tmp_path / "my parts"
    folder.mkdir()
    path = written(folder)
    load_plugins([path])
    assert options_for(["horns.py", "other.py"]) == f" --plugin '{path}' --plugin other.py"
    assert options_for([]) == ""


def test_comments_and_layout_are_not_in_its_identity(tmp_path):
    first = read_plugin(written(tmp_path))
    same = read_plugin(written(tmp_path, "# A horn.\n" + FILE.replace("'", '"')))
    other = read_plugin(written(tmp_path, FILE + "    loud = True\n"))
    assert first.identity == same.identity != other.identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def :\n", r"plugin \S+horns\.py:1: SyntaxError"),
        ("\nimport no_such_module\n", r"plugin \S+horns\.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        (FILE + "\n\n1 / 0\n", r"plugin \S+horns\.py:9: ZeroDivisionError"),
        (FILE + "\n\nraise SystemExit(0)\n", r"plugin \S+horns\.py:9: SystemExit: 0"),
        (f"{FILE}\n\n@SOUNDS.register\nclass Other:\n    name = 'horn'\n", r"horns\.py:9: two parts are sound 'horn'"),
        ("x = 1\n", r"plugin '\S+horns\.py': it registers nothing: write e\.g\. @FUSIONS\.register"),
    ],
)
def test_a_broken_file_is_refused_with_its_line_and_leaves_nothing(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=message):
        load_plugins([path])
    assert not SOUNDS
    assert "seldtune_plugin_horns" not in sys.modules
    load_plugins([written(tmp_path)])


@pytest.mark.parametrize(
    ("path", "message"), [("gone.py", "there is no such file"), ("parts.yaml", "is no Python file: name a .py file")]
)
def test_what_is_no_python_file_is_refused(path, message):
    with pytest.raises(UserError, match=f"plugin '{path}'.*{message}"):
        load_plugins([path])


def test_two_files_of_one_name_are_refused(tmp_path):
    load_plugins([written(tmp_path)])
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", FILE.replace("horn", "drum"))
    with pytest.raises(UserError, match=r"plugin horns\.py \(\w+\) is another than the horns\.py \(\w+\) that this"):
        load_plugins([other])


def test_an_installed_package_is_loaded_without_being_named(tmp_path, monkeypatch):
    package = tmp_path / "of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "horns.py").write_text(FILE)
    facts = tmp_path / "of_a_test-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: of-a-test\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text("[seldtune.parts]\nhorns = of_a_test.horns\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins()
    (plugin,) = (one for one in loaded() if one.name == "of-a-test")
    assert (plugin.identity, plugin.source, plugin.parts) == ("1.2", None, {("sound", "horn")})


def test_the_name_of_a_space_that_nobody_has_asked_for_is_taken_too(tmp_path):
    text = """
from dataclasses import replace
from search_spaces.quickstart import QUICKSTART
from search_spaces.registry import SPACES

SPACES.register(replace(QUICKSTART, name="depth"))
"""
    with pytest.raises(UserError, match=r"horns\.py:6: two parts are search space 'depth'"):
        load_plugins([written(tmp_path, text)])
    load_plugins([written(tmp_path, text.replace('"depth"', '"deep"'))])
    from search_spaces.registry import find_space

    assert find_space("deep").name == "deep"


def test_what_needs_a_plugin_says_so_where_there_is_none():
    with pytest.raises(
        UserError, match=r"parts of plugin horns\.py are needed, which is not here: give --plugin PATH/hor"
    ):
        require({"name": "horns.py", "module": "seldtune_plugin_horns", "identity": "0" * 16})


def laid_out(plugin, folder, archive):
    """The plugin under its module's name, in a folder or an archive of its own; what Python's path has to have."""
    name = f"{plugin.module}.py"
    if archive:
        with zipfile.ZipFile(folder / "code.zip", "w") as packed:
            packed.writestr(name, plugin.source)
        return str(folder / "code.zip")
    (folder / "code").mkdir()
    (folder / "code" / name).write_text(plugin.source)
    return str(folder / "code")


@pytest.mark.parametrize("archive", [False, True])
def test_a_plugin_that_lies_on_the_path_is_taken_if_it_is_the_same(tmp_path, monkeypatch, archive):
    plugin = read_plugin(written(tmp_path))
    monkeypatch.syspath_prepend(laid_out(plugin, tmp_path, archive))
    require(plugins.describe(plugin))
    assert "horn" in SOUNDS
    with pytest.raises(UserError, match="is another than"):
        require({**plugins.describe(plugin), "identity": "0" * 16})


BUNDLES = """
import json, sys
from pathlib import Path
from data.registry.plugins import load_plugins
folder, plugin = sys.argv[1:]
from trainables.config.tree import from_dict, to_dict
from trainables.evaluation.bundle import load_bundle, save_bundle
from trainables.networks.model import SeldModel
from support.tiny_models import tiny_config
if plugin:
    load_plugins([plugin])
    config = from_dict({**to_dict(tiny_config("av_conformer")), "fusion": {"name": "gated", "hidden": 8}})
    save_bundle(folder, SeldModel(config), config, {})
else:
    print(type(load_bundle(folder).config.fusion).__module__)
"""


def test_a_bundle_names_the_plugin_that_it_was_built_with(tmp_path):
    def run(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[2]
        found = os.pathsep.join(filter(None, [str(root), str(root / "tests"), path]))
        return subprocess.run(
            [sys.executable, "-c", BUNDLES, *arguments],
            env={**os.environ, "PYTHONPATH": found},
            capture_output=True,
            text=True,
            check=False,
        )

    example = Path(__file__).parents[2] / "examples" / "parts.py"
    saved = run(str(tmp_path), str(example))
    assert saved.returncode == 0, saved.stderr
    (named,) = json.loads((tmp_path / "model.json").read_text())["plugins"]
    assert named == plugins.describe(read_plugin(str(example)))
    without = run(str(tmp_path), "")
    assert "parts of plugin parts.py are needed, which is not here: give --plugin PATH/parts.py" in without.stderr
    for archive in (False, True):
        there = run(str(tmp_path), "", path=laid_out(read_plugin(str(example)), tmp_path, archive))
        assert there.stdout.strip() == "seldtune_plugin_parts", there.stderr
