"""What the tests of sweeps by the command line share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.embedded_stack import Stack
    from support.sweeps_on_the_stack import SweepStack


@pytest.fixture(scope="session")
def short_recordings(embedded_stack: Stack) -> None:
    """Two to train on, one to validate on and one to test on."""
    from support.sweeps_on_the_stack import CLIPS, DATA

    with embedded_stack.active():
        embedded_stack.run("data", "synth", DATA.rpartition("/")[2], *CLIPS)


@pytest.fixture(scope="module")
def stack(embedded_stack: Stack, short_recordings: None) -> Iterator[SweepStack]:
    from support.sweeps_on_the_stack import SweepStack

    with embedded_stack.active():
        yield SweepStack(embedded_stack)
