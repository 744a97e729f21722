"""What can be chosen by name: fusions, encoders, stoppers, spaces, readers of data sets, one `Registry` each.

Where a part is written it registers itself, so that a new one is one file:

    @FUSIONS.register
    @dataclass(frozen=True, kw_only=True)
    class Mean(Fusion):
        name: ClassVar[str] = "mean"

The files of a project's own parts are found by `import_all`, those from elsewhere by importing them first: see
`data.registry.plugins`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from data.errors import UserError
from data.registry.user_code import said

Part = TypeVar("Part")
Entry = TypeVar("Entry")


OWN = "a part of your own needs --plugin FILE"
"""What is said of a name that no registry holds."""


class Registry(Mapping[str, Part]):
    """Parts of one kind by their names; otherwise a plain read-only mapping.

    Args:
        kind: what the parts are, for messages: "fusion".
        contract: the class that every part is a subclass of, or an instance of; None: anything may be registered. Where
            it is a dataclass, subclasses have fields, each with a default.
        order: the names that come first, in this order. The others follow as they were registered.
    """

    def __init__(self, kind: str, contract: type | None = None, order: Sequence[str] = ()) -> None:
        self.kind = kind
        self.contract = contract
        self._order = {name: place for place, name in enumerate(order)}
        self._parts: dict[str, Part] = {}

    def register(self, part: Entry, name: str | None = None) -> Entry:
        """Add a part under its own `name`, or the one given, and return it: this is a decorator too.

        Raises:
            UserError: another part has that name, there is no name, or the part does not keep its kind's contract.
        """
        name = getattr(part, "name", None) if name is None else name
        if not isinstance(name, str) or not name:
            raise UserError(f"{_where(part)} has no name: a {self.kind} needs one, e.g. name: ClassVar[str] = 'mine'")
        self._check_contract(part)
        there = self._there(name)
        if there is not None and there is not part:
            raise UserError(
                f"two parts are {self.kind} {name!r}: {_where(there)} and {_where(part)}; give one another name"
            )
        if there is None:
            _REGISTERED.append(Registration(self, name, sys._getframe(1).f_globals["__name__"]))
        self._parts[name] = cast(Part, part)
        self._parts = dict(sorted(self._parts.items(), key=self._place))
        return part

    def forget(self, name: str) -> None:
        """Take a part out again."""
        del self._parts[name]

    def find(self, name: object, what: str) -> Part:
        """The part of that name.

        Args:
            what: who names it, for the message: "fusion.name".

        Raises:
            UserError: there is none, with those that there are.
        """
        if not isinstance(name, str) or name not in self._parts:
            raise UserError(f"{what} = {name!r} is not known; choose one of {', '.join(self._parts)}; {OWN}")
        return self._parts[name]

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(self._parts)}>"

    def _there(self, name: str) -> Part | None:
        """The part that has the name."""
        return self._parts.get(name)

    def _place(self, item: tuple[str, Any]) -> int:
        # Sorting is stable: names that are not in the order stay as they came.
        return self._order.get(item[0], len(self._order))

    def _check_contract(self, part: object) -> None:
        if self.contract is None:
            return
        if inspect.isclass(part):
            if not issubclass(part, self.contract):
                raise UserError(f"{_where(part)} is no {self.kind}: derive it from {_where(self.contract)}")
            if fault := _lacks(part, self.contract) or _fault_of_fields(part, self.contract):
                raise UserError(f"{_where(part)} is no whole {self.kind}: {fault}")
        elif not isinstance(part, self.contract):
            raise UserError(f"{_where(part)} is no {self.kind}: has to be a {_where(self.contract)}")


class Registration(NamedTuple):
    """That a part was added to a registry."""

    registry: Registry[Any]
    name: str
    module: str
    """In which `register` was called."""


_REGISTERED: list[Registration] = []
"""All of this process, in their order."""


def registered_in(package: str) -> set[tuple[str, str]]:
    """Kinds and names of what a module registered, or those of a package."""
    return {(one.registry.kind, one.name) for one in _REGISTERED if _lies_in(one.module, package)}


def forget(package: str) -> None:
    """Take out again what a module registered, which turned out to be broken."""
    for one in [one for one in _REGISTERED if _lies_in(one.module, package)]:
        one.registry.forget(one.name)
        _REGISTERED.remove(one)


def _lies_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def import_all(package: str) -> None:
    """Import every module of a package, in the order of their names, so that the parts in them register themselves."""
    path = importlib.import_module(package).__path__
    for module in sorted(pkgutil.iter_modules(path), key=lambda found: found.name):
        importlib.import_module(f"{package}.{module.name}")


def _lacks(part: type, contract: type) -> str | None:
    """What the contract asks for, as a method or by an annotation alone, and the class does not have."""
    asked = {name for base in contract.__mro__ for name in inspect.get_annotations(base)}
    lacking = {name for name in asked if not hasattr(part, name)} | getattr(part, "__abstractmethods__", frozenset())
    return f"it lacks {', '.join(sorted(lacking))}" if lacking else None


def _fault_of_fields(part: type, contract: type) -> str | None:
    """What is wrong with a class as a dataclass, where its contract is one."""
    if not dataclasses.is_dataclass(contract):
        return None
    try:
        hints = typing.get_type_hints(part)
    except Exception as error:
        return f"the types of its fields cannot be read ({said(error)})"
    fields = {field.name: field for field in dataclasses.fields(part)}
    for name in inspect.get_annotations(part):
        if name not in fields and not _is_of_class(hints[name]):
            return f"{name} is no field without @dataclass(frozen=True, kw_only=True) above the class"
    of_class = [name for name, hint in typing.get_type_hints(contract).items() if _is_of_class(hint)]
    for name, field in fields.items():
        if name in of_class:
            return f"{name} may be no field: write {name}: ClassVar[...]"
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            return f"its field {name} has no default"
    return None


def _is_of_class(hint: object) -> bool:
    return hint is ClassVar or typing.get_origin(hint) is ClassVar


def _where(part: object) -> str:
    own = part if inspect.isclass(part) or inspect.isroutine(part) else type(part)
    return f"{own.__module__}.{own.__qualname__}"
