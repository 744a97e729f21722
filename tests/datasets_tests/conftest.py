"""What the tests of embeddings share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from data.stores.chunks import Store
from support.embedded_data import NETWORKS, embed, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two rows whose second has video for half of its time, a recording without any, a short one."""
    return make_store(
        tmp_path_factory.mktemp("store"),
        {"train": [("long", 63.0, 61.5), ("blind", 4.0, 0.0)], "val": [("short", 4.2, 4.2)]},
    )


@pytest.fixture(scope="module")
def made(store: Store) -> dict[str, dict[str, Any]]:
    return {encoder: embed(store, encoder) for encoder in NETWORKS}


@pytest.fixture
def own_threads() -> Iterator[None]:
    """Embedding changes how many threads this process has."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
