"""`seldtune data embed`: a frozen network looks once at every picture of a chunk store, under all eight channel swaps.

Each row of the store is one task, which leaves its part and, last, a record of it; an interrupted run does again only
the rows without one. The network is loaded once in each Ray Data actor.

Protocol: all splits are embedded, the test split among them. It is preparation of data like cutting and decoding: the
network is fixed beforehand, and neither labels nor scores are read.

What is the same to the bit: a row's batches follow from the row alone and, on a CPU, one thread computes them in
float32, so that machines of one kind, however loaded and however often interrupted, make the same parts. Processors
that add in another order, and a GPU's half precision, differ in the last places; the precision is part of the key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import ray
import ray.data
import torch
from numpy.typing import NDArray
from torch import nn

from data import storage
from data.build import Progress, finished, record_uri, remove_others
from data.embeddings import (
    FOLDER,
    Embedded,
    EmbeddingManifest,
    EmbeddingStore,
    Part,
    open_embeddings,
    write_embeddings,
    write_part,
)
from data.errors import UserError
from data.labels import LABEL_HOP_S
from data.rows import RawRow
from data.store import MANIFEST_NAME, Shard, Store, open_store, read_index, read_shard
from data.swaps import NUM_SWAPS, swap_frames
from data.windows import HOP_FRAMES, OF_WINDOWS, shown_frames
from infra.ray_cluster import connect
from infra.settings import Settings
from trainables.config import I3d, NoAudio, ResNetConformer, TrialConfig, VisualOnly
from trainables.config_tree import override, to_flat
from trainables.embedding_source import Backbone, embedded
from trainables.prepare import decode_picture, distinct_frames
from trainables.visual_encoders import BackboneEncoder, build_visual_encoder
from trainables.weights import load_pretrained, parse_state, parse_weights, read_content, weights_sha256

logger = logging.getLogger(__name__)

ENCODERS: dict[str, Backbone] = {"resnet50": ResNetConformer(), "i3d": I3d()}
PRECISIONS = ("fp32", "fp16")
WEIGHTS_NAME = "weights.safetensors"
"""Random weights lie beside their embeddings, for the trials that read them."""

# Pictures that go through the network at once: what a core's caches and an accelerator's memory like.
_PICTURES_AT_ONCE = {"cpu": 4, "cuda": 256}

_READ = ["recording", "start_frame", "num_frames", "num_samples", "has_video", "frame_rate_hz", "frames"]


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """What a user asks for."""

    data: str
    encoder: str = "resnet50"
    weights: str | None = None
    random_weights: int | None = None
    """Seed of weights that are drawn, which are good for tests alone."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `visual` and `inputs`."""
    out: str | None = None
    precision: str | None = None
    """Nothing: fp16 where the cluster has a GPU, else fp32."""


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


Run = Callable[[Job, Sequence[RowTask]], Iterable[tuple[str, PartRecord]]]
"""Embeds the rows, in any order, anywhere."""


def embed_data(request: EmbedRequest, run: Run, has_gpu: Callable[[], bool]) -> dict[str, Any]:
    """Make the embeddings of a chunk store, or find them.

    Args:
        has_gpu: whether `run` computes on one; asked only where there is something to compute.

    Returns:
        Where they are, how a trial uses them, and what it took; ready for JSON.

    Raises:
        UserError: data or weights are missing or do not fit, none are named, or the place holds something else.
    """
    started = time.monotonic()
    config, drawn = _config(request)
    store = open_store(request.data)
    digest, provenance = _weights(config, drawn)
    kinds = [
        embedded(_backbone(config), config.inputs, store.manifest.sha256, digest, precision)
        for precision in (PRECISIONS if request.precision is None else (request.precision,))
    ]
    for of in kinds:
        there = _published(_place(request, of))
        if there is not None and there.manifest.of == of:
            there.check()
            logger.info("%s: the embeddings are there already (%s)", there.root, there.manifest.sha256[:12])
            return _outcome(there, config, 0, started)
        if there is not None and there.manifest.of not in kinds:
            raise UserError(f"{there.root} holds embeddings of another kind; choose another place with --out")
    precision = request.precision or ("fp16" if has_gpu() else "fp32")
    of = next(kind for kind in kinds if kind.precision == precision)
    root = _place(request, of)
    if drawn is not None:
        storage.write_bytes(storage.join(root, WEIGHTS_NAME), drawn)
        config = override(config, {"visual.weights": storage.join(root, WEIGHTS_NAME)})
    _load(config)  # what does not fit is refused before anything starts
    splits, computed = _make(Job(store, root, config, precision), of, run)
    manifest = EmbeddingManifest(
        of=of,
        shape=_entry_shape(config),
        splits=splits,
        random_seed=request.random_weights,
        provenance=provenance,
    )
    made = write_embeddings(root, manifest)
    remove_others(root, {part.shard.path for part in manifest.parts()}, set())
    return _outcome(made, config, computed, started)


def embed_on_cluster(request: EmbedRequest, settings: Settings) -> dict[str, Any]:
    """`embed_data` on the Ray cluster of the settings, which is joined where there is something to compute."""

    def has_gpu() -> bool:
        connect(settings)
        return ray.cluster_resources().get("GPU", 0) > 0

    def run(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
        connect(settings)
        return ray_embed(job, tasks)

    return embed_data(request, run, has_gpu)


def _place(request: EmbedRequest, of: Embedded) -> str:
    return request.out or storage.join(request.data, FOLDER, of.key)


def _make(job: Job, of: Embedded, run: Run) -> tuple[dict[str, tuple[Part, ...]], int]:
    """All parts of each split, and how many vectors were computed for those that were not there."""
    tasks = _tasks(job.store, of.key)
    there = storage.list_files(job.root)
    records = {
        task.key: record
        for task in tasks
        if (record := finished(job.root, task.key, there, PartRecord.from_json)) is not None
    }
    left = [task for task in tasks if task.key not in records]
    if records and left:
        logger.info("%s: %d of %d rows are done already", job.root, len(records), len(tasks))
    progress = Progress(job.root, {task.key: task.seconds for task in left})
    computed = 0
    if left:
        for key, record in run(job, left):
            records[key] = record
            computed += record.part.shard.rows
            progress.tell(key, record.part.shard.bytes)
    splits = {
        split: tuple(records[task.key].part for task in tasks if task.split == split)
        for split in job.store.manifest.splits
    }
    return splits, computed


def _tasks(store: Store, key: str) -> list[RowTask]:
    tasks = []
    for split, content in store.manifest.splits.items():
        for entry in read_index(store, split).to_pylist():
            if entry["has_video"]:
                name = json.dumps([key, split, entry["recording"], entry["start_frame"]])
                tasks.append(
                    RowTask(
                        key=hashlib.sha256(name.encode()).hexdigest()[:32],
                        split=split,
                        shard=content.shards[entry["shard"]],
                        row=entry["row"],
                        seconds=entry["num_labels"] * LABEL_HOP_S,
                    )
                )
    if not tasks:
        raise UserError(f"{store.root} holds no video, so there is nothing to embed")
    return tasks


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
        self._encoder = _load(job.config).to(self._device)
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

    def _look(self, frames: NDArray[np.uint8]) -> NDArray[np.float16]:
        at_once = max(1, _PICTURES_AT_ONCE[self._device.type] // frames.shape[1])
        with torch.inference_mode(), torch.autocast(self._device.type, torch.float16, enabled=self._half):
            found = [
                self._encoder.look(torch.from_numpy(frames[i : i + at_once]).to(self._device)).half().cpu().numpy()
                for i in range(0, len(frames), at_once)
            ]
        return np.concatenate(found)


def embed_row(
    row: RawRow, config: TrialConfig, look: Callable[[NDArray[np.uint8]], NDArray[np.float16]]
) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """A stored row's distinct vectors (N, ...), and which of them is each entry under each swap, (entries, 8).

    Args:
        look: frames (N, V, H, W, 3) -> (N, steps, D).
    """
    inputs = config.inputs
    stored, contents = distinct_frames(row, inputs)
    pictures = np.stack([decode_picture(content, inputs.frame_width, inputs.frame_height) for content in contents])
    entries = _entries(row, config, len(stored))
    known: dict[tuple[bytes, ...], int] = {}
    todo: list[tuple[int, list[int]]] = []
    places = np.empty((len(entries), NUM_SWAPS), dtype=np.int32)
    for k in range(NUM_SWAPS):
        # A turned picture may be one that was there before; what is shown twice is computed once.
        digests = [_digest(swap_frames(picture, k)) for picture in pictures]
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
        found.append(look(np.stack([swap_frames(pictures[indices], k) for k, indices in piece])))
    vectors = np.concatenate(found)
    return vectors if isinstance(config.visual, I3d) else vectors[:, 0], places


def _entries(row: RawRow, config: TrialConfig, frames: int) -> NDArray[np.int64]:
    """What each entry shows, as places among the row's frames: (V, 1) single ones, or (W, pictures of a window)."""
    if _backbone(config).embedded_as not in OF_WINDOWS:
        return np.arange(frames)[:, None]
    inputs = config.inputs
    starts = range(0, row["num_frames"], HOP_FRAMES)
    return np.stack([shown_frames(start, inputs.window_images, inputs.frame_rate_hz, frames) for start in starts])


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


def _config(request: EmbedRequest) -> tuple[TrialConfig, bytes | None]:
    """A config whose visual encoder is the one asked for, and the file of random weights where they are."""
    if request.encoder not in ENCODERS:
        raise UserError(f"--encoder {request.encoder!r} is not known; choose one of {', '.join(ENCODERS)}")
    if request.precision not in (None, *PRECISIONS):
        raise UserError(f"--precision {request.precision!r} is not known; choose one of {', '.join(PRECISIONS)}")
    foreign = [name for name in request.fixed if name.partition(".")[0] not in ("visual", "inputs")]
    if foreign:
        raise UserError(f"--set {foreign[0]}: embeddings follow from fields of visual and inputs alone; leave it out")
    plain = TrialConfig(audio=NoAudio(), visual=ENCODERS[request.encoder], fusion=VisualOnly())
    config = override(plain, request.fixed)
    if not isinstance(config.visual, type(plain.visual)):
        raise UserError(f"--set visual.name = {config.visual.name!r}: choose the network with --encoder")
    named = request.weights or _backbone(config).weights
    if (named is None) == (request.random_weights is None):
        raise UserError(
            "name the network's weights with --weights (`seldtune weights import` brings published ones in), or, for a "
            f"test, --random-weights SEED; got {'neither' if named is None else 'both'}"
        )
    if named is not None:
        return override(config, {"visual.weights": named}), None
    torch.manual_seed(request.random_weights or 0)
    return config, _random_weights(config, request.random_weights)


def _random_weights(config: TrialConfig, seed: int | None) -> bytes:
    from safetensors.torch import save

    state = _encoder(config).backbone.state_dict()
    kind = "i3d" if isinstance(config.visual, I3d) else "resnet"
    logger.warning("%s has RANDOM weights (seed %s): its embeddings are good for tests alone", kind, seed)
    entries = {key: value.contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return save(entries, metadata={"kind": kind, "random_seed": str(seed)})


def _weights(config: TrialConfig, content: bytes | None) -> tuple[str, dict[str, str]]:
    """The identity of the weights, and what their file says of itself."""
    uri = _backbone(config).weights
    if content is None:
        assert uri is not None
        content = read_content(uri, "--weights")
    what = f"--weights = {uri!r}"
    return weights_sha256(parse_weights(content, what)[1]), parse_state(content, what)[1]


def _load(config: TrialConfig) -> BackboneEncoder:
    encoder = _encoder(config)
    load_pretrained(nn.ModuleDict({"visual": encoder}), config)
    return encoder.eval()


def _encoder(config: TrialConfig) -> BackboneEncoder:
    encoder = build_visual_encoder(config)
    assert isinstance(encoder, BackboneEncoder)
    return encoder


def _backbone(config: TrialConfig) -> Backbone:
    assert isinstance(config.visual, Backbone)
    return config.visual


def _entry_shape(config: TrialConfig) -> tuple[int, ...]:
    """Of what the network makes of one entry."""
    inputs, of_windows = config.inputs, isinstance(config.visual, I3d)
    with torch.device("meta"):
        frames = torch.zeros(1, inputs.window_images if of_windows else 1, inputs.frame_height, inputs.frame_width, 3)
        _, *shape = _encoder(config).eval().look(frames).shape
    return tuple(shape) if of_windows else tuple(shape[1:])


def _published(root: str) -> EmbeddingStore | None:
    storage.check_root(root)
    return open_embeddings(root) if storage.exists(storage.join(root, MANIFEST_NAME)) else None


def _outcome(store: EmbeddingStore, config: TrialConfig, computed: int, started: float) -> dict[str, Any]:
    manifest = store.manifest
    plain = to_flat(TrialConfig(audio=NoAudio(), visual=type(_backbone(config))(), fusion=VisualOnly()))
    fields = {f"visual.{name}": value for name, value in manifest.of.encoder.items() if name != "name"}
    fields |= {f"inputs.{name}": value for name, value in manifest.of.pictures.items() if f"inputs.{name}" in plain}
    weights = _backbone(config).weights or storage.join(store.root, WEIGHTS_NAME)
    return {
        "uri": store.root,
        "key": manifest.of.key,
        "manifest": manifest.sha256,
        "encoder": dict(manifest.of.encoder),
        "weights": weights,
        "weights_sha256": manifest.of.weights_sha256,
        "random_seed": manifest.random_seed,
        "precision": manifest.of.precision,
        "rows": len(manifest.parts()),
        "vectors": manifest.vectors,
        "computed": computed,
        "bytes": manifest.bytes,
        "seconds": round(time.monotonic() - started, 1),
        "use": [
            f"visual.name={config.visual.name}",
            f"visual.embeddings={store.root}",
            f"visual.weights={weights}",
            "visual.frozen=true",
            # A space may have other sizes than the defaults; it is refused then with the field to change.
            *(f"{name}={json.dumps(value)}" for name, value in sorted(fields.items()) if value != plain[name]),
        ],
    }
