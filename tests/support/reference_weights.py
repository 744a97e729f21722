"""The weights that the golden figures of reference models were computed with, from the names and shapes kept with them.

Entry i of the ordered state dict, element j: s = sin(0.37 (j + 1) + i). Running variances are 1 + 0.1 |s|, tensors of
two axes or more s over the root of what one output sees, other weights 1 + 0.1 s, the rest 0.1 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def reference_shapes(golden: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Names and shapes of a reference model's state dict, in its order."""
    sizes = golden[f"{prefix}shapes"].tolist()
    shapes = [tuple(size for size in row if size >= 0) for row in sizes]
    return dict(zip(golden[f"{prefix}names"].tolist(), shapes, strict=True))


def reference_weights(golden: Mapping[str, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """The state dict, but for counters and stored sinusoids, which keep their values."""
    state = {}
    for i, (key, shape) in enumerate(reference_shapes(golden, prefix).items()):
        if key.endswith((".pe", "num_batches_tracked")):
            continue
        s = torch.sin(0.37 * torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64) + i).reshape(shape).float()
        if key.endswith("running_var"):
            state[key] = 1 + 0.1 * s.abs()
        elif len(shape) > 1:
            state[key] = s / (s[0].numel() ** 0.5)
        elif key.endswith("weight"):
            state[key] = 1 + 0.1 * s
        else:
            state[key] = 0.1 * s
    return state
