"""What becomes of a row of a chunk store in front of a frozen network: its vectors, its part, its record.

What is the same to the bit: a row's batches follow from the row alone and, on a CPU, one thread computes them in
float32, so that machines of one kind, however loaded and however often interrupted, make the same parts. Processors
that add in another order, and a GPU's half precision, differ in the last places; the precision is part of the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import ray
import ray.data
import torch
from numpy.typing import NDArray
from torch import nn

from data import storage
from data.errors import UserError
from data.feeding.cutter import reaches_middle, shown_pictures
from data.stores.build import record_uri
from data.stores.chunks import Shard, Store, read_shard
from data.stores.embeddings import Part, write_part
from data.stores.rows import RawRow
from data.swaps import NUM_SWAPS, swap_pictures
from data.timing import HOP_LABELS, SAMPLES_PER_LABEL
from trainables.config import TrialConfig
from trainables.inputs.prepare import decode_picture, distinct_pictures
from trainables.networks.embedding_source import Backbone
from trainables.networks.pretrained import load_pretrained
from trainables.parts.visual.modules import BackboneModule

# Pictures that go through the network at once: what a core's caches and an accelerator's memory like.
_PICTURES_AT_ONCE = {"cpu": 4, "cuda": 256}

_READ = ["recording", "start_frame", "num_frames", "num_samples", "has_video", "frame_rate_hz", "frames"]


@dataclass(frozen=True)
class Job:
    """What every actor is told. Picklable."""

    store: Store
    root: str
    config: TrialConfig
    precision: str


@dataclass(frozen=True)
class RowTask:
    """One row of the chunk store."""

    key: str
    split: str
    shard: Shard
    row: int
    seconds: float


@dataclass(frozen=True)
class PartRecord:
    """What a finished task left."""

    part: Part

    @property
    def shards(self) -> tuple[Shard, ...]:
        return (self.part.shard,)

    def to_json(self) -> str:
        return json.dumps(asdict(self.part), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PartRecord:
        fields = json.loads(text)
        return cls(Part(fields["recording"], fields["start_frame"], Shard(**fields["shard"])))


class Embedder:
    """The network, loaded, and what it does with a row. One in each actor, where calls name their tasks by number."""

    def __init__(self, job: Job, tasks: Sequence[RowTask] = ()) -> None:
        self._job = job
        self._tasks = tasks
        torch.set_num_threads(1)
        # Convolutions in the precision that the key says, on every GPU.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = load_encoder(job.config).to(self._device)
        self._half = job.precision == "fp16"
        if self._half and self._device.type == "cpu":
            raise UserError("--precision fp16 needs a GPU, and there is none here; leave it out")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (number,) = batch["item"]
        try:
            key, record = self.embed_row(self._tasks[int(number)])
        except UserError as error:
            # Of an error raised in an actor, Ray hands on the text of a traceback and not the error.
            return {"key": [""], "record": [str(error)]}
        return {"key": [key], "record": [record.to_json()]}

    def embed_row(self, task: RowTask) -> tuple[str, PartRecord]:
        """Compute a row's embeddings and leave its part and its record; the task's key and the record."""
        (row,) = read_shard(self._job.store, task.shard, _READ, [task.row])
        vectors, places = embed_row(row, self._job.config, self._look)
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{row['recording']}: the network's outputs do not fit float16 ({self._job.precision}); "
                "are these its weights? Try --precision fp32"
            )
        part = write_part(self._job.root, task.split, row["recording"], row["start_frame"], vectors, places)
        record = PartRecord(part)
        storage.write_bytes(record_uri(self._job.root, task.key), record.to_json().encode())
        return task.key, record

    def _look(self, pictures: NDArray[np.uint8]) -> NDArray[np.float16]:
        at_once = max(1, _PICTURES_AT_ONCE[self._device.type] // pictures.shape[1])
        with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._half):
            found = [
                self._encoder.look(torch.from_numpy(pictures[i : i + at_once]).to(self._device)).half().cpu().numpy()
                for i in range(0, len(pictures), at_once)
            ]
        return np.concatenate(found)


def embed_row(
    row: RawRow, config: TrialConfig, look: Callable[[NDArray[np.uint8]], NDArray[np.float16]]
) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """A stored row's distinct vectors (N, ...), and which of them is each entry under each swap, (entries, 8).

    Args:
        look: pictures (N, V, H, W, 3) -> (N, steps, D).
    """
    inputs = config.inputs
    stored, contents = distinct_pictures(row, inputs)
    pictures = np.stack([decode_picture(content, inputs.frame_width, inputs.frame_height) for content in contents])
    entries = _entries(row, config, len(stored))
    if not len(entries):
        return np.zeros((0, *entry_shape(config)), np.float16), np.zeros((0, NUM_SWAPS), np.int32)
    known: dict[tuple[bytes, ...], int] = {}
    todo: list[tuple[int, list[int]]] = []
    places = np.empty((len(entries), NUM_SWAPS), dtype=np.int32)
    for k in range(NUM_SWAPS):
        # A turned picture may be one that was there before; what is shown twice is computed once.
        digests = [_digest(swap_pictures(picture, k)) for picture in pictures]
        for i, shown in enumerate(entries):
            indices = stored[shown].tolist()
            place = known.setdefault(tuple(digests[j] for j in indices), len(known))
            places[i, k] = place
            if place == len(todo):
                todo.append((k, indices))
    found = []
    # Pieces of a size that follows from nothing but the row keep the memory small and the batches the same.
    step = max(1, 512 // entries.shape[1])
    for begin in range(0, len(todo), step):
        piece = todo[begin : begin + step]
        found.append(look(np.stack([swap_pictures(pictures[indices], k) for k, indices in piece])))
    vectors = np.concatenate(found)
    return vectors if backbone_of(config).of_windows else vectors[:, 0], places


def _entries(row: RawRow, config: TrialConfig, pictures: int) -> NDArray[np.int64]:
    """What each entry shows, as places among the row's pictures: (V, 1) single ones, or (W, pictures of a window)."""
    if not backbone_of(config).of_windows:
        return np.arange(pictures)[:, None]
    images, rate_hz, labels = config.inputs.window_pictures, config.inputs.frame_rate_hz, config.inputs.window_labels
    total = row["num_samples"] // SAMPLES_PER_LABEL
    # Windows whose middle the video does not reach count as unseen.
    starts = [
        start
        for start in range(0, row["num_frames"], HOP_LABELS)
        if reaches_middle(pictures, rate_hz, start, min(start + labels, total))
    ]
    return np.array([shown_pictures(start, images, rate_hz, pictures) for start in starts]).reshape(-1, images)


def _digest(picture: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(picture.tobytes(), digest_size=16).digest()


def ray_embed(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
    """The rows in Ray Data actors: one on each GPU, or on each CPU where there is none. Needs a running Ray.

    Raises:
        UserError: from inside an actor, as itself.
    """
    gpus = int(ray.cluster_resources().get("GPU", 0))
    actors = gpus or int(ray.cluster_resources().get("CPU", 1))
    dataset = ray.data.from_items(list(range(len(tasks))), override_num_blocks=len(tasks)).map_batches(
        Embedder,
        fn_constructor_args=(job, tuple(tasks)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=max(1, min(actors, len(tasks)))),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        for key, record in zip(batch["key"], batch["record"], strict=True):
            if not key:
                raise UserError(record)
            yield str(key), PartRecord.from_json(record)


def load_encoder(config: TrialConfig) -> BackboneModule:
    """The visual encoder with its weights, in evaluation mode. UserError where they do not fit."""
    encoder = build_encoder(config)
    load_pretrained(nn.ModuleDict({"visual": encoder}), config)
    return encoder.eval()


def build_encoder(config: TrialConfig) -> BackboneModule:
    """The visual encoder with random weights."""
    return backbone_of(config).build(config.width)


def backbone_of(config: TrialConfig) -> Backbone:
    """The config of the one network."""
    assert isinstance(config.visual, Backbone)
    return config.visual


def entry_shape(config: TrialConfig) -> tuple[int, ...]:
    """Of what the network makes of one entry."""
    inputs, of_windows = config.inputs, backbone_of(config).of_windows
    with torch.device("meta"):
        pictures = torch.zeros(
            1, inputs.window_pictures if of_windows else 1, inputs.frame_height, inputs.frame_width, 3
        )
        _, *shape = build_encoder(config).eval().look(pictures).shape
    return tuple(shape) if of_windows else tuple(shape[1:])
