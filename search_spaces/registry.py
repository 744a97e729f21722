"""The spaces by name. A new one is one file and one entry here."""

from __future__ import annotations

from data.errors import UserError
from search_spaces.fusion import FUSION
from search_spaces.quickstart import QUICKSTART
from search_spaces.space import SearchSpace

SPACES: dict[str, SearchSpace] = {space.name: space for space in (QUICKSTART, FUSION)}


def find_space(name: str) -> SearchSpace:
    """A space by its name.

    Raises:
        UserError: no such space; the message lists those that are.
    """
    if name not in SPACES:
        raise UserError(f"search space {name!r} is not known; choose one of {', '.join(SPACES)}")
    return SPACES[name]
