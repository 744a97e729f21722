"""Every registered optimiser steps, says what it keeps, and goes on from its state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from trainables.config import OPTIMISERS, Muon


def states(tree: Any) -> list[torch.Tensor]:
    """The tensors of an optimiser's state."""
    return [leaf for leaf in tree_leaves(tree.state_dict()) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_its_groups_have_its_rates_and_it_goes_on_from_its_state(name: str) -> None:
    weights = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 1, 2, 2))]
    config = OPTIMISERS[name](lr=0.25)
    optimiser = config.build(weights)
    assert config.rates[0] == 0.25
    assert [group["lr"] for group in optimiser.param_groups] == list(config.rates)
    sum((1.5 * w).square().sum() for w in weights).backward()
    optimiser.step()
    assert all(not torch.equal(w, torch.ones_like(w)) for w in weights)
    again = [nn.Parameter(w.detach().clone()) for w in weights]
    continued = config.build(again)
    continued.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    kept = sum(v.numel() for v in states(optimiser) if v.numel() > 1)
    assert kept == config.kept(weights=17, matrices=14)
    for some, steps in ((weights, optimiser), (again, continued)):
        steps.zero_grad(set_to_none=True)
        sum(w.square().sum() for w in some).backward()
        steps.step()
    assert all(torch.equal(w, a) for w, a in zip(weights, again, strict=True))


def test_muon_steps_as_torchs_own_does() -> None:
    """Torch's orthogonalises in bfloat16: a step is the same to a hundredth of its size."""
    torch.manual_seed(0)
    # Two of one shape, a wide one, a tall one, a convolution as wide.
    start = [torch.randn(shape) for shape in ((6, 6), (6, 6), (4, 9), (9, 4), (4, 1, 3, 3))]
    config = Muon(lr=0.1, momentum=0.9, weight_decay=0.1)
    ours = [nn.Parameter(weight.clone()) for weight in start]
    theirs = [nn.Parameter(weight.flatten(1).clone()) for weight in start]  # which takes nothing but matrices
    reference = torch.optim.Muon(theirs, 0.1, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for weights, optimiser in ((ours, config.build(ours)), (theirs, reference)):
        for step in range(3):
            for number, weight in enumerate(weights):
                drawn = torch.Generator().manual_seed(10 * step + number)
                weight.grad = torch.randn(weight.shape, generator=drawn)
            optimiser.step()
    for before, our, their in zip(start, ours, theirs, strict=True):
        before, our = before.flatten(1), our.flatten(1)
        assert (our - their).norm() < 0.02 * (their - before).norm()
        assert (our - their).norm() < 0.05
