"""What every file of tests starts from."""

from __future__ import annotations

import pytest

from infra.settings import let_ray_read_again


@pytest.fixture(autouse=True, scope="module")
def own_ray() -> None:
    """Files have clusters of their own, and Ray keeps the token that it found first in this process."""
    let_ray_read_again(loopback=False)
