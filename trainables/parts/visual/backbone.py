"""Visual encoders around a pre-trained network, which can be frozen, and what it makes of the data read instead."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from trainables.checks import check
from trainables.parts.visual.contract import VisualEncoder
from trainables.parts.visual.modules import BackboneModule
from trainables.weights.fitting import WeightsSlot


class Backbone(VisualEncoder):
    """An encoder whose network is a `BackboneModule`, and whose config has the three fields below."""

    embedded_as: ClassVar[str]
    """The column of prepared rows that holds its embeddings (`data.feeding.windows`)."""
    of_windows: ClassVar[bool] = False
    """It looks at whole windows, not at single pictures."""
    structure: ClassVar[tuple[str, ...]]
    """The fields that its embeddings follow from, beside its weights."""
    weights_kind: ClassVar[str]
    """The published weights that fit it (`trainables.weights.kinds`)."""

    weights: str | None
    """URI of pre-trained weights, or None: random ones, said loudly."""
    frozen: bool
    """Keep the network as loaded, in evaluation mode, and train only what follows it."""
    embeddings: str | None
    """URI of what the frozen network makes of the data (`seldtune data embed`), or None: it looks in each trial."""

    @abstractmethod
    def build(self, width: int) -> BackboneModule: ...

    @property
    def columns(self) -> tuple[str, ...]:
        return super().columns if self.embeddings is None else (self.embedded_as,)

    def slots(self, path: str = "visual") -> tuple[WeightsSlot, ...]:
        return (
            WeightsSlot(
                field=f"{path}.weights",
                uri=self.weights,
                kinds=(self.weights_kind,),
                place=f"{path}.backbone",
                loud=True,
            ),
        )

    def check_frozen(self) -> None:
        """UserError where random weights would be frozen, or embeddings stand for a network that trains."""
        check(
            not (self.frozen and self.weights is None),
            "visual.frozen",
            self.frozen,
            "freezing random weights learns nothing; name visual.weights",
        )
        check(
            self.frozen or self.embeddings is None,
            "visual.frozen",
            self.frozen,
            "the embeddings of visual.embeddings do not follow a network that trains; set visual.frozen=true, or leave "
            "visual.embeddings out",
        )
