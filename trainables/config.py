"""One frozen object says everything about a trial: `TrialConfig`.

Each part is one entry of a registry (`AUDIO_ENCODERS`, `VISUAL_ENCODERS`, `FUSIONS`, `SCHEDULES`, `OPTIMISERS`): a
name and that entry's own fields. A field checks itself where it stands; rules across parts are checked once, in
`TrialConfig.__post_init__`, and each message names the field to change. Defaults are the sizes of "Fusion of audio and
visual embeddings for SELD" (ICASSP 2024), section 3.

Dictionaries in, dictionaries out (YAML, JSON, flat "a.b.c" keys): `trainables.config_tree`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from data.errors import UserError
from data.labels import LABEL_HOP_S

RATE_HZ = 24_000


def _check(condition: bool, field_name: str, got: object, rule: str) -> None:
    if not condition:
        raise UserError(f"{field_name} = {got!r}: {rule}")


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """What a model hears and sees. Trials that share these share the decoded data of a sweep."""

    n_fft: int = 512
    hop: int = 150
    """Samples between feature frames; a whole number of frames has to fill the label hop of 2,400 samples."""
    n_mels: int = 128
    window_s: float = 3.0
    """Length of one training example and of one forward pass."""
    train_hop_s: float = 0.5
    """Spacing of the places where a training window may start."""
    frame_width: int = 448
    frame_height: int = 224
    frame_rate_hz: float = 10.0

    def __post_init__(self) -> None:
        label_hop = round(RATE_HZ * LABEL_HOP_S)
        _check(
            self.hop > 0 and label_hop % self.hop == 0,
            "inputs.hop",
            self.hop,
            f"choose a divisor of {label_hop}, e.g. 150 or 300",
        )
        _check(self.n_fft >= self.hop, "inputs.n_fft", self.n_fft, f"has to be at least inputs.hop ({self.hop})")
        _check(0 < self.n_mels <= self.n_fft // 2, "inputs.n_mels", self.n_mels, "has to be in 1..n_fft/2")
        for name in ("window_s", "train_hop_s"):
            frames = getattr(self, name) / LABEL_HOP_S
            _check(
                frames >= 1 and math.isclose(frames, round(frames), abs_tol=1e-6),
                f"inputs.{name}",
                getattr(self, name),
                f"has to be a positive multiple of the label hop, {LABEL_HOP_S} s",
            )
        _check(
            self.frame_width > 0 and self.frame_width % 4 == 0,
            "inputs.frame_width",
            self.frame_width,
            "has to be a positive multiple of 4, so that a turn by 90 degrees is a whole number of columns",
        )
        _check(self.frame_height > 0, "inputs.frame_height", self.frame_height, "has to be positive")
        frames = self.frame_rate_hz * self.window_s
        _check(
            frames >= 1 and math.isclose(frames, round(frames), abs_tol=1e-6),
            "inputs.frame_rate_hz",
            self.frame_rate_hz,
            f"has to give a whole number of frames in {self.window_s} s",
        )

    @property
    def window_labels(self) -> int:
        """Label frames in one window (30 for 3 s)."""
        return round(self.window_s / LABEL_HOP_S)

    @property
    def train_hop_labels(self) -> int:
        return round(self.train_hop_s / LABEL_HOP_S)

    @property
    def features_per_label(self) -> int:
        """Feature frames in one label frame (16 for a hop of 150)."""
        return round(RATE_HZ * LABEL_HOP_S) // self.hop

    @property
    def window_images(self) -> int:
        """Video frames in one window (30 for 3 s at 10 Hz)."""
        return round(self.window_s * self.frame_rate_hz)


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """A stack of Conformer layers (Gulati et al., 2020)."""

    layers: int = 4
    heads: int = 8
    feed_forward: int = 1024
    """Hidden width of the two feed-forward modules."""
    kernel: int = 51
    """Length of the depthwise convolution in label frames."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "feed_forward"):
            _check(getattr(self, name) > 0, f"conformer.{name}", getattr(self, name), "has to be positive")
        _check(self.kernel > 0 and self.kernel % 2 == 1, "conformer.kernel", self.kernel, "has to be odd")
        _check(0.0 <= self.dropout < 1.0, "conformer.dropout", self.dropout, "has to be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class CnnConformer:
    """Four residual blocks, mean over frequency, a Conformer (the paper's audio encoder)."""

    name: ClassVar[str] = "cnn_conformer"
    channels: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each block; the last is the width of every embedding after it."""
    time_strides: tuple[int, ...] = (2, 2, 2, 2)
    """Pooling in time of each block; their product has to be the feature frames in a label frame."""
    frequency_strides: tuple[int, ...] = (2, 2, 2, 2)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    def __post_init__(self) -> None:
        for name in ("time_strides", "frequency_strides"):
            strides = getattr(self, name)
            _check(
                len(strides) == len(self.channels) and all(s >= 1 for s in strides),
                f"audio.{name}",
                strides,
                f"has to hold one positive number for each of the {len(self.channels)} entries of audio.channels",
            )
        _check(
            len(self.channels) > 0 and all(c > 0 for c in self.channels),
            "audio.channels",
            self.channels,
            "has to hold positive numbers",
        )


@dataclass(frozen=True, kw_only=True)
class NoVisual:
    """The model does not see; no video is read or decoded for it."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True, kw_only=True)
class ResNetConformer:
    """A ResNet on each frame, pooled into columns of the panorama, projected, then a Conformer over time."""

    name: ClassVar[str] = "resnet_conformer"
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
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    def __post_init__(self) -> None:
        _check(self.block in ("basic", "bottleneck"), "visual.block", self.block, "choose basic or bottleneck")
        _check(
            len(self.depths) == 4 and all(d > 0 for d in self.depths),
            "visual.depths",
            self.depths,
            "has to hold four positive numbers",
        )
        # oneDNN's gradient of a strided 1 x 1 convolution over fewer channels writes out of bounds (torch 2.14).
        _check(self.width >= 8, "visual.width", self.width, "has to be 8 or more")
        _check(self.pool_columns > 0, "visual.pool_columns", self.pool_columns, "has to be positive")
        _check(
            not (self.frozen and self.weights is None),
            "visual.frozen",
            self.frozen,
            "freezing random weights learns nothing; name visual.weights",
        )


@dataclass(frozen=True, kw_only=True)
class AudioOnly:
    """No fusion: a second Conformer on the audio embedding, so that depths match the audio-visual models."""

    name: ClassVar[str] = "audio_only"
    needs_vision: ClassVar[bool] = False
    conformer: ConformerConfig = field(default_factory=ConformerConfig)


@dataclass(frozen=True, kw_only=True)
class AvConformer:
    """Audio and visual embeddings side by side (twice the width), then a Conformer."""

    name: ClassVar[str] = "av_conformer"
    needs_vision: ClassVar[bool] = True
    conformer: ConformerConfig = field(default_factory=ConformerConfig)


@dataclass(frozen=True, kw_only=True)
class Cmaf:
    """Cross-modal attentive fusion: self- and cross-attention of each modality, side by side."""

    name: ClassVar[str] = "cmaf"
    needs_vision: ClassVar[bool] = True
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
        for name in ("layers", "heads", "feed_forward"):
            _check(getattr(self, name) > 0, f"fusion.{name}", getattr(self, name), "has to be positive")
        _check(0.0 <= self.dropout < 1.0, "fusion.dropout", self.dropout, "has to be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Gru:
    """Audio and visual embeddings side by side, then bidirectional GRU layers."""

    name: ClassVar[str] = "gru"
    needs_vision: ClassVar[bool] = True
    layers: int = 2
    hidden: int = 256
    """Width of each direction."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("layers", "hidden"):
            _check(getattr(self, name) > 0, f"fusion.{name}", getattr(self, name), "has to be positive")
        _check(0.0 <= self.dropout < 1.0, "fusion.dropout", self.dropout, "has to be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Two fully connected layers to 3 tracks x 3 axes x 13 classes."""

    hidden: int = 128
    activation: str = "relu"
    """Between the two layers: `relu`, or `none` as in the authors' release."""

    def __post_init__(self) -> None:
        _check(self.hidden > 0, "head.hidden", self.hidden, "has to be positive")
        _check(self.activation in ("relu", "none"), "head.activation", self.activation, "choose relu or none")


@dataclass(frozen=True, kw_only=True)
class ConstantDecay:
    """The paper's: the base rate, and after `constant_epochs` 5 % less each epoch."""

    name: ClassVar[str] = "constant_decay"
    constant_epochs: int = 30
    decay: float = 0.95
    compounding: bool = False
    """As in the authors' release, where the decay multiplies the already decayed rate."""

    def __post_init__(self) -> None:
        _check(self.constant_epochs >= 0, "schedule.constant_epochs", self.constant_epochs, "has to be 0 or more")
        _check(0.0 < self.decay <= 1.0, "schedule.decay", self.decay, "has to be in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine from the base rate down to `final_fraction` of it."""

    name: ClassVar[str] = "cosine"
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        _check(
            0.0 <= self.final_fraction <= 1.0, "schedule.final_fraction", self.final_fraction, "has to be in [0, 1]"
        )


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Smith's one-cycle: cosine up over `rise_fraction` of the steps, cosine down to almost nothing."""

    name: ClassVar[str] = "one_cycle"
    rise_fraction: float = 0.3
    initial_fraction: float = 0.04
    final_fraction: float = 1e-4

    def __post_init__(self) -> None:
        _check(0.0 < self.rise_fraction < 1.0, "schedule.rise_fraction", self.rise_fraction, "has to be in (0, 1)")
        for name in ("initial_fraction", "final_fraction"):
            _check(0.0 <= getattr(self, name) <= 1.0, f"schedule.{name}", getattr(self, name), "has to be in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Linear warm-up over `warmup_fraction` of the steps, then half a cosine to `final_fraction`."""

    name: ClassVar[str] = "warmup_cosine"
    warmup_fraction: float = 0.1
    final_fraction: float = 0.01

    def __post_init__(self) -> None:
        _check(
            0.0 < self.warmup_fraction < 1.0, "schedule.warmup_fraction", self.warmup_fraction, "has to be in (0, 1)"
        )
        _check(
            0.0 <= self.final_fraction <= 1.0, "schedule.final_fraction", self.final_fraction, "has to be in [0, 1]"
        )


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam; the paper's optimiser."""

    name: ClassVar[str] = "adam"
    lr: float = 5e-4
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self.lr > 0, "optimiser.lr", self.lr, "has to be positive")
        _check(self.weight_decay >= 0, "optimiser.weight_decay", self.weight_decay, "has to be 0 or more")


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What changes an example each time it is drawn."""

    channel_swaps: bool = True
    """One of the eight audio-visual channel swaps, at random, for each window."""
    time_mask_frames: int = 0
    """SpecAugment: longest masked stretch in feature frames; 0 is off."""
    mel_mask_bands: int = 0
    """SpecAugment: widest masked band; 0 is off."""

    def __post_init__(self) -> None:
        for name in ("time_mask_frames", "mel_mask_bands"):
            _check(getattr(self, name) >= 0, f"augment.{name}", getattr(self, name), "has to be 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The loop around the model."""

    epochs: int = 50
    batch_size: int = 32
    """Windows in one optimiser step, over all workers together."""
    epoch_windows: int | None = None
    """Windows drawn in one epoch; nothing: every place where a window may start, once."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; larger ones are scaled down."""
    threshold: float = 0.5
    """Length of an ACCDOA vector from which its class counts as active."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "clip_norm"):
            _check(getattr(self, name) > 0, f"training.{name}", getattr(self, name), "has to be positive")
        _check(
            self.epoch_windows is None or self.epoch_windows >= self.batch_size,
            "training.epoch_windows",
            self.epoch_windows,
            f"has to be at least training.batch_size ({self.batch_size})",
        )
        _check(0.0 < self.threshold < 1.0, "training.threshold", self.threshold, "has to be in (0, 1)")


AudioEncoder = CnnConformer
VisualEncoder = NoVisual | ResNetConformer
Fusion = AudioOnly | AvConformer | Cmaf | Gru
Schedule = ConstantDecay | Cosine | OneCycle | WarmupCosine
Optimiser = Adam | AdamW

AUDIO_ENCODERS: dict[str, type] = {c.name: c for c in (CnnConformer,)}
VISUAL_ENCODERS: dict[str, type] = {c.name: c for c in (NoVisual, ResNetConformer)}
FUSIONS: dict[str, type] = {c.name: c for c in (AudioOnly, AvConformer, Cmaf, Gru)}
SCHEDULES: dict[str, type] = {c.name: c for c in (ConstantDecay, Cosine, OneCycle, WarmupCosine)}
OPTIMISERS: dict[str, type] = {c.name: c for c in (Adam, AdamW)}


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides what a trial computes."""

    inputs: InputConfig = field(default_factory=InputConfig)
    audio: AudioEncoder = field(default_factory=CnnConformer)
    visual: VisualEncoder = field(default_factory=NoVisual)
    fusion: Fusion = field(default_factory=AudioOnly)
    head: HeadConfig = field(default_factory=HeadConfig)
    schedule: Schedule = field(default_factory=ConstantDecay)
    optimiser: Optimiser = field(default_factory=Adam)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @property
    def width(self) -> int:
        """Width of the audio embedding, and of the visual one projected onto it."""
        return self.audio.channels[-1]

    @property
    def sees(self) -> bool:
        return not isinstance(self.visual, NoVisual)

    def __post_init__(self) -> None:
        stride = math.prod(self.audio.time_strides)
        _check(
            stride == self.inputs.features_per_label,
            "audio.time_strides",
            self.audio.time_strides,
            f"their product is {stride}, but inputs.hop = {self.inputs.hop} gives {self.inputs.features_per_label} "
            "feature frames in a label frame; make them equal",
        )
        bands = math.prod(self.audio.frequency_strides)
        _check(
            bands <= self.inputs.n_mels,
            "audio.frequency_strides",
            self.audio.frequency_strides,
            f"they leave nothing of inputs.n_mels = {self.inputs.n_mels}",
        )
        if self.fusion.needs_vision and not self.sees:
            seeing = ", ".join(n for n in VISUAL_ENCODERS if n != NoVisual.name)
            raise UserError(
                f"fusion.name = {self.fusion.name!r} needs a visual encoder, but visual.name is 'none'; "
                f"choose one of {seeing}, or fusion.name = 'audio_only'"
            )
        if self.sees and not self.fusion.needs_vision:
            raise UserError(
                f"fusion.name = {self.fusion.name!r} ignores the visual encoder {self.visual.name!r}; "
                "set visual.name = 'none', or choose a fusion that sees"
            )
        self._check_heads("audio.conformer", self.audio.conformer.heads, self.width)
        if isinstance(self.visual, ResNetConformer):
            self._check_heads("visual.conformer", self.visual.conformer.heads, self.width)
        if isinstance(self.fusion, AudioOnly):
            self._check_heads("fusion.conformer", self.fusion.conformer.heads, self.width)
        elif isinstance(self.fusion, AvConformer):
            self._check_heads("fusion.conformer", self.fusion.conformer.heads, 2 * self.width)
        elif isinstance(self.fusion, Cmaf):
            self._check_heads("fusion", self.fusion.heads, self.width)

    @staticmethod
    def _check_heads(part: str, heads: int, width: int) -> None:
        _check(
            width % heads == 0,
            f"{part}.heads",
            heads,
            f"does not divide the width {width}; choose a divisor or change audio.channels",
        )
