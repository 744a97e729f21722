"""Nothing that came from a registry, a checkpoint or a user is unpickled: what could run code is not called at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from pathlib import Path

import pytest
from test_imports import FILES, ROOT

UNPICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
MAY_UNPICKLE = {
    # Between this process and its own Ray tasks, which exchange pickles anyhow.
    "infra/cluster/join.py": {"dumps", "loads"},
    # The error of a trial, which Tune wrote below the folder of this process's Ray session.
    "infra/record/failures.py": {"loads"},
    # The name of an exception; its message replaces torch's, which advises to run the file's code.
    "trainables/weights/files.py": {"UnpicklingError"},
}
"""File -> what of `pickle` it uses."""
# A plugin is the user's own code, named for being run; that of a model runs with the code that the model ships.
MAY_CALL = {"data/registry/plugins.py": {"exec"}}


def dangers(tree: ast.Module, may: set[str], may_call: Set[str] = frozenset()) -> Iterator[str]:
    """What a module could run foreign code with, one line each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in UNPICKLES and not (may and alias.name == "pickle" and not alias.asname):
                    yield f"line {node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLES:
            yield f"line {node.lineno}: from {node.module} import"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle" and node.attr not in may:
            yield f"line {node.lineno}: pickle.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from _dangerous_call(node, may_call)


def _dangerous_call(call: ast.Call, may_call: Set[str]) -> Iterator[str]:
    name, given = ast.unparse(call.func), {keyword.arg: keyword.value for keyword in call.keywords}
    if name in {"torch.load", "torch.hub.load", "torch.jit.load"} and not _is(given.get("weights_only"), True):
        yield f"line {call.lineno}: {name} without weights_only=True"
    if "allow_pickle" in given and not _is(given["allow_pickle"], False):
        yield f"line {call.lineno}: {name} with allow_pickle"
    if name in {"eval", "exec", "yaml.unsafe_load", "yaml.full_load", "mlflow.pytorch.load_model"} - may_call:
        yield f"line {call.lineno}: {name}"
    if name.endswith("pyfunc.log_model") and "python_model" in given:
        yield f"line {call.lineno}: {name} pickles its python_model"


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_foreign_is_unpickled(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    assert not list(dangers(ast.parse(path.read_text()), MAY_UNPICKLE.get(name, set()), MAY_CALL.get(name, set())))


def test_exceptions_are_of_files_that_need_them() -> None:
    for name, may in MAY_UNPICKLE.items():
        text = (ROOT / name).read_text()
        assert all(f"pickle.{use}" in text for use in may), name


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import cloudpickle as safe",
        "from pickle import loads",
        "def f():\n    import joblib",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, map_location='cpu', weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "yaml.unsafe_load(text)",
        "exec(text)",
        "mlflow.pyfunc.log_model(name='m', python_model=Model())",
    ],
)
def test_dangers_are_seen(line: str) -> None:
    assert list(dangers(ast.parse(line), set()))


def test_only_what_is_granted_is_granted() -> None:
    granted = ast.parse("import pickle\npickle.dumps(1)\npickle.loads(b'')")
    assert list(dangers(granted, {"dumps"})) == ["line 3: pickle.loads"]
    assert not list(dangers(granted, {"dumps", "loads"}))
