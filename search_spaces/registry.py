"""The spaces by name, and those of a user's own by path.

A file of this package that defines spaces is found by its own name: `my_space.py` holds the space "my-space". It is
imported when the space is asked for, so that naming the spaces takes no time.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import search_spaces
from data.errors import UserError
from data.names import near
from data.registry.parts import Registry
from search_spaces.space import SearchSpace

_NO_SPACES = {"files", "preset_sizes", "presets", "presets_text", "registry", "space"}
"""Modules of this package that define none."""


class Spaces(Registry[SearchSpace]):
    """A registry that knows the names of this package's spaces before it has imported them."""

    def __init__(self) -> None:
        order = ("quickstart", "fusion", "schedule", "depth", "table1", "table1-small")
        super().__init__("search space", SearchSpace, order)
        names = (found.name for found in pkgutil.iter_modules(search_spaces.__path__) if found.name not in _NO_SPACES)
        self._modules = {name.replace("_", "-"): f"search_spaces.{name}" for name in names}

    def __getitem__(self, name: str) -> SearchSpace:
        if name not in self._parts and (space := self._there(name)) is not None:
            self.register(space)
        return super().__getitem__(name)

    def _there(self, name: str) -> SearchSpace | None:
        if name not in self._modules:
            return super()._there(name)
        found = vars(importlib.import_module(self._modules[name])).values()
        return next(space for space in found if isinstance(space, SearchSpace) and space.name == name)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys([*sorted(self._modules), *self._parts])
        return iter(sorted(names, key=lambda name: self._order.get(name, len(self._order))))

    def __len__(self) -> int:
        return len(self._modules.keys() | self._parts.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._parts


SPACES = Spaces()


def _from_python(path: str) -> SearchSpace:
    from search_spaces.files.user_space import python_space

    return python_space(path, known=SPACES.values())


def _from_yaml(path: str) -> SearchSpace:
    from search_spaces.files.yaml_space import yaml_space

    return yaml_space(path)


READERS: dict[str, Callable[[str], SearchSpace]] = {".py": _from_python, ".yaml": _from_yaml, ".yml": _from_yaml}
"""How a file becomes a space, by its ending."""


def space_name(name: str) -> str:
    """The own name of the space that `find_space` finds; one of this package's is not imported for that.

    Raises:
        UserError: see `find_space`.
    """
    return name if name in SPACES else find_space(name).name


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
