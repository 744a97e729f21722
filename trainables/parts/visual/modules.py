"""What the networks of visual encoders have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Embedding = Tensor | tuple[Tensor, ...]
Seen = Tensor | tuple[Tensor, ...]
"""What an encoder reads: one column of a batch (`data.feeding.windows`), or one for each of its own encoders."""

# Windows, steps, width; pictures have two axes more.
_EMBEDDING_AXES = 3


class VisualModule(nn.Module):
    """The network of a visual encoder: pictures to embeddings, which can be kept, and on from there."""

    def embed(self, seen: Any) -> Any:
        """Pictures (B, V, H, W, 3) uint8, or boxes (B, V, 6, 5) -> (B, steps of its own, embedding width), or several.

        What has been embedded before, in that shape and any precision, stays as it is.
        """
        raise NotImplementedError

    def encode(self, embedding: Any, steps: int) -> Tensor:
        """Embeddings, spread evenly over the window -> (B, steps, width)."""
        raise NotImplementedError


class BackboneModule(VisualModule):
    """One around a pre-trained network, which can stay as it was loaded."""

    backbone: nn.Module
    project: nn.Linear

    def __init__(self, backbone: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone = backbone.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> BackboneModule:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def embed(self, seen: Tensor) -> Tensor:
        if seen.ndim == _EMBEDDING_AXES:
            return seen.to(self.project.weight.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.look(seen)

    def look(self, frames: Tensor) -> Tensor:
        """`embed`, through the backbone."""
        raise NotImplementedError


def seen_in(batch: Mapping[str, Tensor], columns: Sequence[str]) -> Seen | None:
    """What of a batch an encoder that looks at these columns reads; None where the batch shows nothing."""
    found = tuple(batch[column] for column in columns if column in batch)
    if not found or len(found) < len(columns):
        return None
    return found if len(found) > 1 else found[0]


def resample_time(x: Tensor, steps: int) -> Tensor:
    """(B, V, D), row v at time v / V of the window -> (B, steps, D), linear between rows, constant after the last."""
    rows = x.shape[1]
    if rows == steps:
        return x
    position = torch.arange(steps, device=x.device) * (rows / steps)
    low = position.floor().long()
    share = (position - low).to(x.dtype)[:, None]
    return torch.lerp(x[:, low], x[:, (low + 1).clamp(max=rows - 1)], share)
