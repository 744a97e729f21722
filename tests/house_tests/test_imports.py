"""The order of the house, asserted by parsing imports: which folder, and which package inside it, may use which."""

import ast
from pathlib import Path

import pytest

from support.packages import PACKAGES

ROOT = Path(__file__).parents[2]
ORDER = ("data", "trainables", "search_spaces", "infra", "seldtune")
"""A folder imports only from those to its left."""
MAY_USE_RAY = {"data/feeding/stream.py", "trainables/training/session.py", "trainables/training/worker.py"}
FILES = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in the file it does: `a.b` for `from a import b` too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(folder: str, name: str) -> str:
    """The entry of `PACKAGES` that a module or package right below a folder belongs to."""
    return "." if folder == "data" and not (ROOT / folder / name).is_dir() else name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_left_and_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    names = {name.split(".")[0] for name in imported(path)}
    to_the_right = set(ORDER[ORDER.index(folder) + 1 :])
    assert not names & to_the_right
    if folder != "infra":
        assert not names & {"mlflow", "optuna"}
        assert "ray" not in names or str(path.relative_to(ROOT)) in MAY_USE_RAY


@pytest.mark.parametrize("folder", [folder for folder in ORDER if PACKAGES[folder]])
def test_packages_use_what_the_table_says_and_nothing_else(folder: str) -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT / folder).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        own = part_of(folder, name)
        used = {part_of(folder, n.split(".")[1]) for n in imported(path) if n.startswith(f"{folder}.")}
        found.setdefault(own, set()).update(used - {own})
    assert found == PACKAGES[folder]


@pytest.mark.parametrize("folder", ORDER)
def test_the_table_of_packages_has_no_circle(folder: str) -> None:
    below: set[str] = set()
    for package, used in PACKAGES[folder].items():
        assert used <= below, f"{package} stands in the table above what it uses: {sorted(used - below)}"
        below.add(package)


def test_rooms_stay_small() -> None:
    crowded = {str(f.relative_to(ROOT)) for f in {path.parent for path in FILES} if len(list(f.glob("[!_]*.py"))) > 14}
    assert not crowded
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 350}
    assert not long


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20
