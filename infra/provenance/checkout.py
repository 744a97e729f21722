"""The checkout that this runs from: its commit, and what was changed since."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PACKAGES = ("data", "trainables", "search_spaces", "infra", "seldtune")
"""What of the checkout runs."""
LARGEST_DIFF = 500_000
"""Characters; what is longer is cut, and says so."""
PRIVATE_FILES = ("*.env", "*.env.*", "*.pem", "*.key", "*secret*", "*credential*", "*password*", "*token*")

_HERE = Path(__file__).parent


def source_version() -> dict[str, str]:
    """Commit of the checkout this runs from, and whether it was changed since.

    A file that git does not track is a change where it is code that could run: what commands wrote into the checkout,
    and spaces and scenes that users keep there, are none.

    Code that came here without its checkout has them in SELDTUNE_COMMIT, as `commit_text` wrote them; else nothing.
    """
    commit = _git(_HERE, "rev-parse", "HEAD").strip()
    changed = bool(commit and (_git(_HERE, "status", "--porcelain", "--untracked-files=no") or _new_code()))
    if not commit:
        commit, _, mark = os.environ.get("SELDTUNE_COMMIT", "").partition("+")
        changed = bool(mark)
    return {"git.commit": commit, "git.changed": str(changed)} if commit else {}


def _new_code() -> str:
    """Python files of the packages that git neither tracks nor ignores."""
    code = (f":(top,glob){package}/**/*.py" for package in PACKAGES)
    return _git(_HERE, "ls-files", "--others", "--exclude-standard", "--", *code)


def commit_text() -> str | None:
    """`source_version` as one word, for SELDTUNE_COMMIT: the commit, with `+changed` where it was changed since."""
    version = source_version()
    return version["git.commit"] + ("+changed" if version["git.changed"] == "True" else "") if version else None


def source_diff(folder: Path = _HERE) -> str:
    """What was changed since the commit in files that git tracks; empty where nothing was, or outside a checkout.

    Files that git does not track are never read, nor are tracked ones whose name says that they hold secrets.
    """
    private = [f":(top,exclude,icase,glob)**/{pattern}" for pattern in PRIVATE_FILES]
    diff = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--", ":/", *private)
    if len(diff) > LARGEST_DIFF:
        return diff[:LARGEST_DIFF] + f"\n[cut: the whole has {len(diff)} characters]\n"
    return diff


def _git(folder: Path, *arguments: str) -> str:
    """What git says to it; nothing where it fails or is not there."""
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode(errors="replace") if result.returncode == 0 else ""
