"""An optimiser step of a `quickstart` model: ours by Muon against torch's own Muon beside AdamW, and AdamW alone.

All step the same weights with the same gradients, convolutions as matrices. Torch's Muon orthogonalises in bfloat16
whatever the processor has; the sides agree to what that leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from optuna.trial import FixedTrial
from torch import Tensor, nn

from infra.bench.measure import OURS, alternate, parser, result, show
from search_spaces.quickstart import QUICKSTART
from trainables.config import Muon
from trainables.networks.model import SeldModel

DECAY = 0.01
LARGEST_DIFFERENCE = 0.05
"""Of a step's size: bfloat16 has eight bits."""


def weights_of(fusion: str) -> list[nn.Parameter]:
    """Those of the space's first model with this fusion, each with a gradient; always the same."""
    torch.manual_seed(0)
    point = next(point for point in QUICKSTART.first if point["fusion"] == fusion)
    model = SeldModel(QUICKSTART.suggest(FixedTrial(point)))
    # Torch's Muon takes nothing but matrices.
    weights = [nn.Parameter(weight.detach().flatten(1) if weight.ndim > 2 else weight) for weight in model.parameters()]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    return weights


def sides(fusion: str) -> dict[str, tuple[list[nn.Parameter], Callable[[], object]]]:
    """Each side's weights and its step."""
    ours, torchs, plain = (weights_of(fusion) for _ in range(3))
    config = Muon(weight_decay=DECAY)
    rate, of_rest = config.rates
    muon = torch.optim.Muon(
        [w for w in torchs if w.ndim >= 2],
        lr=rate,
        momentum=config.momentum,
        weight_decay=DECAY,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = torch.optim.AdamW([w for w in torchs if w.ndim < 2], lr=of_rest, weight_decay=DECAY, fused=True)
    adamw = torch.optim.AdamW(plain, lr=of_rest, weight_decay=DECAY, fused=True)
    return {
        OURS: (ours, config.build(ours).step),
        "torch.optim.Muon": (torchs, lambda: (muon.step(), rest.step())),
        "AdamW alone": (plain, adamw.step),
    }


def check(fusion: str) -> float:
    """The largest difference of ours to torch's after a step, as a share of the step. AssertionError if too large."""
    before = weights_of(fusion)
    both = sides(fusion)
    for _, step in both.values():
        step()
    (ours, _), (torchs, _) = both[OURS], both["torch.optim.Muon"]

    def share(start: Tensor, one: Tensor, other: Tensor) -> float:
        return float((one - other).detach().norm() / (other - start).detach().norm())

    largest = max(share(*three) for three in zip(before, ours, torchs, strict=True))
    assert largest < LARGEST_DIFFERENCE, f"a step of ours is {largest:.3f} of a step away from torch's"
    return largest


def measure(fusion: str, repeats: int) -> dict[str, Any]:
    """The outcome for the model with this fusion."""
    difference = check(fusion)
    times = alternate({name: step for name, (_, step) in sides(fusion).items()}, repeats)
    matrices = sum(weight.ndim >= 2 for weight in weights_of(fusion))
    sizes = {"space": QUICKSTART.name, "fusion": fusion, "matrices": matrices}
    return result("muon", "step", times, sizes, largest_difference=difference)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=20)
    options.add_argument("--fusion", default="gru", help="of the model whose weights step (default %(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    show(measure(chosen.fusion, chosen.repeats), chosen.save)


if __name__ == "__main__":
    main()
