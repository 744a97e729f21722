"""Which code ran: the checkout's commit, and what was changed since."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.provenance.checkout import commit_text, source_diff, source_version


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of four files, of which two look like secrets."""
    (tmp_path / "infra").mkdir()
    for name in ("code.py", "infra/code.py", ".env", "infra/my-Secret.txt"):
        (tmp_path / name).write_text("before\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init",), ("add", "."), (*identity, "commit", "-m", "all")):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)
    monkeypatch.setattr("infra.provenance.checkout._HERE", tmp_path / "infra")
    return tmp_path


def test_the_diff_is_of_tracked_files_that_hold_no_secrets(checkout: Path) -> None:
    assert source_diff(checkout) == ""
    for name in ("code.py", "infra/code.py", ".env", "infra/my-Secret.txt", "untracked.py"):
        (checkout / name).write_text(f"after in {name}\n")
    diff = source_diff(checkout / "infra")
    assert "+after in code.py" in diff
    assert "+after in infra/code.py" in diff
    assert not [name for name in (".env", "Secret", "untracked") if name in diff]
    (checkout / "code.py").write_text("x" * 1_000_000)
    assert len(source_diff(checkout)) < 501_000
    assert source_diff(Path("/")) == ""


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("code.py", True),
        ("infra/deep/new.py", True),
        ("quickstart-comparison/comparison.html", False),
        ("mine.py", False),
        ("infra/notes.txt", False),
    ],
)
def test_what_commands_and_users_leave_in_a_checkout_is_no_change_of_its_code(
    checkout: Path, name: str, changed: bool
) -> None:
    assert source_version()["git.changed"] == "False"
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("after\n")
    assert source_version()["git.changed"] == str(changed)


def test_code_without_its_checkout_keeps_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here, text = source_version(), commit_text()
    assert text is not None
    monkeypatch.setattr("infra.provenance.checkout._HERE", tmp_path)
    assert source_version() == {}
    assert commit_text() is None
    monkeypatch.setenv("SELDTUNE_COMMIT", text)
    assert source_version() == here
    monkeypatch.setenv("SELDTUNE_COMMIT", "abc+changed")
    assert source_version() == {"git.commit": "abc", "git.changed": "True"}
