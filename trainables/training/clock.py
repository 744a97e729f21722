"""How long a model's forward passes take."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn


class ForwardClock:
    """Sums the seconds of a model's forward passes while the block lasts; what a GPU still had to do is waited for."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._hooks = [
            self._model.register_forward_pre_hook(self._start),
            self._model.register_forward_hook(self._stop),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _start(self, *_: Any) -> None:
        self._started = _now()

    def _stop(self, *_: Any) -> None:
        self.seconds += _now() - self._started


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
