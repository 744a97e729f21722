"""The network of a trial, built from its config alone: no files, no devices, no training in here.

Letters of shapes: B windows, T label frames, M mel bands, V pictures, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.inputs.features import NUM_FEATURE_CHANNELS, at_level
from trainables.parts.controls import CLOSED
from trainables.parts.head import Head
from trainables.parts.visual.modules import Embedding, Seen


class SeldModel(nn.Module):
    """Features and pictures of a window to ACCDOA ("Fusion of audio and visual embeddings for SELD", figure 1).

    Args:
        feature_mean, feature_std: (7, 1, M), taken off and divided by first; kept as buffers, so that a saved model
            knows its own normalisation. Nothing: features are used as they are.
    """

    def __init__(
        self, config: TrialConfig, feature_mean: Tensor | None = None, feature_std: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config = config
        shape = (NUM_FEATURE_CHANNELS, 1, config.inputs.n_mels)
        for name, value, default in (("feature_mean", feature_mean, 0.0), ("feature_std", feature_std, 1.0)):
            buffer = torch.full(shape, default) if value is None else value.detach().clone().float()
            assert buffer.shape == shape, f"{name} has shape {tuple(buffer.shape)}, expected {shape}"
            self.register_buffer(name, buffer)
        self.audio = config.audio.build(config.inputs.n_mels)
        self.visual = config.visual.build(config.width)
        # They bring two modalities to one scale; a model with a single one needs none.
        both = config.hears and config.sees
        self.norm_audio = nn.LayerNorm(config.width) if both else nn.Identity()
        self.norm_visual = nn.LayerNorm(config.visual_width) if both else nn.Identity()
        gated = both and config.fusion.visual_gate
        self.visual_gate = nn.Parameter(torch.zeros(())) if gated else None
        if closed := config.fusion.closed:
            # Weights without a gradient would keep workers waiting for it.
            for name in (CLOSED[closed], f"norm_{CLOSED[closed]}", f"{CLOSED[closed]}_gate"):
                if (shut := getattr(self, name, None)) is not None:
                    shut.requires_grad_(False)
        self.fusion = config.fusion.build(*config.fused_widths)
        self.head = Head(self.fusion.width_out, config.head, config.output, len(config.classes))

    feature_mean: Tensor
    feature_std: Tensor

    def forward(self, features: Tensor, seen: Seen | None = None, has_video: Tensor | None = None) -> Tensor:
        """One window or more.

        Args:
            features: float (B, 7, T * F, M), F feature frames per label frame.
            seen: what the visual encoder reads, evenly over the window: pictures, uint8 (B, V, H, W, 3), or boxes,
                float (B, V, 6, 5), or embeddings as a store keeps them (`VisualModule.embed`). Nothing: the model
                cannot see.
            has_video: bool (B,); the visual embedding of other windows is zero. Nothing: all have.

        Returns:
            float32 (B, T, output width): tracks x axes x classes.
        """
        with self._precision(features.device):
            eyes = None if self.config.fusion.closed == "eyes" else self.visual
            embedding = None if eyes is None or seen is None else eyes.embed(seen)
        return self.forward_embedded(features, embedding, has_video)

    def forward_embedded(
        self, features: Tensor, embedding: Embedding | None = None, has_video: Tensor | None = None
    ) -> Tensor:
        """The same from embeddings computed before with `visual.embed`."""
        steps = features.shape[2] // self.config.inputs.features_per_label
        with self._precision(features.device):
            audio = self._audio(features, steps)
            visual = self._visual(embedding, has_video, (len(features), steps), features)
            return self.head(self.fusion(audio, visual)).float()

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.training.precision == "bf16")

    def _audio(self, features: Tensor, steps: int) -> Tensor | None:
        if self.audio is None:
            return None
        if self.config.fusion.closed == "ears":
            return features.new_zeros(len(features), steps, self.config.width)
        features = at_level(features, self.config.inputs.level)
        return self.norm_audio(self.audio((features - self.feature_mean) / self.feature_std))

    def _visual(
        self, embedding: Embedding | None, has_video: Tensor | None, shape: tuple[int, int], like: Tensor
    ) -> Tensor | None:
        if self.visual is None:
            return None
        if embedding is None or self.config.fusion.closed == "eyes":
            return like.new_zeros(*shape, self.config.visual_width)
        visual = self.norm_visual(self.visual.encode(embedding, shape[1]))
        if self.visual_gate is not None:
            visual = visual * self.visual_gate
        return visual if has_video is None else visual * has_video[:, None, None]


def count_parameters(model: nn.Module | TrialConfig) -> int:
    """Weights of a model, or of the one that a config describes; frozen ones included, buffers not."""
    if isinstance(model, TrialConfig):
        with torch.device("meta"):
            model = SeldModel(model)
    return sum(parameter.numel() for parameter in model.parameters())
