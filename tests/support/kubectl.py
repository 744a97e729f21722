"""kubectl in tests: where it is, and which server it reaches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str | None) -> None:
    """Make kubectl reach this address, or none."""
    file = folder / "kubeconfig"
    config: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    if url is not None:
        config |= {
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "ann", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "ann", "namespace": "team"}}],
            "current-context": "here",
        }
    file.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(file))
