"""`TrialConfig`: the parts together, and the rules between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from data.classes import STARSS23, ClassList
from data.errors import UserError
from data.feeding.contract import OF_WINDOWS
from data.registry.parts import Registry
from data.timing import HOP_LABELS, LABEL_HOP_S
from trainables.checks import check
from trainables.config.inference import InferenceConfig
from trainables.config.training import TrainingConfig
from trainables.inputs.augment import AugmentConfig
from trainables.inputs.input_config import InputConfig
from trainables.parts.audio import AUDIO_ENCODERS, AudioEncoder
from trainables.parts.audio.cnn_conformer import CnnConformer
from trainables.parts.controls import CLOSED
from trainables.parts.fusions import FUSIONS, Fusion
from trainables.parts.fusions.audio_only import AudioOnly
from trainables.parts.head import HeadConfig
from trainables.parts.optimisers import Optimiser
from trainables.parts.optimisers.adam import Adam
from trainables.parts.outputs import Output
from trainables.parts.outputs.multi_accdoa import MultiAccdoa
from trainables.parts.schedules import Schedule
from trainables.parts.schedules.constant_decay import ConstantDecay
from trainables.parts.visual import VISUAL_ENCODERS, VisualEncoder
from trainables.parts.visual.none import NoVisual


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
    classes: ClassList = STARSS23
    """Of the data: whatever runs trials sets them, and no space chooses them."""

    @property
    def width(self) -> int:
        """Width of the audio embedding, and of each visual one projected onto it."""
        return self.audio.width

    @property
    def visual_width(self) -> int:
        """Width of the visual embedding."""
        return self.visual.width_out(self.width)

    @property
    def fused_widths(self) -> tuple[int, int]:
        """Widths of the audio and of the visual embedding as the fusion takes them; 0 for one that there is not."""
        return self.width if self.hears else 0, self.visual_width if self.sees else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """What of prepared rows it looks at; nothing with its eyes closed."""
        return () if self.fusion.closed == "eyes" else self.visual.columns

    @property
    def hears(self) -> bool:
        return self.audio.hears

    @property
    def sees(self) -> bool:
        return self.visual.sees

    def __post_init__(self) -> None:
        self._check_modalities()
        self._check_closed()
        self.audio.check(self.inputs)
        for path, member in self.visual.members().items():
            member.check(self.inputs, self.audio, path)
        if self.inference.hop_s is not None:
            check(
                self.inference.hop_s <= self.inputs.window_s,
                "inference.hop_s",
                self.inference.hop_s,
                f"leaves gaps between windows of inputs.window_s = {self.inputs.window_s} s",
            )
        if OF_WINDOWS.intersection(self.columns):
            self._check_window_starts()
        self._check_augment()
        self.fusion.check(self.audio, self.visual)

    def _check_modalities(self) -> None:
        encoders = {"audio": (self.audio, self.hears), "visual": (self.visual, self.sees)}
        for part, (encoder, there) in encoders.items():
            if part in self.fusion.needs and not there:
                registry: Registry[Any] = AUDIO_ENCODERS if part == "audio" else VISUAL_ENCODERS
                choices = ", ".join(name for name, entry in registry.items() if not isinstance(encoder, entry))
                other = "visual" if part == "audio" else "audio"
                alone = next(name for name, fusion in FUSIONS.items() if fusion.needs == (other,))
                raise UserError(
                    f"fusion.name = {self.fusion.name!r} needs {part} embeddings, but {part}.name is {encoder.name!r}; "
                    f"choose one of {choices}, or fusion.name = {alone!r}"
                )
            if there and part not in self.fusion.needs:
                raise UserError(
                    f"fusion.name = {self.fusion.name!r} ignores the {part} encoder {encoder.name!r}; "
                    f"set {part}.name = 'none', or choose a fusion that uses it"
                )

    def _check_closed(self) -> None:
        closed = self.fusion.closed
        if closed is not None:
            check(closed in CLOSED, "fusion.closed", closed, f"choose {' or '.join(CLOSED)}, or nothing")
            both = self.hears and self.sees
            check(both, "fusion.closed", closed, f"{self.fusion.name} has no other modality to go by")

    def _check_window_starts(self) -> None:
        hops_s = {"inputs.train_hop_s": self.inputs.train_hop_s}
        if self.inference.hop_s is None:
            hops_s["inputs.window_s"] = self.inputs.window_s
        else:
            hops_s["inference.hop_s"] = self.inference.hop_s
        for name, hop_s in hops_s.items():
            check(
                round(hop_s / LABEL_HOP_S) % HOP_LABELS == 0,
                name,
                hop_s,
                f"embeddings of I3D are of windows that start each {HOP_LABELS * LABEL_HOP_S} s; has to be a multiple "
                "of that",
            )

    def _check_augment(self) -> None:
        check(
            not self.augment.mixup_alpha or self.visual.mixes,
            "augment.mixup_alpha",
            self.augment.mixup_alpha,
            f"visual.name = {self.visual.name!r} sees {self.visual.reads}, which cannot be mixed; set it to 0, or "
            "choose an encoder that sees frames",
        )
        check(
            self.augment.frequency_shift_bands < self.inputs.n_mels,
            "augment.frequency_shift_bands",
            self.augment.frequency_shift_bands,
            f"leaves nothing of inputs.n_mels = {self.inputs.n_mels}",
        )
