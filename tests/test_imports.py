"""The order of the packages, asserted by parsing imports: data <- trainables <- search_spaces <- infra."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("data", "trainables", "search_spaces", "infra")
FILES = [path for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]
MAY_USE_RAY = {"data/stream.py", "trainables/training/session.py", "trainables/training/worker.py"}


def imported(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_left_and_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    names = imported(path)
    to_the_right = set(ORDER[ORDER.index(package) + 1 :])
    assert not names & to_the_right
    if package != "infra":
        assert not names & {"mlflow", "optuna"}
        assert "ray" not in names or str(path.relative_to(ROOT)) in MAY_USE_RAY


WINGS = (
    "checks",
    "weights",
    "layers",
    "inputs",
    "scores",
    "parts",
    "config",
    "networks",
    "evaluation",
    "pyfunc_loader",
    "training",
)
"""Of trainables/: each imports only from itself and those before it."""


def modules_imported(tree: ast.AST) -> set[str]:
    """Dotted names of the modules that a file takes names from, but for those that types alone need."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "trainables").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "trainables"))
)
def test_the_wings_of_trainables_import_one_way(path: Path) -> None:
    own = path.relative_to(ROOT / "trainables").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    names = [name.split(".") for name in modules_imported(ast.parse(path.read_text()))]
    wings = {name[1] for name in names if name[0] == "trainables"}
    assert wings <= set(WINGS[: WINGS.index(own) + 1])


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20


LOOKS = ("infra.cli", "infra.status", "infra.overview", "infra.sweep_status", "infra.aliases")


@pytest.mark.parametrize("module", LOOKS)
def test_who_looks_and_promotes_waits_for_no_torch(module: str) -> None:
    """The help, `status`, `history`, `promote --dry-run` and `rollback` go by these."""
    code = f"import sys, {module}; print(sorted({{'torch', 'torchaudio', 'torchvision'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
