"""The forms that rows of DCASE's labels and predictions have had since 2020, and which it is, by their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError

Form = Literal["auto", "polar", "cartesian"]
FloatArray = NDArray[np.float64]

# The components of a vector of activity and direction hardly exceed 1 and never 10; angles in degrees mostly do.
_USUAL_COMPONENT, _LONGEST_COMPONENT = 2.0, 10.0
_SHORTEST, _LONGEST = 0.3, 1.5


@dataclass(frozen=True)
class Layout:
    """What the columns of a form are."""

    form: Literal["polar", "cartesian"]
    names: tuple[str, ...]

    @property
    def place(self) -> int:
        """The column where the direction begins; before it are whole numbers."""
        return self.names.index("azimuth" if self.form == "polar" else "x")

    @property
    def has_distance(self) -> bool:
        return "distance" in self.names

    def __str__(self) -> str:
        return f"{self.form} ({', '.join(self.names)})"


LAYOUTS = (
    Layout("polar", ("frame", "class", "azimuth", "elevation")),
    Layout("polar", ("frame", "class", "source", "azimuth", "elevation")),
    Layout("polar", ("frame", "class", "source", "azimuth", "elevation", "distance")),
    Layout("cartesian", ("frame", "class", "x", "y", "z")),
    Layout("cartesian", ("frame", "class", "source", "x", "y", "z")),
    Layout("cartesian", ("frame", "class", "source", "x", "y", "z", "distance")),
)


def choose_layout(values: FloatArray, form: Form, fallback: Form, example: str) -> Layout:
    """The layout of all rows with as many columns.

    Args:
        form: of the rows; `auto`: as their values show.
        fallback: the form where values would do for both.
        example: one of their files, for messages.

    Raises:
        UserError: no layout has so many columns, or neither values nor `fallback` tell which one it is.
    """
    columns = values.shape[1]
    fitting = {layout.form: layout for layout in LAYOUTS if len(layout.names) == columns}
    if not fitting or (form != "auto" and form not in fitting):
        known = ", ".join(str(layout) for layout in LAYOUTS if form in ("auto", layout.form))
        raise UserError(f"{example} has {columns} columns; known are {known}")
    if form == "auto" and len(fitting) == 1:
        return next(iter(fitting.values()))
    if form == "auto":
        form = _form_of(values, fitting["cartesian"].place)
    if form == "auto":
        form = fallback
    if form == "auto":
        raise UserError(
            f"{example} and the files beside it may be {fitting['polar']} or {fitting['cartesian']}: no value tells; "
            "say which, as form polar or cartesian"
        )
    return fitting[form]


def _form_of(values: FloatArray, place: int) -> Form:
    """Polar or Cartesian rows of 5 or 6 columns, or `auto` where the values would do for both."""
    vector = values[:, place : place + 3]
    if (np.abs(vector) > _LONGEST_COMPONENT).any():
        return "polar"
    # In a polar row, a source stands where 5 columns have x, and a distance where 6 columns have z.
    other = vector[:, 0] if values.shape[1] == 5 else vector[:, 2]
    if (other < 0).any() or (values.shape[1] == 5 and (other != np.rint(other)).any()):
        return "cartesian"
    length = np.linalg.norm(vector, axis=1)
    if not ((np.abs(vector) <= _USUAL_COMPONENT).all() and (length > 0).all()):
        return "polar"
    # What a vector's length is a system may leave to chance, but hardly to more than this: distances differ more.
    is_vector = ((length >= _SHORTEST) & (length <= _LONGEST)).all()
    decimals = (vector[:, :2] != np.rint(vector[:, :2])).any()
    return "cartesian" if values.shape[1] == 6 and decimals and is_vector else "auto"
