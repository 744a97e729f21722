"""Published systems by name, each one config: the rows of Table 1 of "Fusion of audio and visual embeddings for SELD"
(ICASSP 2024), and the baselines of the DCASE challenge.

`fixed` follows the papers where the released code departs from them; `faithful` follows the code. `PAPER` is the
published size, `SMALL` the same systems at a size that a laptop trains in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from data.errors import UserError
from search_spaces.preset_sizes import SIZES, Size
from trainables.config import (
    Adam,
    AudioEncoder,
    AudioOnly,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConstantDecay,
    CrossAttention,
    Fusion,
    Gru,
    HeadConfig,
    I3d,
    MultiAccddoa,
    NoAudio,
    NoVisual,
    ObjectBoxes,
    ResNetAndI3d,
    ResNetConformer,
    SeldNet,
    TrialConfig,
    VisualEncoder,
    VisualOnly,
)
from trainables.scores.metrics import SCORE_NAMES


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """URIs of what was trained before. An encoder without starts at random; a visual one with weights is frozen."""

    audio: str | None = None
    resnet: str | None = None
    i3d: str | None = None
    detector: str | None = None
    """Of objects, whose boxes a baseline reads."""
    boxes: str | None = None
    """Folder of csv with the boxes themselves, in place of a detector."""


@dataclass(frozen=True)
class Preset:
    """A published system."""

    name: str
    visual: str
    fusion: str
    """The row's first two columns in the paper's table."""
    published: dict[str, float] | None
    """By score, on STARSS23's dev-test, macro: F and LR in percent, LE in degrees."""
    build: Callable[[Size, bool, Pretrained], TrialConfig]


def find_preset(
    name: str, size: str = "paper", faithful: bool = False, pretrained: Pretrained | None = None
) -> TrialConfig:
    """The config of a preset.

    Raises:
        UserError: no such preset or size; the message lists those that are.
    """
    if name not in PRESETS:
        raise UserError(f"preset {name!r} is not known; choose one of {', '.join(PRESETS)}")
    if size not in SIZES:
        raise UserError(f"size {size!r} is not known; choose one of {', '.join(SIZES)}")
    return PRESETS[name].build(SIZES[size], faithful, pretrained or Pretrained())


def _audio(size: Size, pretrained: Pretrained) -> CnnConformer:
    return CnnConformer(
        channels=size.channels,
        time_strides=size.time_strides,
        frequency_strides=size.frequency_strides,
        conformer=size.conformer(),
        weights=pretrained.audio,
    )


def _resnet(size: Size, faithful: bool, pretrained: Pretrained) -> ResNetConformer:
    return ResNetConformer(
        **size.resnet,
        conformer=size.conformer(),
        weights=pretrained.resnet,
        frozen=pretrained.resnet is not None,
    )


def _i3d(size: Size, faithful: bool, pretrained: Pretrained) -> I3d:
    return I3d(
        width=size.i3d_width,
        upsample="nearest" if faithful else "linear",
        weights=pretrained.i3d,
        frozen=pretrained.i3d is not None,
    )


def _both(size: Size, faithful: bool, pretrained: Pretrained) -> ResNetAndI3d:
    return ResNetAndI3d(resnet=_resnet(size, faithful, pretrained), i3d=_i3d(size, faithful, pretrained))


def _none(size: Size, faithful: bool, pretrained: Pretrained) -> NoVisual:
    return NoVisual()


def _cmaf(size: Size, faithful: bool) -> Cmaf:
    return Cmaf(
        layers=size.layers,
        heads=size.heads,
        feed_forward=2 * size.feed_forward,
        sequential=faithful,
        positional_encoding=faithful,
    )


def _cross_attention(size: Size, faithful: bool) -> CrossAttention:
    return CrossAttention(
        layers=size.layers, heads=size.heads, feed_forward=2 * size.feed_forward, positional_encoding=faithful
    )


def _av_conformer(size: Size, faithful: bool) -> AvConformer:
    return AvConformer(conformer=size.conformer())


def _gru(size: Size, faithful: bool) -> Gru:
    return Gru(layers=2, hidden=size.gru_hidden)


def _audio_only(size: Size, faithful: bool) -> AudioOnly:
    return AudioOnly(conformer=size.conformer())


def _visual_only(size: Size, faithful: bool) -> VisualOnly:
    return VisualOnly(conformer=size.conformer())


def _row(
    see: Callable[[Size, bool, Pretrained], VisualEncoder],
    fuse: Callable[[Size, bool], Fusion],
    released_lr: float | None = None,
) -> Callable[[Size, bool, Pretrained], TrialConfig]:
    """A row of Table 1: section 3 and 4 of the paper with one visual encoder and one fusion.

    Args:
        released_lr: of this row's released model, by its author's word (in AV-SELD's issues): it was fine-tuned from an
            audio encoder that had learnt on synthetic scenes, at another rate than the paper's 5e-4. None: not known.
    """

    def build(size: Size, faithful: bool, pretrained: Pretrained) -> TrialConfig:
        fusion = fuse(size, faithful)
        audio: AudioEncoder = NoAudio(width=size.width)
        if "audio" in fusion.needs:
            audio = _audio(size, pretrained)
        return TrialConfig(
            inputs=size.inputs,
            audio=audio,
            visual=see(size, faithful, pretrained),
            fusion=fusion,
            head=HeadConfig(activation="none" if faithful else "relu"),
            schedule=ConstantDecay(constant_epochs=size.constant_epochs, compounding=faithful),
            optimiser=Adam(lr=released_lr if faithful and released_lr and size is SIZES["paper"] else size.lr),
            training=size.training,
        )

    return build


def _baseline(size: Size, faithful: bool, pretrained: Pretrained) -> TrialConfig:
    """SELDnet with multi-ACCDOA, the audio baseline of DCASE 2023 Task 3."""
    training = size.baseline_training
    return TrialConfig(
        inputs=size.baseline_inputs,
        audio=SeldNet(**size.baseline),
        fusion=AudioOnly(conformer=replace(size.conformer(), layers=0)),
        head=HeadConfig(activation="none"),
        schedule=ConstantDecay(constant_epochs=training.epochs),
        optimiser=Adam(lr=1e-3),
        training=training,
    )


def _baseline_audio_visual(size: Size, faithful: bool, pretrained: Pretrained) -> TrialConfig:
    """Convolutions beside boxes around people, a GRU over both: the audio-visual baseline of DCASE 2023 Task 3."""
    training = size.baseline_training
    audio = SeldNet(
        channels=64,
        time_pools=size.crnn_time_pools,
        frequency_pools=(4, 4, 2),
        gru_layers=0,
        attention_layers=0,
        dropout=0.0,
    )
    return TrialConfig(
        inputs=size.inputs,
        audio=audio,
        visual=ObjectBoxes(csv=pretrained.boxes, detector=pretrained.detector),
        fusion=Gru(layers=1, hidden=256),
        head=HeadConfig(activation="none"),
        schedule=ConstantDecay(constant_epochs=training.epochs),
        optimiser=Adam(lr=1e-3),
        training=training,
    )


def _baseline_distance(size: Size, faithful: bool, pretrained: Pretrained) -> TrialConfig:
    """The same with distances, the audio baseline of DCASE 2024 Task 3."""
    return replace(_baseline(size, faithful, pretrained), output=MultiAccddoa())


def _published(*values: float) -> dict[str, float]:
    """ER, F, LE, LR and SELD of the paper's table."""
    return dict(zip(SCORE_NAMES, values, strict=True))


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("i3d-cmaf", "I3D", "CMAF", _published(0.57, 40.5, 33.2, 55.3, 0.45), _row(_i3d, _cmaf, 1e-5)),
        Preset(
            "i3d-av_conformer",
            "I3D",
            "AV-Conformer",
            _published(0.52, 46.4, 16.9, 60.2, 0.39),
            _row(_i3d, _av_conformer, 3e-5),
        ),
        Preset(
            "resnet-cmaf",
            "ResNet-Conformer",
            "CMAF",
            _published(0.54, 41.3, 31.6, 53.4, 0.44),
            _row(_resnet, _cmaf, 8e-5),
        ),
        Preset(
            "resnet-av_conformer",
            "ResNet-Conformer",
            "AV-Conformer",
            _published(0.51, 49.5, 15.8, 60.2, 0.38),
            _row(_resnet, _av_conformer, 5e-5),
        ),
        Preset(
            "resnet-cross_attention",
            "ResNet-Conformer",
            "cross-attention",
            _published(0.55, 34.7, 30.4, 47.8, 0.47),
            _row(_resnet, _cross_attention),
        ),
        Preset("resnet-gru", "ResNet-Conformer", "GRU", _published(0.50, 49.4, 16.2, 56.8, 0.38), _row(_resnet, _gru)),
        Preset(
            "both-av_conformer",
            "both",
            "AV-Conformer",
            _published(0.52, 48.0, 16.2, 60.8, 0.38),
            _row(_both, _av_conformer, 5e-5),
        ),
        Preset(
            "visual_only",
            "ResNet-Conformer",
            "visual only",
            _published(1.03, 0.9, 103.0, 11.4, 0.87),
            _row(_resnet, _visual_only),
        ),
        Preset("audio_only", "-", "audio only", _published(0.51, 50.2, 15.4, 56.4, 0.38), _row(_none, _audio_only)),
        Preset("dcase2023-audio", "-", "DCASE 2023, audio", _published(0.57, 29.9, 22.0, 47.7, 0.48), _baseline),
        Preset(
            "dcase2023-audio_visual",
            "object boxes",
            "DCASE 2023, audio-visual",
            _published(1.07, 14.3, 48.0, 35.5, 0.71),
            _baseline_audio_visual,
        ),
        Preset("dcase2024-audio", "-", "DCASE 2024, audio", None, _baseline_distance),
    )
}
