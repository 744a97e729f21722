"""From panorama frames to one visual embedding for each label frame. `VISUAL_MODULES` maps config names to modules.

Constructors read no files: pre-trained weights come in through `load_visual_weights`.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from data.errors import UserError
from trainables.config import NoVisual, ResNetConformer, TrialConfig
from trainables.conformer import Conformer

logger = logging.getLogger(__name__)

BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}

# Of ImageNet, for pixels in [0, 1]: what torchvision's weights were trained with.
_PIXEL_MEAN = (0.485, 0.456, 0.406)
_PIXEL_STD = (0.229, 0.224, 0.225)


class ResNetBackbone(nn.Module):
    """A ResNet without its classifier (He et al., 2016; torchvision's variant and parameter names).

    Normalised pictures (N, 3, H, W) -> (N, width_out, H / 32, W / 32), rounded up.
    """

    def __init__(self, block: str, depths: tuple[int, ...], width: int) -> None:
        super().__init__()
        block_class = BLOCKS[block]
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, depth in enumerate(depths):
            planes = width << stage
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                out = planes * block_class.expansion
                shortcut: nn.Module | None = None
                if stride != 1 or channels != out:
                    shortcut = nn.Sequential(
                        nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
                    )
                blocks.append(block_class(channels, planes, stride, shortcut))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.width_out = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(pictures))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class VisualEncoder(nn.Module):
    """What every visual encoder is: frames to embeddings, which can be computed once and kept, and on from there."""

    backbone: nn.Module
    embedding_width: int

    def embed(self, frames: Tensor) -> Tensor:
        """uint8 frames (B, V, H, W, 3) -> (B, V, embedding_width)."""
        raise NotImplementedError

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        """(B, V, embedding_width), spread evenly over the window -> (B, steps, width)."""
        raise NotImplementedError


class ResNetConformerEncoder(VisualEncoder):
    """A ResNet on each frame, pooled into columns of the panorama, projected, a Conformer over time (section 3)."""

    def __init__(self, config: ResNetConformer, width: int) -> None:
        super().__init__()
        self.frozen = config.frozen
        self.backbone = ResNetBackbone(config.block, config.depths, config.width).requires_grad_(not config.frozen)
        self.pool = nn.AdaptiveAvgPool2d((1, config.pool_columns))
        self.embedding_width = self.backbone.width_out * config.pool_columns
        self.project = nn.Linear(self.embedding_width, width)
        self.conformer = Conformer(width, config.conformer)
        self.register_buffer("pixel_mean", 255.0 * torch.tensor(_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", 255.0 * torch.tensor(_PIXEL_STD).view(3, 1, 1), persistent=False)

    backbone: ResNetBackbone
    pixel_mean: Tensor
    pixel_std: Tensor

    def train(self, mode: bool = True) -> ResNetConformerEncoder:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def embed(self, frames: Tensor) -> Tensor:
        # A view with the channels moved forward is stored channels-last, in which a CPU convolves 1.7 times faster.
        pictures = frames.flatten(0, 1).movedim(-1, 1).to(self.project.weight.dtype)
        pictures = (pictures - self.pixel_mean) / self.pixel_std
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = self.pool(self.backbone(pictures))
        # The columns of each channel lie side by side.
        return pooled.flatten(1).unflatten(0, frames.shape[:2])

    def encode(self, embedding: Tensor, steps: int) -> Tensor:
        return self.conformer(resample_time(self.project(embedding), steps))


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
}


def build_visual_encoder(config: TrialConfig) -> VisualEncoder | None:
    """The visual encoder that `config.visual` names, projected to the audio encoder's width; nothing for `none`."""
    module = VISUAL_MODULES[config.visual.name]
    return None if module is None else module(config.visual, config.width)


def load_visual_weights(model: nn.Module, config: TrialConfig) -> None:
    """Load the pre-trained weights that the config names, if it names any.

    Raises:
        UserError: see `load_resnet_weights`.
    """
    if isinstance(config.visual, ResNetConformer) and config.visual.weights is not None:
        load_resnet_weights(model, config.visual.weights)


def warn_random_weights(config: TrialConfig) -> None:
    """Where a model will see with random weights, say so: its results are not those of a pre-trained encoder."""
    if isinstance(config.visual, ResNetConformer) and config.visual.weights is None:
        logger.warning(
            "visual.weights is not set: %s starts from RANDOM weights, and its scores say nothing about a pre-trained "
            "encoder; name a torchvision state dict to change that",
            config.visual.name,
        )


def load_resnet_weights(model: nn.Module, uri: str) -> None:
    """Load a torchvision ResNet state dict (`.pth` or `.safetensors`) into the backbone of `model`'s visual encoder.

    The classifier is ignored. No code is unpickled.

    Raises:
        UserError: the file is missing, is neither format, or does not fit; the first keys that do not are named.
    """
    encoder = model.visual
    assert isinstance(encoder, VisualEncoder)
    backbone = encoder.backbone
    state = {key: value for key, value in _read_state(uri).items() if not key.startswith("fc.")}
    expected = backbone.state_dict()
    wrong = [f"{key} (missing)" for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    wrong += [f"{key} (not in the model)" for key in state if key not in expected]
    wrong += [
        f"{key} (shape {tuple(value.shape)}, expected {tuple(expected[key].shape)})"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"visual.weights = {uri!r} does not fit visual.block, visual.depths and visual.width: "
            f"{', '.join(wrong[:3])}{more}"
        )
    backbone.load_state_dict(state, strict=False)


def _read_state(uri: str) -> Mapping[str, Tensor]:
    if "://" in uri:
        from data import storage  # local paths need none of its dependencies

        content = storage.read_bytes(uri)
    else:
        try:
            content = Path(uri).read_bytes()
        except OSError as error:
            raise UserError(f"visual.weights = {uri!r} cannot be read: {error.strerror}") from error
    try:
        if uri.endswith(".safetensors"):
            from safetensors.torch import load

            state = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own errors for a foreign file
        raise UserError(
            f"visual.weights = {uri!r} is not a state dict in .pth or .safetensors form: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"visual.weights = {uri!r} holds no state dict (names and tensors)")
    return state
