"""KubeRay's strict schemas, where they lie beside the project: their one test says so when they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SCHEMAS = Path(os.environ.get("SELDTUNE_KUBE_SCHEMAS", Path(__file__).parents[3] / "shared" / "kube-schemas"))


needs_schemas = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"KubeRay's strict schemas are not in {SCHEMAS}")
