"""Command lines out of the manifests of k8s/components, run on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import yaml

COMPONENTS = Path(__file__).parents[2] / "k8s" / "components"


def manifest(component: str, file: str, kind: str, name: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((COMPONENTS / component / file).read_text())
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, name))


def command_of(workload: dict[str, Any], containers: str = "containers") -> list[str]:
    (container,) = workload["spec"]["template"]["spec"][containers]
    program, *rest = container["command"]
    return [str(Path(sys.executable).parent / program), *rest, *container.get("args", [])]


def wait_until(condition: Any, log: Path, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"it did not come up:\n{log.read_text()[-3000:]}"
        time.sleep(0.3)
