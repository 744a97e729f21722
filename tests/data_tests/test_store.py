"""The chunk store: rows that cut and join without loss, a manifest that is the data's identity, honest errors."""

import dataclasses
import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data import storage
from data.errors import UserError
from data.files.video import encode_jpeg
from data.labels import Events
from data.stores.chunks import (
    open_store,
    read_index,
    read_shard,
    verify,
    write_manifest,
)
from data.stores.rows import HEARD, cut_rows, decode_flac, decode_shard, encode_shard, labels_per_class, row_events
from support.stores import publish


def recording(seconds=70.0, seed=0, with_video=True):
    rng = np.random.default_rng(seed)
    audio = (rng.standard_normal((4, int(seconds * 24_000))) * 1000).astype(np.int16)
    frame = np.arange(0, int(seconds * 10), 3)
    events = Events.build(frame, frame % 13, frame % 2, frame % 360 - 180.0, frame % 90, frame + 100.0)
    grey = [encode_jpeg(np.full((224, 448, 3), c, np.uint8)) for c in range(8)]
    pictures = [grey[i % 8] for i in range(int(seconds * 10))] if with_video else []
    return audio, events, pictures


def small_store(root, seconds=7.0):
    audio, events, pictures = recording(seconds)
    rows = cut_rows("fold3_room1_mix001", "room1", audio, events, pictures)
    return publish(root, {"train": [rows]}, {"seed": 1})


def test_rows_own_a_minute_and_carry_a_tail():
    audio, events, pictures = recording(70.0)
    first, second = cut_rows("r", "room1", audio, events, pictures)
    assert (first["start_frame"], first["num_frames"], first["num_samples"]) == (0, 600, 625 * 2400)
    assert (second["start_frame"], second["num_frames"], second["num_samples"]) == (600, 100, 100 * 2400)
    np.testing.assert_array_equal(decode_flac(first["audio"]), audio[:, : 625 * 2400])
    np.testing.assert_array_equal(decode_flac(second["audio"]), audio[:, 600 * 2400 :])
    assert first["frames"] == pictures[:625]
    assert second["frames"] == pictures[600:]
    assert row_events(second).frame.tolist() == events.between(600, 700).frame.tolist()
    assert row_events(first).frame.max() == 624
    np.testing.assert_array_equal(row_events(first).distance_cm, events.between(0, 625).distance_cm)


def test_class_counts_leave_the_tail_out():
    audio, events, _ = recording(70.0)
    expected = np.bincount(events.class_index, minlength=13).tolist()
    assert labels_per_class(cut_rows("r", "room1", audio, events)) == expected


def test_events_past_the_end_and_a_part_of_a_label_frame_are_dropped():
    audio, events, _ = recording(2.0)
    (row,) = cut_rows("r", "room1", audio[:, : 24_000 + 999], events)
    assert row["num_frames"] == 10
    assert row_events(row).frame.max() < 10
    assert row["has_video"] is False


def test_shards_keep_rows_and_their_bytes_repeat():
    audio, events, pictures = recording(4.0)
    rows = cut_rows("r", "room1", audio, events, pictures)
    content = encode_shard(rows)
    assert content == encode_shard(rows)
    assert decode_shard(io.BytesIO(content)) == rows
    assert list(decode_shard(io.BytesIO(content), ["recording", "events"])[0]) == ["recording", "events"]


def test_a_picture_that_repeats_is_stored_once():
    audio, events, pictures = recording(10.0)
    distinct = sum(map(len, set(pictures)))
    (row,) = cut_rows("r", "room1", audio, events, pictures)
    assert len(encode_shard([row])) < len(row["audio"]) + 2 * distinct + 20_000


def test_a_store_is_read_back_and_verified(tmp_path):
    written = small_store(tmp_path)
    store = open_store(str(tmp_path))
    assert store.manifest == written.manifest
    assert store.manifest.sha256 == written.manifest.sha256
    store.check()
    assert verify(store) == 1
    (row,) = read_shard(store, store.split("train").shards[0])
    assert row["recording"] == "fold3_room1_mix001"


def test_the_manifest_is_the_identity(tmp_path):
    first, again = small_store(tmp_path / "a"), small_store(tmp_path / "b")
    assert first.manifest.sha256 == again.manifest.sha256
    other = dataclasses.replace(first.manifest, settings={"seed": 2})
    assert other.sha256 != first.manifest.sha256


def test_an_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(UserError, match=r"'val'.*train"):
        small_store(tmp_path).split("val")


def test_no_manifest_is_said(tmp_path):
    with pytest.raises(UserError, match="no data at"):
        open_store(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "{}", '{"schema_version": 1}', '{"schema_version": 1, "splits": 3}']
)
def test_what_is_no_manifest_is_said(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json"):
        open_store(str(tmp_path))


def test_a_newer_schema_is_refused(tmp_path):
    small_store(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document, "schema_version": 3}))
    with pytest.raises(UserError, match=r"version 3.*update seldtune"):
        open_store(str(tmp_path))


def test_an_older_schema_is_to_be_made_anew(tmp_path):
    small_store(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**document, "schema_version": 1}))
    with pytest.raises(UserError, match=r"version 1.*make the store anew"):
        open_store(str(tmp_path))


def test_the_index_says_what_is_in_each_row(tmp_path):
    (first, second) = read_index(small_store(tmp_path, 70.0), "train").to_pylist()
    assert (first["shard"], first["row"], first["start_frame"], first["num_frames"]) == (0, 0, 0, 600)
    assert (second["row"], second["start_frame"], second["num_frames"], second["num_labels"]) == (1, 600, 100, 100)
    assert first["num_labels"] == 625
    assert first["recording"] == second["recording"] == "fold3_room1_mix001"


def test_reading_a_row_costs_no_more_than_the_row(tmp_path, monkeypatch):
    store = small_store(tmp_path, 190.0)
    (shard,) = store.split("train").shards
    whole = read_shard(store, shard)
    assert len(whole) == 4
    read = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            content = super().read(size)
            read.append(len(content))
            return content

    monkeypatch.setattr(storage, "open_file", lambda uri, size_bytes=None: Counting(uri))
    (row,) = read_shard(store, shard, rows=[2])
    assert row == whole[2]
    footer = 80_000
    assert sum(read) < len(row["audio"]) + sum(map(len, set(row["frames"]))) + footer
    read.clear()
    (heard,) = read_shard(store, shard, HEARD, rows=[2])
    assert heard == {name: whole[2][name] for name in HEARD}
    assert sum(read) < len(row["audio"]) + footer


def test_a_damaged_part_is_found_when_only_parts_are_read(tmp_path):
    store = small_store(tmp_path, 70.0)
    (shard,) = store.split("train").shards
    path = tmp_path / shard.path
    content = bytearray(path.read_bytes())
    content[50_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"part-\w+\.parquet is corrupted"):
        read_shard(store, shard, HEARD, rows=[0])
    assert read_shard(store, shard, HEARD, rows=[1])


def test_a_missing_shard_is_named(tmp_path):
    store = small_store(tmp_path)
    (shard,) = store.split("train").shards
    (tmp_path / shard.path).unlink()
    reads = (lambda: read_shard(store, shard), lambda: read_shard(store, shard, HEARD))
    for action in (store.check, *reads, lambda: verify(store)):
        with pytest.raises(UserError, match=rf"{shard.path} is missing"):
            action()


def test_a_corrupted_shard_is_named_with_both_hashes(tmp_path):
    store = small_store(tmp_path)
    shard = store.split("train").shards[0]
    path = tmp_path / shard.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    store.check()
    with pytest.raises(
        UserError, match=rf"part-\w+\.parquet is corrupted: expected SHA-256 {shard.sha256}, got [0-9a-f]{{64}}"
    ):
        read_shard(store, shard)


def test_a_truncated_shard_is_found_without_reading_it(tmp_path):
    store = small_store(tmp_path)
    path = tmp_path / store.split("train").shards[0].path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"part-\w+\.parquet has \d+ bytes"):
        store.check()


def test_verify_finds_counts_that_differ(tmp_path):
    store = small_store(tmp_path)
    split = dataclasses.replace(store.split("train"), class_frames=(1,) * 13)
    wrong = dataclasses.replace(store, manifest=dataclasses.replace(store.manifest, splits={"train": split}))
    with pytest.raises(UserError, match="its counts differ"):
        verify(wrong)


def test_a_manifest_is_not_written_for_shards_that_are_not_there(tmp_path):
    store = small_store(tmp_path / "a")
    with pytest.raises(UserError, match="is missing"):
        write_manifest(str(tmp_path / "b"), store.manifest)
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_a_write_that_fails_leaves_the_old_bytes(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    storage.write_bytes(path, b"old")

    def no_room(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(UserError, match=r"cannot write .*file: No space left on device \(.* MB free\); make room"):
        storage.write_bytes(path, b"new")
    assert storage.read_bytes(path) == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_local_files_are_listed_sized_and_deleted(tmp_path):
    root = str(tmp_path)
    storage.write_bytes(storage.join(root, "a", "b"), b"12345")
    assert storage.list_files(root) == {"a/b": 5}
    assert storage.size(f"{root}/a/b") == 5
    assert storage.exists(f"{root}/a/b")
    storage.delete(f"{root}/a/b")
    storage.delete(f"{root}/a/b")
    assert not storage.exists(f"{root}/a/b")
    assert storage.list_files(f"{root}/none") == {}
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{root}/a/b")


def test_files_that_are_being_written_are_not_listed(tmp_path, monkeypatch):
    root, during = str(tmp_path), []
    storage.write_bytes(f"{root}/a/whole.json", b"{}")
    # Called when all bytes are there under the temporary name.
    monkeypatch.setattr("os.fsync", lambda _: during.append((len(list((tmp_path / "a").iterdir())), *seen())))

    def seen():
        return list(storage.list_files(root)), list(storage.list_versions(root))

    storage.write_bytes(f"{root}/a/other.json", b"{}")
    storage.write_new(f"{root}/a/new.json", b"{}")
    whole, other, new = "a/whole.json", "a/other.json", "a/new.json"
    assert during[0] == (2, [whole], [whole])
    assert [sorted(one) if isinstance(one, list) else one for one in during[1]] == [3, *2 * [[other, whole]]]
    assert sorted(storage.list_files(root)) == [new, other, whole]

    (tmp_path / "a" / ".half.123.tmp.json").write_bytes(b"{")
    assert storage.list_files(root, half_written=True).keys() - {new, other, whole} == {"a/.half.123.tmp.json"}
    storage.remove_half_written(tmp_path)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["new.json", "other.json", "whole.json"]


def test_files_that_go_while_they_are_listed_are_not_listed(tmp_path, monkeypatch):
    storage.write_bytes(f"{tmp_path}/stays", b"12")
    named = [tmp_path / "gone", tmp_path / "stays"]
    monkeypatch.setattr("pathlib.Path.rglob", lambda _path, _pattern: iter(named))
    assert storage.list_files(str(tmp_path)) == {"stays": 2}


@pytest.mark.parametrize("uri", ["gs://bucket/x", "s3:///x"])
def test_places_that_cannot_be_are_refused(uri):
    with pytest.raises(UserError, match=re.escape(uri)):
        storage.check_root(uri)


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        storage.check_root(str(tmp_path / "file"))
    for write in (storage.write_bytes, storage.write_new):
        for below in ("below", "further/below"):
            with pytest.raises(UserError, match=r"cannot write .*below: Not a directory; choose a folder"):
                write(str(tmp_path / "file" / below), b"x")


def test_threads_that_write_one_file_at_a_time_do_not_meet(tmp_path, monkeypatch):
    """All have written before the first one gives the file its name."""
    together, replace = threading.Barrier(4), storage.os.replace

    def after_all(source, target):
        together.wait()
        replace(source, target)

    monkeypatch.setattr("data.storage.os.replace", after_all)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: storage.write_bytes(f"{tmp_path}/file", b"%d" % number * 9), range(4)))
    assert storage.read_bytes(f"{tmp_path}/file") in [b"%d" % number * 9 for number in range(4)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_places_in_the_home_are_one_place(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    assert storage.absolute("~/x") == str(tmp_path / "home" / "x")
    for uri in ("~/x/a", "file://~/x/b"):
        storage.write_bytes(uri, b"1")
    assert storage.list_files("~/x") == storage.list_files("file://~/x") == {"a": 1, "b": 1}
    store = small_store("~/store")
    assert open_store("~/store").root == str(tmp_path / "home" / "store")
    assert verify(store) == verify(open_store("file://~/store")) == 1
    assert list((tmp_path / "work").iterdir()) == []


def test_a_manifest_that_is_a_folder_is_said(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UserError, match=r"manifest\.json is no text file; delete it and make the store anew"):
        open_store(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot write .*manifest\.json: Is a directory"):
        small_store(tmp_path)


def test_a_version_in_other_words_is_told_from_the_number(tmp_path):
    small_store(tmp_path)
    manifest = tmp_path / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "schema_version": str(document["schema_version"])}))
    with pytest.raises(UserError, match=r"has schema version '(\d)', this seldtune reads \1; make the store anew"):
        open_store(str(tmp_path))
