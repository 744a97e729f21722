"""`import seldtune`: what it names, that it costs nothing, and how what a user says becomes a request."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import seldtune
from data.errors import UserError
from infra.api.asked import SweepOptions, sweep_request
from infra.api.datasets import SceneOptions, synthesise_tree
from infra.cli import app
from infra.commands.options import SweepOptions as CommandOptions
from infra.models.packing import KNOWN_NAMES, KNOWN_SUFFIXES
from infra.record.retries import Retries, parse_retries
from search_spaces.registry import find_space
from support.forgotten_plugins import forgotten_plugins

ROOT = Path(__file__).parents[2]
RENAMED = {"recipe paper": "recipe", "data synth": "synthesise", "weights import": "import_weights"}
OF_CLUSTERS_ALONE = {"submit", "render", "doctor"}
"""They hand the command line itself to a cluster."""


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    ).stdout


def test_it_imports_nothing_that_takes_time() -> None:
    code = """
import sys
before = set(sys.modules)
import seldtune
dir(seldtune)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    loaded = set(run(code).split())
    assert "seldtune" in loaded
    assert loaded - sys.stdlib_module_names == {"seldtune"}


def test_every_name_is_there_and_is_what_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "seldtune" / "__init__.py").read_text())
    (seen,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in seen.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == seldtune._GIVEN
    assert sorted(seldtune.__all__) == sorted([*told, "__version__"]) == sorted(dir(seldtune))
    assert 40 <= len(seldtune.__all__) <= 60
    for name, (home, given) in told.items():
        assert getattr(seldtune, name) is getattr(import_module(str(home)), given)
    assert seldtune.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="has no 'sweeep'"):
        seldtune.sweeep  # noqa: B018
    for package in ("data", "trainables", "search_spaces", "infra", "seldtune"):
        assert (ROOT / package / "py.typed").is_file()


def test_what_a_model_brings_of_the_code_is_of_a_kind_that_the_gate_knows() -> None:
    for package in ("data", "trainables"):
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        assert not [path for path in files if path.name not in KNOWN_NAMES and path.suffix not in KNOWN_SUFFIXES]


def commands() -> set[str]:
    names = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        names |= {f"{group.name} {one.name}" for one in group.typer_instance.registered_commands}
    return names


def test_every_command_has_its_function() -> None:
    for command in commands() - OF_CLUSTERS_ALONE:
        function = getattr(seldtune, RENAMED.get(command, command.rpartition(" ")[2]))
        assert inspect.getdoc(function), command


def test_a_sweep_takes_in_python_what_its_command_takes() -> None:
    options = {field for field in CommandOptions.__dataclass_fields__ if field != "space"}
    called = {"fixed": "fix", "plugins": "plugin"}
    assert {called.get(name, name) for name in SweepOptions.__annotations__} == options


def test_options_are_taken_as_numbers_or_as_the_command_line_has_them() -> None:
    said = sweep_request(
        "fusion",
        budget="15m",
        data_memory="2GB",
        retries="2,diverged=0",
        cpus=2,
        gpus=0.5,
        against="latency",
        warm_start=["a", "b"],
        fixed=["training.epochs=4"],
        name=None,
    )
    counted = sweep_request(
        find_space("fusion"),
        budget=900,
        data_memory=2 * 10**9,
        retries=parse_retries("2,diverged=0"),
        cpus=2,
        gpus=0.5,
        against=["latency"],
        warm_start=("a", "b"),
        fixed={"training.epochs": 4},
    )
    assert said == counted
    assert (said.budget_s, said.data_memory_bytes, said.cpus_per_worker, said.gpus_per_worker) == (900.0, 2e9, 2, 0.5)
    assert sweep_request("fusion").retries == Retries()
    assert sweep_request("fusion", retries=3).retries.together == 3


def test_what_cannot_be_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match=r"'budgett' is no option of a sweep \(did you mean budget"):
        sweep_request("fusion", budgett="1m")  # type: ignore[call-arg]
    with pytest.raises(UserError, match="'1y' is not a duration"):
        sweep_request("fusion", budget="1y")
    with pytest.raises(UserError, match="0 bytes hold nothing"):
        sweep_request("fusion", data_memory=0)
    with pytest.raises(TypeError, match="clips: no option of synthetic data"):
        synthesise_tree("nowhere", clips=3)  # type: ignore[call-arg]
    assert not Path("nowhere").exists()
    for name in ("../esc", "", "a/b", ".hidden", "é"):
        with pytest.raises(UserError, match=f"^data set '{name}': use letters, digits"):
            seldtune.synthesise(name)
    assert "train_clips" in SceneOptions.__annotations__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": "3"}, "trials = '3': has to be a whole number or None"),
        ({"budget": []}, r"budget_s = \[\]: has to be a number"),
        ({"gpus": "1"}, "gpus_per_worker = '1': has to be a number"),
        ({"data_memory": 1.5}, "1.5 bytes hold nothing"),
        ({"against": 3}, "3: has to be a text or a path, or a list of such"),
        ({"plugins": [3]}, r"\[3\]: has to be a text or a path, or a list of such"),
        ({"fixed": {3: 4}}, "3: a field's name has to be text"),
        ({"fixed": [3]}, r"\[3\]: has to be a text"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_taken(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep_request("quickstart", **options)


def test_what_python_alone_can_get_wrong_is_refused_before_anything_is_looked_for() -> None:
    for call, message in {
        lambda: seldtune.sweep("quickstart", model="a/b"): "--model 'a/b'",
        lambda: seldtune.sweep("quickstart", model="it's"): '--model "it\'s"',
        lambda: seldtune.finals("mine", model="a/b"): "--model 'a/b'",
        lambda: seldtune.plan("quickstart", samples=0): "samples = 0: has to be a whole number from 1 on",
        lambda: seldtune.inspect("nowhere", rows=-1): "rows = -1: has to be a whole number from 1 on",
        lambda: seldtune.open_store(5): "root = 5: has to be text or a path",
        lambda: sweep_request(5): "space = 5: has to be text or a path",
    }.items():
        with pytest.raises(UserError, match=message):
            call()


def test_paths_are_taken_where_text_is(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("name: mine\nbase: resnet-gru\nparameters: {optimiser.lr: {low: 1e-4, high: 3e-3}}\n")
    plugin = ROOT / "examples" / "parts.py"
    with forgotten_plugins():
        said = sweep_request(space, data=tmp_path, plugins=plugin, fixed="training.epochs=4")
        (loaded,) = said.plugins
    assert (said.space.name, said.data, loaded.name) == ("mine", str(tmp_path), "parts.py")
    assert said.fixed == {"training.epochs": 4}
    with pytest.raises(UserError, match="there is no"):
        seldtune.verify(tmp_path / "none")


def test_functions_find_the_services_as_commands_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SELDTUNE_ROOT", str(tmp_path / "root"))
    for call in (lambda: seldtune.sweep("quickstart"), lambda: seldtune.history("seld"), seldtune.load_model):
        with pytest.raises(seldtune.UserError, match="MLFLOW_TRACKING_URI"):
            call()
    with pytest.raises(seldtune.UserError, match="there is no sweep 'mine'"):
        seldtune.compare("mine")
    given = seldtune.Settings(root=str(tmp_path / "other"), mlflow_tracking_uri="http://127.0.0.1:9")
    with pytest.raises(seldtune.UserError, match=f"no sweep 'mine' in {tmp_path}/other"):
        seldtune.status("mine", settings=given)


def test_the_loggers_are_one_family() -> None:
    """So that one level, one handler, one filter of a user's is for all of the project."""
    others = ("ray", "ray.data", "ray.tune.tune")
    found = []
    for package in ("data", "trainables", "search_spaces", "infra", "seldtune"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger" and node.args:
                    name = ast.unparse(node.args[0])
                    if isinstance(node.args[0], ast.Name) and name != "__name__":
                        continue  # a loop over others' loggers
                    found.append(name)
                    assert name.strip("f'").startswith("seldtune") or name.strip("'") in others, f"{path}: {name}"
    assert found.count("f'seldtune.{__name__}'") > 30
