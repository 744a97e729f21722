"""Every registered optimiser steps, says what it keeps, and goes on from its state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from trainables.config import OPTIMISERS


def states(tree: Any) -> list[torch.Tensor]:
    """The tensors of an optimiser's state."""
    return [leaf for leaf in tree_leaves(tree.state_dict()) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_its_groups_have_its_rates_and_it_goes_on_from_its_state(name: str) -> None:
    weights = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 3))]
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
    assert kept == config.kept(weights=9, matrices=6)
    for some, steps in ((weights, optimiser), (again, continued)):
        steps.zero_grad(set_to_none=True)
        sum(w.square().sum() for w in some).backward()
        steps.step()
    assert all(torch.equal(w, a) for w, a in zip(weights, again, strict=True))
