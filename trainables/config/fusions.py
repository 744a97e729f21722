"""The fusions: from audio and visual embeddings to one sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from trainables.checks import check_dropout, check_positive
from trainables.config.encoders import ConformerConfig


@dataclass(frozen=True, kw_only=True)
class AudioOnly:
    """No fusion: a second Conformer on the audio embedding, so that depths match the audio-visual models."""

    name: ClassVar[str] = "audio_only"
    needs: ClassVar[tuple[str, ...]] = ("audio",)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return self.conformer.layers


@dataclass(frozen=True, kw_only=True)
class VisualOnly:
    """No fusion: a second Conformer on the visual embedding."""

    name: ClassVar[str] = "visual_only"
    needs: ClassVar[tuple[str, ...]] = ("visual",)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return self.conformer.layers


@dataclass(frozen=True, kw_only=True)
class AvConformer:
    """Audio and visual embeddings side by side, then a Conformer."""

    name: ClassVar[str] = "av_conformer"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return self.conformer.layers


@dataclass(frozen=True, kw_only=True)
class CrossAttention:
    """Layers in which each modality attends to the other, without self-attention."""

    name: ClassVar[str] = "cross_attention"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    layers: int = 4
    heads: int = 8
    feed_forward: int = 2048
    dropout: float = 0.1
    sequential: bool = False
    """As in the authors' release: the visual branch of a layer attends to the audio branch's fresh output. The paper
    describes, and the default does, both branches at once."""
    positional_encoding: bool = False
    """Add sinusoids to both inputs of every layer, as the authors' release does."""

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "layers", "heads", "feed_forward")
        check_dropout(self.dropout, "fusion")

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return self.layers


@dataclass(frozen=True, kw_only=True)
class Cmaf(CrossAttention):
    """Cross-modal attentive fusion: self- and cross-attention of each modality, side by side."""

    name: ClassVar[str] = "cmaf"


@dataclass(frozen=True, kw_only=True)
class Gru:
    """Audio and visual embeddings side by side, then bidirectional GRU layers."""

    name: ClassVar[str] = "gru"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    layers: int = 2
    hidden: int = 256
    """Width of each direction."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "layers", "hidden")
        check_dropout(self.dropout, "fusion")

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return self.layers


@dataclass(frozen=True, kw_only=True)
class Concatenation:
    """Audio and visual embeddings side by side, straight into the head (late fusion)."""

    name: ClassVar[str] = "concat"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")

    @property
    def depth(self) -> int:
        """Layers between the embeddings and the head."""
        return 0


Fusion = AudioOnly | VisualOnly | AvConformer | CrossAttention | Cmaf | Gru | Concatenation

FUSIONS: dict[str, type] = {
    c.name: c for c in (AudioOnly, VisualOnly, AvConformer, Cmaf, CrossAttention, Gru, Concatenation)
}
