"""From what there is to see to one embedding for each label frame. `VISUAL_MODULES` maps config names to modules.

Constructors read no files: pre-trained weights come in through `trainables.weights.files`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.boxes import VECTOR_WIDTH, gaussian_vectors
from trainables.config import I3d, NoVisual, ObjectBoxes, ResNetAndI3d, ResNetConformer, TrialConfig
from trainables.layers.conformer import Conformer
from trainables.layers.i3d import I3dBackbone, i3d_embedding, upsample_time
from trainables.layers.resnet import ResNetBackbone

# Of ImageNet, for pixels in [0, 1]: what torchvision's weights were trained with.
_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)

Embedding = Tensor | tuple[Tensor, ...]
Seen = Tensor | tuple[Tensor, ...]
"""What an encoder reads: one column of a batch (`data.windows`), or one for each of its own encoders."""

# Windows, steps, width; pictures have two axes more.
_EMBEDDING_AXES = 3


class VisualEncoder(nn.Module):
    """What every visual encoder is: pictures to embeddings, which can be computed once and kept, and on from there."""

    def embed(self, seen: Any) -> Any:
        """Frames (B, V, H, W, 3) uint8, or boxes (B, V, 6, 5) -> (B, steps of its own, embedding width), or several.

        What has been embedded before, in that shape and any precision, stays as it is.
        """
        raise NotImplementedError

    def encode(self, embedding: Any, steps: int) -> Tensor:
        """Embeddings, spread evenly over the window -> (B, steps, width)."""
        raise NotImplementedError


class BackboneEncoder(VisualEncoder):
    """An encoder around a pre-trained network, which can stay as it was loaded."""

    backbone: nn.Module
    project: nn.Linear

    def __init__(self, backbone: nn.Module, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone = backbone.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> BackboneEncoder:
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


class ResNetConformerEncoder(BackboneEncoder):
    """A ResNet on each frame, pooled into columns of the panorama, projected, a Conformer over time (section 3)."""

    backbone: ResNetBackbone
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ResNetConformer, width: int) -> None:
        super().__init__(ResNetBackbone(config.block, config.depths, config.width), config.frozen)
        self.pool = nn.AdaptiveAvgPool2d((1, config.pool_columns))
        self.project = nn.Linear(self.backbone.width_out * config.pool_columns, width)
        self.conformer = Conformer(width, config.conformer)
        self.register_buffer("pixel_mean", 255.0 * torch.tensor(_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", 255.0 * torch.tensor(_PIXEL_STD).view(3, 1, 1), persistent=False)

    def look(self, frames: Tensor) -> Tensor:
        # A view with the channels moved forward is stored channels-last, in which a CPU convolves 1.7 times faster.
        pictures = frames.flatten(0, 1).movedim(-1, 1).to(self.project.weight.dtype)
        pooled = self.pool(self.backbone((pictures - self.pixel_mean) / self.pixel_std))
        # The columns of each channel lie side by side.
        return pooled.flatten(1).unflatten(0, frames.shape[:2])

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.conformer(resample_time(self.project(embedding), steps))


class I3dEncoder(BackboneEncoder):
    """I3D on the two halves of the panorama, projected (section 3)."""

    backbone: I3dBackbone

    def __init__(self, config: I3d, width: int) -> None:
        super().__init__(I3dBackbone(config.width), config.frozen)
        self.upsample = config.upsample
        self.project = nn.Linear(2 * self.backbone.width_out, width)

    def look(self, frames: Tensor) -> Tensor:
        return i3d_embedding(self.backbone, frames)

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return upsample_time(self.project(embedding), steps, self.upsample)


class ResNetAndI3dEncoder(VisualEncoder):
    """Both, side by side: (B, T, 2 * width)."""

    def __init__(self, config: ResNetAndI3d, width: int) -> None:
        super().__init__()
        self.resnet = ResNetConformerEncoder(config.resnet, width)
        self.i3d = I3dEncoder(config.i3d, width)

    def embed(self, seen: Seen) -> tuple[Tensor, Tensor]:
        resnet, i3d = seen if isinstance(seen, tuple) else (seen, seen)
        return self.resnet.embed(resnet), self.i3d.embed(i3d)

    def encode(self, embedding: tuple[Tensor, Tensor], steps: int) -> Tensor:
        return torch.cat((self.resnet.encode(embedding[0], steps), self.i3d.encode(embedding[1], steps)), dim=-1)


class ObjectBoxesEncoder(VisualEncoder):
    """Boxes as Gaussian-like vectors over azimuth and elevation (Shimada et al., 2023, section 5), projected."""

    def __init__(self, config: ObjectBoxes, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(VECTOR_WIDTH, width), nn.Linear(width, width))

    def embed(self, seen: Tensor) -> Tensor:
        vectors = torch.from_numpy(gaussian_vectors(seen.flatten(0, 1).cpu().numpy()))
        return vectors.to(seen.device).unflatten(0, seen.shape[:2])

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.project(resample_time(embedding, steps))


def resample_time(x: Tensor, steps: int) -> Tensor:
    """(B, V, D), row v at time v / V of the window -> (B, steps, D), linear between rows, constant after the last."""
    rows = x.shape[1]
    if rows == steps:
        return x
    position = torch.arange(steps, device=x.device) * (rows / steps)
    low = position.floor().long()
    share = (position - low).to(x.dtype)[:, None]
    return torch.lerp(x[:, low], x[:, (low + 1).clamp(max=rows - 1)], share)


VISUAL_MODULES: dict[str, Callable[[Any, int], VisualEncoder] | None] = {
    NoVisual.name: None,
    ResNetConformer.name: ResNetConformerEncoder,
    I3d.name: I3dEncoder,
    ResNetAndI3d.name: ResNetAndI3dEncoder,
    ObjectBoxes.name: ObjectBoxesEncoder,
}


def seen_in(batch: Mapping[str, Tensor], columns: Sequence[str]) -> Seen | None:
    """What of a batch an encoder that looks at these columns reads; nothing where the batch shows nothing."""
    found = tuple(batch[column] for column in columns if column in batch)
    if not found or len(found) < len(columns):
        return None
    return found if len(found) > 1 else found[0]


def build_visual_encoder(config: TrialConfig) -> VisualEncoder | None:
    """The visual encoder that `config.visual` names, projected to the audio encoder's width; nothing for `none`."""
    module = VISUAL_MODULES[config.visual.name]
    return None if module is None else module(config.visual, config.width)
