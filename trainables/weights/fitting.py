"""Where in a network pre-trained weights go, and whether they fit there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from data.errors import UserError

COUNTER = "num_batches_tracked"
"""End of keys of batch norms' counters, which say nothing of a network."""


@dataclass(frozen=True, kw_only=True)
class WeightsSlot:
    """A place in a model that takes pre-trained weights."""

    field: str
    """Dotted, of the config: where the weights are named."""
    uri: str | None
    """What the field says; None: the place keeps its random weights."""
    kinds: tuple[str, ...]
    """Names of `trainables.weights.kinds.KINDS` that belong there."""
    place: str
    """Dotted, of the model: `visual.backbone`; empty: all of it."""
    own: tuple[str, ...] = ()
    """Beginnings of our keys that no published file has."""
    loud: bool = False
    """Results without them say nothing about the encoder as published."""


def load_fitting(module: nn.Module, state: Mapping[str, Tensor], what: str, own: tuple[str, ...] = ()) -> None:
    """Load a state dict that has to fit `module` key by key, except for counters and for keys that begin as in `own`.

    Raises:
        UserError: naming `what` and the first keys that do not fit.
    """
    wrong = misfits(module, state, own)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{what} does not fit the configured network: {', '.join(wrong[:3])}{more}")
    module.load_state_dict(state, strict=False)


def take_fitting(module: nn.Module, state: Mapping[str, Tensor], what: str) -> list[str]:
    """Load those entries of another model that `module` has in the same shape, and return their keys.

    Raises:
        UserError: naming `what`, and the first keys that do not fit, where none does.
    """
    expected = module.state_dict()
    fitting = {key: value for key, value in state.items() if key in expected and value.shape == expected[key].shape}
    if all(key.endswith(COUNTER) for key in fitting):
        strange = ", ".join([f"{key} {tuple(value.shape)}" for key, value in state.items()][:3])
        raise UserError(f"{what} fits the configured network nowhere; it has {strange or 'no such part'}")
    module.load_state_dict(fitting, strict=False)
    return list(fitting)


def misfits(module: nn.Module, state: Mapping[str, Tensor], own: tuple[str, ...] = ()) -> list[str]:
    """The keys of either side that the other does not have in that shape, with the reason."""
    expected = module.state_dict()
    wrong = [
        f"{key} (missing)"
        for key in expected
        if key not in state and not key.endswith(COUNTER) and not key.startswith(own)
    ]
    wrong += [f"{key} (not in the model)" for key in state if key not in expected]
    wrong += [
        f"{key} (shape {tuple(value.shape)}, expected {tuple(expected[key].shape)})"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    return wrong
