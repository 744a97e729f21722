"""The manifests in k8s/, as each overlay comes to them."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from infra.kube.documents import read_documents

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("dev", "gpu", "kueue")


@lru_cache
def built(overlay: str) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to build overlays with; files are checked one by one")
    result = subprocess.run(
        ["kubectl", "kustomize", str(K8S / "overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return read_documents(result.stdout, overlay)
