"""What parts of every kind have in common."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Self

from trainables.layers.conformer import ConformerConfig


@dataclass(frozen=True, kw_only=True)
class Part(ABC):
    """An entry of a registry: a frozen dataclass with keyword-only fields, each with a default and a sentence under it.

    Fields hold numbers, texts, truth values, None, tuples of these, or dataclasses of such fields: JSON has to be able
    to hold them. What a field may be is checked in `__post_init__` (`trainables.checks`), each message beginning with
    the field's dotted name.
    """

    name: ClassVar[str]
    """What a config calls it; other parts of the kind have other names."""

    def bare(self) -> tuple[Self, ConformerConfig | None]:
        """The part without its stack of Conformer layers, and the stack, for estimates: layers of one size are measured
        once. The stack works at the width of what the part hands on. None: there is no such stack."""
        return self, None
