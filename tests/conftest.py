"""What test files of any folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.embedded_stack import Stack


LONGEST = (
    "test_nodes.py",
    "test_pages_on_the_stack.py",
    "test_sweep_trials.py",
    "test_interrupted_sweeps.py",
    "test_worker.py",
    "test_leak.py",
    "test_drills.py",
    "test_plugin_sweep.py",
    "test_rotation.py",
    "test_golden_commands.py",
    "test_recipe.py",
)
"""Files that take minutes begin first: one that began last would keep a process waiting for another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def no_cluster_of_yours() -> Iterator[None]:
    """Whoever runs the tests may have a Kubernetes cluster, which is none of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", os.devnull)
        yield


@pytest.fixture(scope="session")
def embedded_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all test files of a process that leave it as they found it; each enters `Stack.active`."""
    from support.embedded_stack import Stack

    stack = Stack(tmp_path_factory.mktemp("shared") / ".seldtune")
    try:
        stack.finish(stack.start("up"))
        yield stack
    finally:
        stack.finish(stack.start("down"))
