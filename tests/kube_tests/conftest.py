"""What the tests of manifests share."""

from __future__ import annotations

import pytest

from infra.kube.schemas import Schemas, schemas_from_folder
from support.kube_schemas import SCHEMAS


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return schemas_from_folder(str(SCHEMAS)) if SCHEMAS.is_dir() else {}
