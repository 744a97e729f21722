"""Multi-ACCDDOA: multi-ACCDOA with distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainables.parts.outputs.contract import OUTPUTS
from trainables.parts.outputs.multi_accdoa import MultiAccdoa


@OUTPUTS.register
@dataclass(frozen=True, kw_only=True)
class MultiAccddoa(MultiAccdoa):
    """The same with a distance for each track (the baseline of DCASE 2024); the data has to hold distances."""

    name: ClassVar[str] = "multi_accddoa"
    axes: ClassVar[int] = 4
