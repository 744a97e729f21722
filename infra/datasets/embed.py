"""`seldtune data embed`: a frozen network looks once at every picture of a chunk store, under all eight channel swaps.

Each row of the store is one task, which leaves its part and, last, a record of it; an interrupted run does again only
the rows without one. The network is loaded once in each Ray Data actor.

Protocol: all splits are embedded, the test split among them. It is preparation of data like cutting and decoding: the
network is fixed beforehand, and neither labels nor scores are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import torch

from data import storage
from data.errors import UserError
from data.stores.build import finished, remove_others
from data.stores.chunks import MANIFEST_NAME, Store, open_store, read_index
from data.stores.embeddings import (
    FOLDER,
    Embedded,
    EmbeddingManifest,
    EmbeddingStore,
    Part,
    open_embeddings,
    write_embeddings,
)
from data.stores.progress import Progress
from data.timing import LABEL_HOP_S
from infra.cluster.join import connect
from infra.datasets.embedder import (
    Job,
    PartRecord,
    RowTask,
    backbone_of,
    build_encoder,
    entry_shape,
    load_encoder,
    ray_embed,
)
from infra.stack.settings import Settings
from trainables.config import I3d, NoAudio, ResNetConformer, TrialConfig, VisualOnly
from trainables.config.tree import override, to_flat
from trainables.networks.embedding_source import embedded
from trainables.parts.visual.backbone import Backbone
from trainables.weights.files import parse_state, read_content, weights_sha256
from trainables.weights.kinds import parse_weights

logger = logging.getLogger(f"seldtune.{__name__}")

ENCODERS: dict[str, Backbone] = {"resnet50": ResNetConformer(), "i3d": I3d()}
PRECISIONS = ("fp32", "fp16")
WEIGHTS_NAME = "weights.safetensors"
"""Random weights lie beside their embeddings, for the trials that read them."""


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
        embedded(backbone_of(config), config.inputs, store.manifest.sha256, digest, precision)
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
    load_encoder(config)  # what does not fit is refused before anything starts
    splits, computed = _make(Job(store, root, config, precision), of, run)
    manifest = EmbeddingManifest(
        of=of,
        shape=entry_shape(config),
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
    return storage.absolute(request.out or storage.join(request.data, FOLDER, of.key))


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
    named = request.weights or backbone_of(config).weights
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

    state = build_encoder(config).backbone.state_dict()
    kind = backbone_of(config).weights_kind
    logger.warning("%s has RANDOM weights (seed %s): its embeddings are good for tests alone", kind, seed)
    entries = {key: value.contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return save(entries, metadata={"kind": kind, "random_seed": str(seed)})


def _weights(config: TrialConfig, content: bytes | None) -> tuple[str, dict[str, str]]:
    """The identity of the weights, and what their file says of itself."""
    uri = backbone_of(config).weights
    if content is None:
        assert uri is not None
        content = read_content(uri, "--weights")
    what = f"--weights = {uri!r}"
    return weights_sha256(parse_weights(content, what)[1]), parse_state(content, what)[1]


def _published(root: str) -> EmbeddingStore | None:
    storage.check_root(root)
    return open_embeddings(root) if storage.exists(storage.join(root, MANIFEST_NAME)) else None


def _outcome(store: EmbeddingStore, config: TrialConfig, computed: int, started: float) -> dict[str, Any]:
    manifest = store.manifest
    plain = to_flat(TrialConfig(audio=NoAudio(), visual=type(backbone_of(config))(), fusion=VisualOnly()))
    fields = {f"visual.{name}": value for name, value in manifest.of.encoder.items() if name != "name"}
    fields |= {f"inputs.{name}": value for name, value in manifest.of.pictures.items() if f"inputs.{name}" in plain}
    weights = backbone_of(config).weights or storage.join(store.root, WEIGHTS_NAME)
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
