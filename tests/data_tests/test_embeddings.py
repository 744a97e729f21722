"""Stores of embeddings: bits that come back as they were, keys that tell things apart, errors that name the file."""

import dataclasses
import json
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from data import embeddings
from data.embeddings import (
    Embedded,
    EmbeddingManifest,
    decode_part,
    encode_part,
    open_embeddings,
    write_embeddings,
    write_part,
)
from data.errors import UserError
from data.stream import pack_row, unpack_rows
from data.swaps import NUM_SWAPS
from data.windows import WindowSampler, as_looked_at, evaluation_windows

OF = Embedded(
    data_sha256="d" * 64,
    encoder={"name": "resnet_conformer", "depths": [3, 4, 6, 3], "width": 64},
    weights_sha256="w" * 64,
    pictures={"frame_width": 448, "frame_height": 224, "frame_rate_hz": 10.0},
    precision="fp32",
)


def bits(array):
    return np.ascontiguousarray(array).view(np.uint16)


def vectors_and_places(count, shape, entries, seed=0):
    rng = np.random.default_rng(seed)
    vectors = np.abs(np.cumsum(rng.normal(0, 0.1, (count, *shape)), axis=0)).astype(np.float16)
    return vectors, rng.integers(count, size=(entries, NUM_SWAPS)).astype(np.int32)


def make(root, shape=(12,)):
    parts = [write_part(root, "train", f"r{i}", 600 * i, *vectors_and_places(9, shape, 5, seed=i)) for i in range(2)]
    manifest = EmbeddingManifest(of=OF, shape=shape, splits={"train": tuple(parts), "val": ()}, provenance={"a": "b"})
    return write_embeddings(root, manifest)


@pytest.mark.parametrize(("count", "shape", "entries"), [(40, (64,), 30), (1, (5,), 3), (7, (3, 11), 4)])
def test_every_entry_comes_back_to_the_bit(count, shape, entries):
    vectors, places = vectors_and_places(count, shape, entries)
    back = decode_part(encode_part("r", 0, vectors, places), shape)
    assert back.shape == (entries, NUM_SWAPS, *shape)
    assert back.dtype == np.float16
    np.testing.assert_array_equal(bits(back), bits(vectors[places]))


def test_every_pattern_of_bits_comes_back():
    """Zeros of both signs, subnormals, negative and infinite ones, in any order."""
    patterns = np.random.default_rng(0).permutation(np.arange(65536, dtype=np.uint16))
    vectors = patterns.view(np.float16).reshape(256, 256)
    places = np.arange(256, dtype=np.int32).reshape(32, NUM_SWAPS)
    np.testing.assert_array_equal(
        bits(decode_part(encode_part("r", 0, vectors, places), (256,))), bits(vectors[places])
    )


def test_the_same_embeddings_give_the_same_bytes():
    assert encode_part("r", 0, *vectors_and_places(9, (4,), 5)) == encode_part("r", 0, *vectors_and_places(9, (4,), 5))


def test_what_changes_slowly_takes_fewer_bytes():
    rng = np.random.default_rng(0)
    vectors = (np.abs(rng.normal(1, 0.3, 4096)) * (1 + 0.01 * rng.standard_normal((80, 4096)))).astype(np.float16)
    places = np.arange(80, dtype=np.int32).reshape(10, NUM_SWAPS)
    assert len(encode_part("r", 0, vectors, places)) < 0.55 * vectors.nbytes


def test_a_part_is_plain_parquet(tmp_path):
    store = make(str(tmp_path))
    table = pq.read_table(tmp_path / store.manifest.parts()[1].shard.path)
    assert table.column("recording").to_pylist() == ["r1"]
    assert len(table.column("changes")[0]) == 9 * 12


@pytest.mark.parametrize(
    "change",
    [
        {"data_sha256": "e" * 64},
        {"encoder": {**OF.encoder, "name": "i3d"}},
        {"encoder": {**OF.encoder, "width": 32}},
        {"encoder": {**OF.encoder, "depths": [3, 4, 23, 3]}},
        {"weights_sha256": "v" * 64},
        {"pictures": {**OF.pictures, "frame_width": 224}},
        {"pictures": {**OF.pictures, "frame_height": 112}},
        {"pictures": {**OF.pictures, "frame_rate_hz": 5.0}},
        {"pictures": {**OF.pictures, "window_s": 3.0}},
        {"precision": "fp16"},
        {"swaps": OF.swaps[:7]},
    ],
)
def test_the_key_changes_with_everything_that_numbers_follow_from(change):
    assert dataclasses.replace(OF, **change).key != OF.key


def test_the_key_survives_json():
    same = Embedded(**json.loads(json.dumps(dataclasses.asdict(OF))))
    assert (same, same.key) == (OF, OF.key)


def test_the_format_is_in_the_key(monkeypatch):
    before = OF.key
    monkeypatch.setattr(embeddings, "SCHEMA_VERSION", embeddings.SCHEMA_VERSION + 1)
    assert OF.key != before


def test_a_store_is_read_as_it_was_written(tmp_path):
    made = make(str(tmp_path))
    store = pickle.loads(pickle.dumps(open_embeddings(str(tmp_path))))
    assert store == made
    assert store.manifest.sha256 == made.manifest.sha256
    vectors, places = vectors_and_places(9, (12,), 5, seed=1)
    np.testing.assert_array_equal(bits(store.read("r1", 600)), bits(vectors[places]))
    assert store.manifest.vectors == 18
    assert store.manifest.bytes == sum(path.stat().st_size for path in tmp_path.rglob("part-*.parquet"))


def test_a_row_without_video_has_no_entries(tmp_path):
    assert make(str(tmp_path)).read("nobody", 0, has_video=False).shape == (0, NUM_SWAPS, 12)


def test_a_row_that_was_not_embedded_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no embeddings of r1 from label frame 0 on"):
        make(str(tmp_path)).read("r1", 0)


def test_a_damaged_part_is_named(tmp_path):
    store = make(str(tmp_path))
    path = tmp_path / store.manifest.parts()[0].shard.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name} is corrupted: expected SHA-256"):
        store.read("r0", 0)
    store.read("r1", 600)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"{path.name} has \d+ bytes where"):
        store.check()
    path.unlink()
    for action in (store.check, lambda: store.read("r0", 0)):
        with pytest.raises(UserError, match=rf"{path.name} is missing"):
            action()


def test_a_manifest_is_not_written_for_parts_that_are_not_there(tmp_path):
    store = make(str(tmp_path / "a"))
    with pytest.raises(UserError, match="is missing"):
        write_embeddings(str(tmp_path / "b"), store.manifest)
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_places_that_hold_no_embeddings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no manifest.json; make them with `seldtune data embed`"):
        open_embeddings(str(tmp_path))
    make(str(tmp_path))
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_text())
    for text, message in (
        (json.dumps({**document, "schema_version": 2}), "has schema version 2, this seldtune reads 1; update seldtune"),
        (json.dumps({**document, "schema_version": 0}), "make the embeddings anew"),
        (json.dumps({k: v for k, v in document.items() if k != "of"}), "is no manifest of embeddings"),
        (json.dumps({"schema_version": 1, "source": "synthetic"}), "is no manifest of embeddings"),
        ("{", "is no manifest of embeddings"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            open_embeddings(str(tmp_path))


# --- in rows and windows ----------------------------------------------------------------------------------------------


def row(labels=40, rate_hz=2.0):
    """Entries say which picture or window they are of, and under which swap."""
    count = int(labels * rate_hz / 10)
    entry = np.arange(count, dtype=np.float16)[:, None, None] + np.zeros((1, NUM_SWAPS, 2), np.float16)
    entry[..., 1] = np.arange(NUM_SWAPS)
    windows = np.arange(labels // 5, dtype=np.float16)[:, None, None, None] + np.zeros((1, NUM_SWAPS, 3, 2), np.float16)
    windows[..., 1] = np.arange(NUM_SWAPS)[:, None]
    return {
        "recording": "r",
        "room": "room1",
        "start_frame": 0,
        "num_frames": labels,
        "has_video": True,
        "features": np.zeros((7, labels, 4), np.float32),
        "target": np.zeros((labels, 6, 5, 13), np.float32),
        "events": np.zeros((0, 6)),
        "resnet_embeddings": entry,
        "i3d_embeddings": windows,
    }


def test_rows_keep_half_precision_on_their_way():
    (back,) = unpack_rows(pack_row(row()))
    for name in ("resnet_embeddings", "i3d_embeddings"):
        assert back[name].dtype == np.float16
        np.testing.assert_array_equal(back[name], row()[name])


def test_windows_find_the_embeddings_of_their_swap():
    for k in range(NUM_SWAPS):
        for batch, places in evaluation_windows([row()], 4, 30, 5, k, 2.0):
            assert batch["resnet_embeddings"].shape == (4, 6, 2)
            assert batch["i3d_embeddings"].shape == (4, 3, 2)
            assert batch["resnet_embeddings"].dtype == batch["i3d_embeddings"].dtype == np.float16
            assert (batch["resnet_embeddings"][..., 1] == k).all()
            assert (batch["i3d_embeddings"][..., 1] == k).all()
            starts = np.array([start for _, start in places])
            np.testing.assert_array_equal(batch["i3d_embeddings"][:, 0, 0], starts // 5)
            expected = np.minimum((starts / 5 + 0.5).astype(int)[:, None] + np.arange(6), 7)
            np.testing.assert_array_equal(batch["resnet_embeddings"][..., 0], expected)


def test_training_windows_mix_swaps():
    (batch,) = WindowSampler([row(100)], batch_size=15, swap=True, frame_rate_hz=2.0).epoch(0)
    ks = batch["i3d_embeddings"][:, 0, 1]
    assert len(set(ks.tolist())) > 3
    np.testing.assert_array_equal(batch["resnet_embeddings"][:, 0, 1], ks)


def test_what_is_not_looked_at_is_not_cut():
    (batch,) = WindowSampler(as_looked_at([row()], ["i3d_embeddings"]), batch_size=3).epoch(0)
    assert "i3d_embeddings" in batch
    assert "resnet_embeddings" not in batch


def test_rows_without_video_are_zero():
    blind = {**row(), "has_video": False, "resnet_embeddings": np.zeros((0, NUM_SWAPS, 2), np.float16)}
    blind["i3d_embeddings"] = np.zeros((0, NUM_SWAPS, 3, 2), np.float16)
    ((batch, _),) = evaluation_windows([row(), blind], 8, 30, frame_rate_hz=2.0)
    assert batch["has_video"].tolist() == [True, True, False, False]
    for name in ("resnet_embeddings", "i3d_embeddings"):
        assert batch[name][1].any()
        assert not batch[name][2:].any()
