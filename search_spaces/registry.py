"""The spaces by name, and those of a user's own by path. A new one is one file and one entry here."""

from __future__ import annotations

from collections.abc import Callable

from data.errors import UserError
from data.near import near
from search_spaces.depth import DEPTH
from search_spaces.fusion import FUSION
from search_spaces.quickstart import QUICKSTART
from search_spaces.schedule import SCHEDULE
from search_spaces.space import SearchSpace
from search_spaces.table1 import TABLE1, TABLE1_SMALL
from search_spaces.user_space import python_space
from search_spaces.yaml_space import yaml_space

SPACES: dict[str, SearchSpace] = {
    space.name: space for space in (QUICKSTART, FUSION, SCHEDULE, DEPTH, TABLE1, TABLE1_SMALL)
}
READERS: dict[str, Callable[[str], SearchSpace]] = {
    ".py": lambda path: python_space(path, known=SPACES.values()),
    ".yaml": yaml_space,
    ".yml": yaml_space,
}
"""How a file becomes a space, by its ending."""


def find_space(name: str) -> SearchSpace:
    """A space by its name, or by the path of the file that says it.

    Raises:
        UserError: no such space, with those that there are; or the file does not say one, with what is wrong in it.
    """
    for ending, read in READERS.items():
        if name.endswith(ending):
            return read(name)
    if name not in SPACES:
        raise UserError(
            f"search space {name!r} is not known{near(name, SPACES)}; choose one of {', '.join(SPACES)}, or name a "
            "file: my_space.py or my_space.yaml"
        )
    return SPACES[name]
