"""Which store of embeddings a trial reads in place of pictures, and whether it is one of its data, network and eyes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data.errors import UserError
from data.stores.embeddings import Embedded, EmbeddingStore, open_embeddings
from data.timing import HOP_LABELS, LABEL_RATE_HZ
from trainables.config import InputConfig, VisualEncoder
from trainables.parts.visual.backbone import Backbone
from trainables.weights.files import weights_sha256
from trainables.weights.kinds import read_weights


def embedded(encoder: Backbone, inputs: InputConfig, data_sha256: str, weights_sha256: str, precision: str) -> Embedded:
    """What the embeddings of a network are of."""
    structure = {name: getattr(encoder, name) for name in encoder.structure}
    pictures: dict[str, Any] = {
        "frame_width": inputs.frame_width,
        "frame_height": inputs.frame_height,
        "frame_rate_hz": inputs.frame_rate_hz,
    }
    if encoder.of_windows:
        pictures |= {"window_s": inputs.window_s, "hop_s": HOP_LABELS / LABEL_RATE_HZ}
    return Embedded(
        data_sha256=data_sha256,
        # As JSON has them, so that what was read is equal to what was written.
        encoder={"name": encoder.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in structure.items()},
        weights_sha256=weights_sha256,
        pictures=pictures,
        precision=precision,
    )


def embedding_stores(
    visuals: Iterable[VisualEncoder], inputs: InputConfig, data_sha256: str
) -> dict[str, EmbeddingStore]:
    """For each column of embeddings that the visual encoders look at, the store that they share.

    Raises:
        UserError: there is none, or they name different ones, or it holds something else than an encoder's network
            would make of this data; the first thing that differs is named.
    """
    stores: dict[str, EmbeddingStore] = {}
    weights: dict[str, str] = {}
    for part, encoder in dict.fromkeys(pair for visual in visuals for pair in _backbones(visual)):
        if encoder.embeddings is None:
            continue
        where = f"{part}.embeddings = {encoder.embeddings!r}"
        store = stores.get(encoder.embedded_as) or open_embeddings(encoder.embeddings)
        if store.root != encoder.embeddings:
            raise UserError(
                f"{where}, and {store.root!r} elsewhere: trials of a sweep share their data; name one for all"
            )
        _check_kind(where, part, encoder, inputs, data_sha256, store.manifest.of)
        assert encoder.weights is not None, "a frozen network has weights"
        if encoder.weights not in weights:
            weights[encoder.weights] = weights_sha256(read_weights(encoder.weights, f"{part}.weights")[1])
        found, wanted = weights[encoder.weights], store.manifest.of.weights_sha256
        if found != wanted:
            raise UserError(
                f"{where} was made with other weights (SHA-256 {wanted[:12]}) than {part}.weights = "
                f"{encoder.weights!r} ({found[:12]}); name those it was made with"
            )
        stores[encoder.embedded_as] = store
    for store in stores.values():
        store.check()
    return stores


def _backbones(visual: VisualEncoder) -> list[tuple[str, Backbone]]:
    """The networks of a visual encoder that can be frozen, and the part of the config that each is."""
    return [(path, member) for path, member in visual.members().items() if isinstance(member, Backbone)]


def _check_kind(
    where: str, part: str, encoder: Backbone, inputs: InputConfig, data_sha256: str, there: Embedded
) -> None:
    """UserError unless they are of this data, network and pictures."""
    wanted = embedded(encoder, inputs, data_sha256, there.weights_sha256, there.precision)
    if wanted.data_sha256 != there.data_sha256:
        raise UserError(
            f"{where} is of the data {there.data_sha256[:12]}, not of {wanted.data_sha256[:12]}; "
            "make embeddings of this data with `seldtune data embed`"
        )
    for group, ours, theirs in ((part, wanted.encoder, there.encoder), ("inputs", wanted.pictures, there.pictures)):
        for name in {**ours, **theirs}:
            if ours.get(name) != theirs.get(name):
                raise UserError(
                    f"{where} was made with {group}.{name} = {theirs.get(name)!r}, not {ours.get(name)!r}; change "
                    f"{group}.{name}, or make embeddings of your own with `seldtune data embed`"
                )
    if wanted.swaps != there.swaps:
        raise UserError(f"{where} was made with other channel swaps; make it anew with `seldtune data embed`")
