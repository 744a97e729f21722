"""What is said of a part whose network cannot be built or run, or hands on something else than its contract says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from data.errors import UserError
from data.registry.user_code import file_of, place_of, said, where
from trainables.parts.contract import Part


class BrokenPart(UserError):
    """The message names the part, its class and file, what was got, and what is expected."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{kind} {name!r}: {reason}")
        self.part = kind, name
        """As registries know it."""


@dataclass(frozen=True)
class Suspect:
    """A part while its network is built and run."""

    kind: str
    part: Part

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Whatever is raised within is told as this part's, with the line of its file that it came through.

        Raises:
            BrokenPart: something was raised.
        """
        try:
            yield
        except BrokenPart:
            raise
        except Exception as error:
            place = where(file_of(type(self.part)), error)
            raise self._broken(f"{type(self.part).__name__} ({place}): {said(error)}") from error

    def gives(self, what: str, asked: Callable[[], Any], right: Callable[[Any], bool], rule: str) -> Any:
        """What the part itself says.

        Args:
            what: the name of what is asked, "depth".

        Raises:
            BrokenPart: something was raised, or the answer is not right.
        """
        with self.blamed():
            answer = asked()
            if not right(answer):
                raise self._broken(f"{what} of {place_of(self.part)} is {answer!r}, and has to be {rule}")
            return answer

    def width_out(self, module: object) -> int:
        """What a fusion's network says of its own width.

        Raises:
            BrokenPart: it says nothing, or what is no width.
        """
        width = getattr(module, "width_out", None)
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            got = "has no width_out" if width is None else f"has width_out = {width!r}"
            raise self._broken(f"{place_of(module)} {got}; set self.width_out to the width of what forward returns")
        return width

    def checked(
        self, run: Callable[..., Tensor], module: object, shape: tuple[int, int, int], width: str = "width"
    ) -> Callable[..., Tensor]:
        """What does the same as `run` of the network, and looks at what comes out.

        Args:
            shape: what has to come out, (B, T, `width`).

        Raises:
            BrokenPart: when it is called, and something else comes out.
        """

        def checked_run(*given: Tensor | None) -> Tensor:
            output = run(*given)
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            if got != shape:
                raise self._broken(f"{place_of(module)} gives {got}, and (B, T, {width}) = {shape} is expected")
            return output

        return checked_run

    def _broken(self, reason: str) -> BrokenPart:
        return BrokenPart(self.kind, self.part.name, reason)
