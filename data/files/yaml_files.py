"""YAML that users write, read in one way: no key twice, 1e-3 is a number, a date is text, and it is a plain tree.

What YAML 1.1 reads otherwise than it looks is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml

from data.errors import UserError

DEEPEST = 100
"""Mappings and lists inside each other; what aliases repeat counts where they stand."""
MOST = 100_000
"""Values that may be equally deep."""
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


def read_text(file: str | Path) -> str:
    """The text of a user's file.

    Raises:
        UserError: it cannot be read, or is no UTF-8. The message does not name the file.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"is no text in UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error


def parse_yaml(text: str, *, octal: bool = False) -> list[Any]:
    """The documents of a YAML text: mappings, lists, texts, numbers, true and false, and None.

    Args:
        octal: 0440 is 288, as whoever writes a file's mode means it, and not refused.

    Raises:
        UserError: it is no YAML, has a key twice or a value of another kind, or is deeper than `DEEPEST`. The message
            does not name the file.
    """
    try:
        documents = list(yaml.load_all(text, Loader=_OctalLoader if octal else _Loader))
    except UserError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).replace('"<unicode string>", ', "").split())
        raise UserError(f"is no YAML: {said}") from error
    except RecursionError as error:
        raise UserError(_too_deep()) from error
    _check_tree(documents)
    return documents


def read_yaml(file: str | Path) -> Any:
    """The one document of a file, None where it is empty. Raises UserError as `read_text` and `parse_yaml`."""
    documents = parse_yaml(read_text(file))
    if len(documents) > 1:
        raise UserError(f"holds {len(documents)} documents; has to hold one")
    return documents[0] if documents else None


def read_mapping(file: str | Path, of: str) -> dict[str, Any]:
    """The mapping of a file of settings.

    Args:
        of: what it maps and an example, for the message.

    Raises:
        UserError: as `read_yaml`, or it is something else than a mapping; with the file.
    """
    try:
        values = read_yaml(file)
        if not isinstance(values, dict):
            raise UserError(f"has to be a mapping of {of}")
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    return values


class _Loader(yaml.SafeLoader):
    """Plain values alone, and no key twice, of which YAML would silently keep the last."""

    octal = False

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` brings keys of other mappings, which a mapping's own go before.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise UserError(f"{key.value} is given twice, again in line {key.start_mark.line + 1}")
                seen.add((key.tag, key.value))
        return node

    def construct_truth(self, node: yaml.ScalarNode) -> bool:
        said = node.value.lower()
        if said not in ("true", "false"):  # YAML 1.1 reads yes, no, on and off so, which may be meant as words
            raise UserError(f"{node.value} in line {node.start_mark.line + 1}: write true or false, or use quotes")
        return bool(said == "true")

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        self._refuse_other_readings(node)
        value = self.construct_yaml_int(node)
        if value.bit_length() > 64:
            raise UserError(f"a number in line {node.start_mark.line + 1} has more than 64 bits")
        return value

    def construct_real(self, node: yaml.ScalarNode) -> float:
        self._refuse_other_readings(node)
        return float(self.construct_yaml_float(node))

    def _refuse_other_readings(self, node: yaml.ScalarNode) -> None:
        """What YAML 1.1 reads otherwise than it looks: 010 as eight, 12:00:00 as 43,200."""
        told = f"{node.value} in line {node.start_mark.line + 1}"
        if ":" in node.value:
            raise UserError(
                f"{told} would be read as a number to base 60; write a time like 90s, 15m or 12h, or use quotes"
            )
        if not self.octal and re.fullmatch(r"[-+]?0[0-7_]+", node.value):
            raise UserError(f"{told} would be read as an octal number; leave out the zeros in front, or use quotes")
        if "_" in node.value and not re.fullmatch(r"[-+]?\d{1,3}(_\d{3})+(\.\d*)?", node.value):
            raise UserError(f"{told} has underscores in other places than between thousands; leave them out")


_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_truth)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_real)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), "-+0123456789")


def _check_tree(documents: list[Any]) -> None:
    """Refuse what is no tree of a size to walk through: aliases may close a circle, or make a short text vast."""
    level: list[Any] = documents
    for _ in range(DEEPEST + 1):
        level = list(islice(chain.from_iterable(map(_below, level)), MOST + 1))
        if not level:
            return
        if len(level) > MOST:
            raise UserError(f"holds more than {MOST} values side by side")
    raise UserError(_too_deep())


def _below(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())


def _too_deep() -> str:
    return f"is nested more than {DEEPEST} deep, or holds itself"


class _OctalLoader(_Loader):
    """As YAML 1.1 has them."""

    octal = True
