"""`TrialConfig`: the parts together, and the rules between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from data.errors import UserError
from data.labels import LABEL_HOP_S
from data.windows import HOP_FRAMES
from trainables.checks import check
from trainables.config.encoders import (
    AUDIO_ENCODERS,
    VISUAL_ENCODERS,
    AudioEncoder,
    CnnConformer,
    I3d,
    NoAudio,
    NoVisual,
    ObjectBoxes,
    ResNetAndI3d,
    ResNetConformer,
    SeldNet,
    VisualEncoder,
)
from trainables.config.fusions import AudioOnly, AvConformer, CrossAttention, Fusion, VisualOnly
from trainables.config.outputs import HeadConfig, InferenceConfig, MultiAccdoa, Output
from trainables.config.training import (
    Adam,
    AugmentConfig,
    ConstantDecay,
    Optimiser,
    Schedule,
    TrainingConfig,
)
from trainables.inputs.input_config import InputConfig


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that decides what a trial computes."""

    inputs: InputConfig = field(default_factory=InputConfig)
    audio: AudioEncoder = field(default_factory=CnnConformer)
    visual: VisualEncoder = field(default_factory=NoVisual)
    fusion: Fusion = field(default_factory=AudioOnly)
    head: HeadConfig = field(default_factory=HeadConfig)
    output: Output = field(default_factory=MultiAccdoa)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    schedule: Schedule = field(default_factory=ConstantDecay)
    optimiser: Optimiser = field(default_factory=Adam)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @property
    def width(self) -> int:
        """Width of the audio embedding, and of each visual one projected onto it."""
        return self.audio.width

    @property
    def visual_width(self) -> int:
        """Width of the visual embedding; that of both encoders together is twice `width`."""
        return 2 * self.width if isinstance(self.visual, ResNetAndI3d) else self.width

    @property
    def hears(self) -> bool:
        return not isinstance(self.audio, NoAudio)

    @property
    def sees(self) -> bool:
        return not isinstance(self.visual, NoVisual)

    def __post_init__(self) -> None:
        self._check_modalities()
        if not isinstance(self.audio, NoAudio):
            self._check_reductions(self.audio)
        if isinstance(self.visual, I3d | ResNetAndI3d):
            check(
                self.inputs.frame_width == 2 * self.inputs.frame_height,
                "inputs.frame_width",
                self.inputs.frame_width,
                f"I3D sees the two square halves of a panorama: has to be {2 * self.inputs.frame_height}, twice "
                "inputs.frame_height",
            )
        if self.inference.hop_s is not None:
            check(
                self.inference.hop_s <= self.inputs.window_s,
                "inference.hop_s",
                self.inference.hop_s,
                f"leaves gaps between windows of inputs.window_s = {self.inputs.window_s} s",
            )
        if "i3d_embeddings" in self.visual.columns:
            self._check_window_starts()
        self._check_augment()
        self._check_widths()

    def _check_modalities(self) -> None:
        for part, there in (("audio", self.hears), ("visual", self.sees)):
            registry = AUDIO_ENCODERS if part == "audio" else VISUAL_ENCODERS
            if part in self.fusion.needs and not there:
                choices = ", ".join(name for name in registry if name != "none")
                alone = VisualOnly.name if part == "audio" else AudioOnly.name
                raise UserError(
                    f"fusion.name = {self.fusion.name!r} needs {part} embeddings, but {part}.name is 'none'; "
                    f"choose one of {choices}, or fusion.name = {alone!r}"
                )
            if there and part not in self.fusion.needs:
                other = getattr(self, part).name
                raise UserError(
                    f"fusion.name = {self.fusion.name!r} ignores the {part} encoder {other!r}; "
                    f"set {part}.name = 'none', or choose a fusion that uses it"
                )

    def _check_window_starts(self) -> None:
        hops_s = {"inputs.train_hop_s": self.inputs.train_hop_s}
        if self.inference.hop_s is None:
            hops_s["inputs.window_s"] = self.inputs.window_s
        else:
            hops_s["inference.hop_s"] = self.inference.hop_s
        for name, hop_s in hops_s.items():
            check(
                round(hop_s / LABEL_HOP_S) % HOP_FRAMES == 0,
                name,
                hop_s,
                f"embeddings of I3D are of windows that start each {HOP_FRAMES * LABEL_HOP_S} s; has to be a multiple "
                "of that",
            )

    def _check_reductions(self, audio: CnnConformer | SeldNet) -> None:
        part = "strides" if isinstance(audio, CnnConformer) else "pools"
        check(
            audio.time_reduction == self.inputs.features_per_label,
            f"audio.time_{part}",
            getattr(audio, f"time_{part}"),
            f"their product is {audio.time_reduction}, but inputs.hop = {self.inputs.hop} gives "
            f"{self.inputs.features_per_label} feature frames in a label frame; make them equal",
        )
        check(
            audio.frequency_reduction <= self.inputs.n_mels,
            f"audio.frequency_{part}",
            getattr(audio, f"frequency_{part}"),
            f"they leave nothing of inputs.n_mels = {self.inputs.n_mels}",
        )

    def _check_augment(self) -> None:
        check(
            not (self.augment.mixup_alpha and isinstance(self.visual, ObjectBoxes)),
            "augment.mixup_alpha",
            self.augment.mixup_alpha,
            f"visual.name = {self.visual.name!r} sees boxes, which cannot be mixed; set it to 0, or choose an encoder "
            "that sees frames",
        )
        check(
            self.augment.frequency_shift_bands < self.inputs.n_mels,
            "augment.frequency_shift_bands",
            self.augment.frequency_shift_bands,
            f"leaves nothing of inputs.n_mels = {self.inputs.n_mels}",
        )

    def _check_widths(self) -> None:
        if isinstance(self.audio, CnnConformer):
            self._check_heads("audio.conformer", self.audio.conformer.heads, self.width)
        elif isinstance(self.audio, SeldNet) and self.audio.attention_layers:
            self._check_heads("audio", self.audio.heads, self.width)
        if isinstance(self.visual, ResNetConformer):
            self._check_heads("visual.conformer", self.visual.conformer.heads, self.width)
        elif isinstance(self.visual, ResNetAndI3d):
            self._check_heads("visual.resnet.conformer", self.visual.resnet.conformer.heads, self.width)
        if isinstance(self.fusion, AudioOnly):
            self._check_heads("fusion.conformer", self.fusion.conformer.heads, self.width)
        elif isinstance(self.fusion, VisualOnly):
            self._check_heads("fusion.conformer", self.fusion.conformer.heads, self.visual_width)
        elif isinstance(self.fusion, AvConformer):
            self._check_heads("fusion.conformer", self.fusion.conformer.heads, self.width + self.visual_width)
        elif isinstance(self.fusion, CrossAttention):
            check(
                self.visual_width == self.width,
                "fusion.name",
                self.fusion.name,
                f"attends between embeddings of one width, but visual.name = {self.visual.name!r} gives "
                f"{self.visual_width} beside the audio's {self.width}; choose one visual encoder, or a fusion that "
                "joins them (av_conformer, gru, concat)",
            )
            self._check_heads("fusion", self.fusion.heads, self.width)

    def _check_heads(self, part: str, heads: int, width: int) -> None:
        check(
            width % heads == 0,
            f"{part}.heads",
            heads,
            f"does not divide the width {width}; choose a divisor or change audio.{self.audio.width_field}",
        )
