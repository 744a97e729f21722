"""`TrialConfig` from and to dictionaries: nested (YAML, JSON), and flat "audio.conformer.heads" keys (Optuna, MLflow).

A registry part is written as its fields beside its `name`; everything left out keeps its default. Unknown names and
fields are refused with what could have been meant.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from data.classes import STARSS23, ClassList
from data.errors import UserError
from data.names import near
from data.registry.parts import Registry
from trainables.checks import LATER
from trainables.config import AUDIO_ENCODERS, FUSIONS, OPTIMISERS, OUTPUTS, SCHEDULES, VISUAL_ENCODERS, TrialConfig

REGISTRIES: dict[str, Registry[Any]] = {
    "audio": AUDIO_ENCODERS,
    "visual": VISUAL_ENCODERS,
    "fusion": FUSIONS,
    "output": OUTPUTS,
    "schedule": SCHEDULES,
    "optimiser": OPTIMISERS,
}


def to_dict(config: TrialConfig) -> dict[str, Any]:
    """Nested plain dictionary (lists, numbers, strings), with the `name` of each registry part; JSON can hold it.

    STARSS23's classes are not said: so were configs before there were others.
    """
    tree: dict[str, Any] = {}
    for part in _parts_said(config):
        value = getattr(config, part.name)
        entry = json.loads(json.dumps(dataclasses.asdict(value)))
        tree[part.name] = {"name": value.name, **entry} if part.name in REGISTRIES else entry
    return tree


def _parts_said(config: TrialConfig) -> list[dataclasses.Field[Any]]:
    return [part for part in dataclasses.fields(config) if part.name != "classes" or config.classes != STARSS23]


def parts_of(config: TrialConfig) -> set[tuple[str, str]]:
    """Kind and name of each of its parts that registries hold."""
    return {(registry.kind, getattr(config, part).name) for part, registry in REGISTRIES.items()}


def classes_of(tree: Mapping[str, Any]) -> ClassList:
    """The classes of a config that `to_dict` has made a dictionary of."""
    return _build(ClassList, tree["classes"], "classes") if "classes" in tree else STARSS23


def to_flat(config: TrialConfig) -> dict[str, Any]:
    """The same with dotted keys, as MLflow parameters want it."""
    return dict(leaves(to_dict(config)))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted fields below a mapping, each with its value; or the value itself, at `path`."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def from_dict(tree: Mapping[str, Any]) -> TrialConfig:
    """Build a config from a nested dictionary.

    Raises:
        UserError: an unknown part, name or field, a value of the wrong type, or a combination that cannot be.
    """
    known = {f.name for f in dataclasses.fields(TrialConfig)}
    _refuse_unknown("", tree, known)
    parts: dict[str, Any] = {}
    hints = typing.get_type_hints(TrialConfig)
    for part, entry in tree.items():
        if not isinstance(entry, Mapping):
            raise UserError(f"{part} = {entry!r}: has to be a mapping of fields")
        if part in REGISTRIES:
            default = TrialConfig.__dataclass_fields__[part].default_factory
            chosen = REGISTRIES[part].find(entry.get("name", getattr(default, "name", None)), f"{part}.name")
            parts[part] = _build(chosen, {k: v for k, v in entry.items() if k != "name"}, part)
        else:
            parts[part] = _build(hints[part], entry, part)
    return TrialConfig(**parts)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1, "a": {"c": 2}} -> {"a": {"b": 1, "c": 2}}.

    Raises:
        UserError: a key is both a value and a group, or is given twice.
    """
    tree: dict[str, Any] = {}
    for key, value in leaves(flat):
        *groups, leaf = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise UserError(f"{key}: {group!r} already holds a value, it cannot hold fields too")
        if leaf in node:
            raise UserError(f"{key} is given twice: as {node[leaf]!r} and as {value!r}")
        node[leaf] = value
    return tree


def override(config: TrialConfig, flat: Mapping[str, Any]) -> TrialConfig:
    """The config with some dotted fields replaced; replacing a part's `name` starts from that entry's defaults."""
    tree = to_dict(config)
    for part, changes in nested(flat).items():
        if not isinstance(changes, dict):
            raise UserError(f"{part} = {changes!r}: name a field, e.g. {part}.<field>=...")
        current = tree.get(part, {})
        if part in REGISTRIES and changes.get("name", current.get("name")) != current.get("name"):
            current = {}
        tree[part] = _merge(current, changes)
    return from_dict(tree)


def field_value(path: str, value: Any, entry: str | None = None) -> Any:
    """A value in the form in which a dotted field takes it: 1 as 1.0, a list as a tuple. Rules of its part are not
    checked, nor those between parts.

    Args:
        entry: the name that the field's part has, where the part is one of a registry.

    Raises:
        UserError: no such entry or field, or a value of the wrong type.
    """
    part, *names = path.split(".")
    hints = typing.get_type_hints(TrialConfig)
    _refuse_unknown("", {part: value}, {f.name for f in dataclasses.fields(TrialConfig)})
    hint = hints[part]
    if part in REGISTRIES:
        if names == ["name"]:
            entry = value
        hint = REGISTRIES[part].find(entry, f"{part}.name")
        if names == ["name"]:
            return value
    for depth, name in enumerate(names):
        above = ".".join([part, *names[:depth]])
        if not dataclasses.is_dataclass(hint):
            raise UserError(f"{path}: {above} is a value and has no fields")
        _refuse_unknown(above, {name: value}, {f.name for f in dataclasses.fields(hint)})
        hint = typing.get_type_hints(hint)[name]
    return _convert(hint, value, path)


def lasting(config: TrialConfig) -> dict[str, Any]:
    """`to_dict` without the fields that came later (`trainables.checks.later`) and are not used: as a version that did
    not know them would have said."""
    tree = to_dict(config)
    for part in _parts_said(config):
        value = getattr(config, part.name)
        for field in dataclasses.fields(value):
            if field.metadata.get(LATER) and getattr(value, field.name) == field.default:
                del tree[part.name][field.name]
    return tree


def fingerprint(config: TrialConfig) -> str:
    """Hash of what the config says, the same on every machine, and with every version that can compute it."""
    return hashlib.sha256(json.dumps(lasting(config), sort_keys=True).encode()).hexdigest()


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            # A mapping for a field that is a value is refused as one of the wrong type.
            value = _merge(below if isinstance(below, Mapping) else {}, value)
        merged[key] = value
    return merged


def _build(cls: type, entry: Mapping[str, Any], path: str) -> Any:
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    _refuse_unknown(path, entry, names)
    for field in dataclasses.fields(cls):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in entry:
            raise UserError(f"{path}.{field.name} is missing")
    return cls(**{key: _convert(hints[key], value, f"{path}.{key}") for key, value in entry.items()})


def _refuse_unknown(path: str, entry: Mapping[str, Any], known: set[str]) -> None:
    for key in entry:
        if key not in known:
            where = f"{path}.{key}" if path else key
            there = ", ".join(sorted(known)) or "none"
            raise UserError(f"{where} is not a field; {path or 'a trial'} has {there}{near(key, known)}")


def _convert(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _build(typing.cast(type, hint), value, path)
    origin = typing.get_origin(hint)
    if origin is tuple:
        first, *others = typing.get_args(hint)
        wanted = None if others == [...] else 1 + len(others)
        if not isinstance(value, list | tuple) or wanted not in (None, len(value)):
            kind, such = f"list of {wanted}" if wanted else "list", ", ".join("123"[: wanted or 2])
            raise UserError(f"{path} = {value!r}: has to be a {kind}, such as [{such}]")
        return tuple(_convert(first, item, path) for item in value)
    if origin is types.UnionType:
        return _convert_any(typing.get_args(hint), value, path)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:
            raise UserError(f"{path} = {value!r}: has to be a finite number")
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise UserError(f"{path} = {value!r}: has to be of type {expected}")


def _convert_any(hints: tuple[Any, ...], value: Any, path: str) -> Any:
    """The value as the first of a union's members takes it. UserError of the first one where none does."""
    refused: UserError | None = None
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        if hint is not type(None):
            try:
                return _convert(hint, value, path)
            except UserError as error:
                refused = refused or error
    assert refused is not None
    raise refused
