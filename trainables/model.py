"""The network of a trial, built from its config alone: no files, no devices, no training in here.

Letters of shapes: B windows, T label frames, M mel bands, V video frames, D channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.accdoa import NUM_OUTPUTS
from trainables.audio_encoders import build_audio_encoder
from trainables.config import HeadConfig, TrialConfig
from trainables.features import NUM_FEATURE_CHANNELS
from trainables.fusion import build_fusion
from trainables.visual_encoders import build_visual_encoder


class Head(nn.Module):
    """Two linear layers and tanh: (B, T, D) -> multi-ACCDOA (B, T, 117) in (-1, 1)."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.activation = F.relu if config.activation == "relu" else nn.Identity()
        self.hidden = nn.Linear(width, config.hidden)
        self.out = nn.Linear(config.hidden, NUM_OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.out(self.activation(self.hidden(x))))


class SeldModel(nn.Module):
    """Features and frames of a window to multi-ACCDOA ("Fusion of audio and visual embeddings for SELD", figure 1).

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
        self.audio = build_audio_encoder(config)
        self.norm_audio = nn.LayerNorm(config.width)
        self.visual = build_visual_encoder(config)
        self.norm_visual = None if self.visual is None else nn.LayerNorm(config.width)
        self.fusion = build_fusion(config)
        self.head = Head(self.fusion.width_out, config.head)

    feature_mean: Tensor
    feature_std: Tensor

    def forward(self, features: Tensor, frames: Tensor | None = None, has_video: Tensor | None = None) -> Tensor:
        """One window or more.

        Args:
            features: float (B, 7, T * F, M), F feature frames per label frame.
            frames: uint8 (B, V, H, W, 3), spread evenly over the window; nothing: the model cannot see.
            has_video: bool (B,); the visual embedding of other windows is zero. Nothing: all have.

        Returns:
            (B, T, 117): 3 tracks x 3 axes x 13 classes.
        """
        embedding = None if self.visual is None or frames is None else self.visual.embed(frames)
        return self.forward_embedded(features, embedding, has_video)

    def forward_embedded(
        self, features: Tensor, embedding: Tensor | None = None, has_video: Tensor | None = None
    ) -> Tensor:
        """The same from embeddings (B, V, D) computed before with `visual.embed`."""
        audio = self.norm_audio(self.audio((features - self.feature_mean) / self.feature_std))
        return self.head(self.fusion(audio, self._visual(embedding, has_video, like=audio)))

    def _visual(self, embedding: Tensor | None, has_video: Tensor | None, like: Tensor) -> Tensor | None:
        if self.visual is None or self.norm_visual is None:
            return None
        if embedding is None:
            return torch.zeros_like(like)
        visual = self.norm_visual(self.visual.encode(embedding, like.shape[1]))
        return visual if has_video is None else visual * has_video[:, None, None]


def count_parameters(model: nn.Module | TrialConfig) -> int:
    """Weights of a model, or of the one that a config describes; frozen ones included, buffers not."""
    if isinstance(model, TrialConfig):
        with torch.device("meta"):
            model = SeldModel(model)
    return sum(parameter.numel() for parameter in model.parameters())
