"""What the tests of data share."""

from __future__ import annotations

import pytest

from support.starss23_tree import Tree


@pytest.fixture
def tree(tmp_path):
    """Of STARSS23's layout, still empty."""
    return Tree(tmp_path / "starss")
