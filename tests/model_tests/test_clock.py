"""The clock sums forward passes, and only those."""

import time

import torch
from torch import nn

from trainables.training.clock import ForwardClock


class Slow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return x


def test_forward_passes_are_summed_and_nothing_else_is() -> None:
    model, x = Slow(), torch.zeros(1)
    started = time.perf_counter()
    with ForwardClock(model) as clock:
        assert clock.seconds == 0
        model(x)
        once = clock.seconds
        time.sleep(0.2)
        model(x)
    assert once >= 0.02
    assert 0.04 <= clock.seconds <= time.perf_counter() - started - 0.2
    total = clock.seconds
    model(x)
    assert clock.seconds == total
