"""The encoders: from features and from pictures to one embedding for each label frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from trainables.checks import check, check_dropout, check_positive


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """A stack of Conformer layers (Gulati et al., 2020)."""

    layers: int = 4
    """None at all leaves its input as it is."""
    heads: int = 8
    feed_forward: int = 1024
    """Hidden width of the two feed-forward modules."""
    kernel: int = 51
    """Length of the depthwise convolution in label frames."""
    dropout: float = 0.1
    relative_position: bool = False
    """Add a learned bias for each head and distance in time to the attention."""

    def __post_init__(self) -> None:
        check(self.layers >= 0, "conformer.layers", self.layers, "has to be 0 or more")
        check_positive(self, "conformer", "heads", "feed_forward")
        check(self.kernel > 0 and self.kernel % 2 == 1, "conformer.kernel", self.kernel, "has to be odd")
        check_dropout(self.dropout, "conformer")


@dataclass(frozen=True, kw_only=True)
class CnnConformer:
    """Four residual blocks, mean over frequency, a Conformer (the paper's audio encoder)."""

    name: ClassVar[str] = "cnn_conformer"
    width_field: ClassVar[str] = "channels"
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each block; the last is the width of every embedding after it."""
    time_strides: tuple[int, ...] = (2, 2, 2, 2)
    """Pooling in time of each block; their product has to be the feature frames in a label frame."""
    frequency_strides: tuple[int, ...] = (2, 2, 2, 2)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)
    weights: str | None = None
    """URI of pre-trained weights (`seldtune weights import`), or nothing: random ones."""

    def __post_init__(self) -> None:
        for name in ("time_strides", "frequency_strides"):
            strides = getattr(self, name)
            check(
                len(strides) == len(self.channels) and all(s >= 1 for s in strides),
                f"audio.{name}",
                strides,
                f"has to hold one positive number for each of the {len(self.channels)} entries of audio.channels",
            )
        check(
            len(self.channels) > 0 and all(c > 0 for c in self.channels),
            "audio.channels",
            self.channels,
            "has to hold positive numbers",
        )

    @property
    def width(self) -> int:
        return self.channels[-1]

    @property
    def time_reduction(self) -> int:
        """Feature frames that become one embedding."""
        return math.prod(self.time_strides)

    @property
    def frequency_reduction(self) -> int:
        return math.prod(self.frequency_strides)


@dataclass(frozen=True, kw_only=True)
class SeldNet:
    """Convolutions, bidirectional GRUs and self-attention: the baseline of DCASE Task 3, 2023 and 2024."""

    name: ClassVar[str] = "seldnet"
    width_field: ClassVar[str] = "hidden"
    channels: int = 64
    """Channels of every convolution."""
    time_pools: tuple[int, ...] = (5, 1, 1)
    """Max pooling in time after each convolution; their product has to be the feature frames in a label frame."""
    frequency_pools: tuple[int, ...] = (4, 4, 2)
    gru_layers: int = 2
    """None at all: the convolutions' mean over frequency is the embedding, `channels` wide."""
    hidden: int = 128
    """Width of each direction of the GRUs, of their gated output, and of every embedding after it."""
    attention_layers: int = 2
    heads: int = 8
    dropout: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self, "audio", "channels", "hidden", "heads")
        for name in ("gru_layers", "attention_layers"):
            check(getattr(self, name) >= 0, f"audio.{name}", getattr(self, name), "has to be 0 or more")
        pools = (self.time_pools, self.frequency_pools)
        check(
            len(self.time_pools) == len(self.frequency_pools) > 0 and all(p >= 1 for pool in pools for p in pool),
            "audio.time_pools",
            self.time_pools,
            f"has to hold one positive number for each of audio.frequency_pools = {self.frequency_pools}",
        )
        check_dropout(self.dropout, "audio")

    @property
    def width(self) -> int:
        return self.hidden if self.gru_layers else self.channels

    @property
    def time_reduction(self) -> int:
        """Feature frames that become one embedding."""
        return math.prod(self.time_pools)

    @property
    def frequency_reduction(self) -> int:
        return math.prod(self.frequency_pools)


@dataclass(frozen=True, kw_only=True)
class NoAudio:
    """The model does not hear; it goes by pictures alone."""

    name: ClassVar[str] = "none"
    width_field: ClassVar[str] = "width"
    width: int = 512
    """Width of the visual embedding, which follows the audio encoder's where there is one."""

    def __post_init__(self) -> None:
        check_positive(self, "audio", "width")


@dataclass(frozen=True, kw_only=True)
class NoVisual:
    """The model does not see; no video is read or decoded for it."""

    name: ClassVar[str] = "none"
    reads: ClassVar[str | None] = None
    """What a model with this encoder looks at when it is used."""
    columns: ClassVar[tuple[str, ...]] = ()
    """What of a prepared row (`data.windows`) it learns from: the same, or embeddings in its place."""


def _check_frozen(part: str, frozen: bool, weights: str | None, embeddings: str | None) -> None:
    check(
        not (frozen and weights is None),
        f"{part}.frozen",
        frozen,
        f"freezing random weights learns nothing; name {part}.weights",
    )
    check(
        frozen or embeddings is None,
        f"{part}.frozen",
        frozen,
        f"the embeddings of {part}.embeddings do not follow a network that trains; set {part}.frozen=true, or leave "
        f"{part}.embeddings out",
    )


@dataclass(frozen=True, kw_only=True)
class ResNetConformer:
    """A ResNet on each frame, pooled into columns of the panorama, projected, then a Conformer over time."""

    name: ClassVar[str] = "resnet_conformer"
    reads: ClassVar[str] = "frames"
    embedded_as: ClassVar[str] = "resnet_embeddings"
    block: str = "bottleneck"
    """`bottleneck` (ResNet50 and larger) or `basic` (ResNet18, ResNet34)."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks of each stage; (3, 4, 6, 3) bottlenecks are ResNet50."""
    width: int = 64
    """Channels of the first stage; each later one doubles them."""
    pool_columns: int = 2
    """Columns of the panorama that keep a vector of their own (the paper's two 7 x 7 poolings)."""
    weights: str | None = None
    """URI of a torchvision state dict (`.pth` or `.safetensors`), or nothing: random weights, said loudly."""
    frozen: bool = False
    """Keep the ResNet as loaded, in evaluation mode, and train only what follows it."""
    embeddings: str | None = None
    """URI of what the frozen ResNet makes of the data (`seldtune data embed`), read in place of pictures, or nothing:
    each trial runs it on each picture of each epoch."""
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    def __post_init__(self) -> None:
        check(self.block in ("basic", "bottleneck"), "visual.block", self.block, "choose basic or bottleneck")
        check(
            len(self.depths) == 4 and all(d > 0 for d in self.depths),
            "visual.depths",
            self.depths,
            "has to hold four positive numbers",
        )
        # oneDNN's gradient of a strided 1 x 1 convolution over fewer channels writes out of bounds (torch 2.14).
        check(self.width >= 8, "visual.width", self.width, "has to be 8 or more")
        check_positive(self, "visual", "pool_columns")
        _check_frozen("visual", self.frozen, self.weights, self.embeddings)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.reads,) if self.embeddings is None else (self.embedded_as,)


@dataclass(frozen=True, kw_only=True)
class I3d:
    """Inflated 3-D Inception on the left and the right half of the panorama (Carreira and Zisserman, 2017)."""

    name: ClassVar[str] = "i3d"
    reads: ClassVar[str] = "frames"
    embedded_as: ClassVar[str] = "i3d_embeddings"
    width: float = 1.0
    """All channels are multiplied by this; 1 is the published network, 1,024 channels at its end."""
    upsample: str = "linear"
    """From the network's few steps in time to label frames: `linear`, or `nearest` as in the authors' release."""
    weights: str | None = None
    """URI of the Kinetics weights (`rgb_imagenet.pt`) or nothing: random weights, said loudly."""
    frozen: bool = False
    """Keep the network as loaded, in evaluation mode, and train only what follows it."""
    embeddings: str | None = None
    """The same for this network."""

    def __post_init__(self) -> None:
        check(0.0 < self.width <= 4.0, "visual.width", self.width, "has to be in (0, 4]")
        check(self.upsample in ("linear", "nearest"), "visual.upsample", self.upsample, "choose linear or nearest")
        _check_frozen("visual", self.frozen, self.weights, self.embeddings)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.reads,) if self.embeddings is None else (self.embedded_as,)


@dataclass(frozen=True, kw_only=True)
class ResNetAndI3d:
    """Both visual encoders side by side: an embedding twice as wide."""

    name: ClassVar[str] = "both"
    reads: ClassVar[str] = "frames"
    resnet: ResNetConformer = field(default_factory=ResNetConformer)
    i3d: I3d = field(default_factory=I3d)

    def __post_init__(self) -> None:
        check(
            (self.resnet.embeddings is None) == (self.i3d.embeddings is None),
            "visual.i3d.embeddings" if self.i3d.embeddings is None else "visual.resnet.embeddings",
            None,
            "both encoders see embeddings or neither does; name it too, or leave the other's out",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.resnet.columns + self.i3d.columns))


@dataclass(frozen=True, kw_only=True)
class ObjectBoxes:
    """Boxes around objects as Gaussian-like vectors (the audio-visual baseline of DCASE 2023), projected.

    One of `csv` and `detector` says where a trial's boxes come from; a model is built without either.
    """

    name: ClassVar[str] = "boxes"
    reads: ClassVar[str] = "boxes"
    columns: ClassVar[tuple[str, ...]] = ("boxes",)
    csv: str | None = None
    """Folder or s3:// URI with a `<recording>.csv` of boxes for each recording."""
    detector: str | None = None
    """URI of a state dict of torchvision's Faster R-CNN (MobileNetV3-Large FPN), run on each frame."""

    def __post_init__(self) -> None:
        check(
            self.csv is None or self.detector is None,
            "visual.csv",
            self.csv,
            f"boxes come from a csv or from visual.detector = {self.detector!r}; name one",
        )


AudioEncoder = CnnConformer | SeldNet | NoAudio
VisualEncoder = NoVisual | ResNetConformer | I3d | ResNetAndI3d | ObjectBoxes

AUDIO_ENCODERS: dict[str, type] = {c.name: c for c in (CnnConformer, SeldNet, NoAudio)}
VISUAL_ENCODERS: dict[str, type] = {c.name: c for c in (NoVisual, ResNetConformer, I3d, ResNetAndI3d, ObjectBoxes)}
