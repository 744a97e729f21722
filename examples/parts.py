"""Parts of one's own: a fusion, and a reader of data sets.

    seldtune data ingest ~/rooms --plugin examples/parts.py --reader flat
    seldtune sweep examples/gates.yaml --plugin examples/parts.py --data s3://seldtune/data/flat

A plugin is one file that is whole by itself: the models that were built from its parts take it along. So it imports
nothing of `infra`, and a stopper has a file of its own (`patience.py`).
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from torch import Tensor, nn

from data import storage
from data.errors import UserError
from data.readers.contract import READERS, Clip, Reader, Tree
from trainables.checks import check_positive
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class Gated(Fusion):
    """What is heard, weighted by what is seen."""

    name: ClassVar[str] = "gated"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    hidden: int = 64
    """Width of what is handed on."""

    def __post_init__(self) -> None:
        check_positive(self, "fusion", "hidden")

    @property
    def depth(self) -> int:
        return 1

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return GatedFusion(audio_width, visual_width, self.hidden)


class GatedFusion(FusionModule):
    """(B, T, audio width) and (B, T, visual width) -> (B, T, hidden)."""

    def __init__(self, audio_width: int, visual_width: int, hidden: int) -> None:
        super().__init__()
        self.width_out = hidden
        self.audio = nn.Linear(audio_width, hidden)
        self.gate = nn.Linear(visual_width, hidden)

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        assert audio is not None
        assert visual is not None
        return self.audio(audio) * self.gate(visual).sigmoid()


@READERS.register
class Flat(Reader):
    """Folders `train` and `test` with `<room>_<recording>.wav`, a csv and, if there is one, an mp4 beside each."""

    name: ClassVar[str] = "flat"

    def find(self, root: str) -> Tree:
        versions = storage.list_versions(root)
        clips = []
        for wav in sorted(path for path in versions if path.endswith(".wav")):
            path = PurePosixPath(wav)
            csv, video = (str(path.with_suffix(ending)) for ending in (".csv", ".mp4"))
            if path.parent.name in ("train", "test") and csv in versions:
                room = path.stem.partition("_")[0]
                seen = video if video in versions else None
                clips.append(Clip(path.stem, room, path.parent.name, wav, csv, seen))
        if not clips:
            raise UserError(f"{root} holds no recordings: train/<room>_<recording>.wav with its csv is expected")
        return Tree(root=root, clips=tuple(clips), faults=(), orphans=(), versions=versions)
