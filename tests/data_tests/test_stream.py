"""Ray Data: every row once, decoded in tasks, read without copies, and errors that stay readable."""

import gc
import shutil
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from data.errors import UserError
from data.feeding.cutter import Extent
from data.feeding.feed import HeldRows
from data.feeding.stream import _ReadRows, _ReadShards, materialise, read_split, rows_of
from data.feeding.streamed_split import StreamedSplit, decoded_bytes, largest_row_bytes, open_feed
from data.feeding.window_stream import WindowStream
from data.feeding.windows import Sampling, WindowSampler, evaluation_windows
from data.labels import adpit_target
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import open_store, read_index, read_shard
from data.stores.rows import HEARD, decode_flac, row_events
from data.timing import SAMPLES_PER_LABEL
from infra.bench.search.own_ray import own_ray
from support.counted_reads import Counted

SETTINGS = SynthSettings(
    train_clips=5, val_clips=1, test_clips=0, clip_s=7.0, train_rooms=2, val_rooms=1, test_rooms=1, clips_per_task=2
)


class Loudness:
    """Loudness per channel in place of features; the rest as a real preparation gives it."""

    columns = None

    def looking_at(self, reads):
        return self

    def bytes_per_label(self, has_video):
        return 7 * 2 * 4 + 6 * 5 * 13 * 4 + 4 * 8 * 3

    def __call__(self, raw):
        audio = decode_flac(raw["audio"]).astype(np.float32)
        labels = audio.shape[1] // SAMPLES_PER_LABEL
        loudness = np.abs(audio).reshape(4, labels, SAMPLES_PER_LABEL).mean(-1)[..., None]
        events = row_events(raw)
        return {
            **{name: raw[name] for name in ("recording", "room", "start_frame", "num_frames", "has_video")},
            "features": np.concatenate([loudness, loudness[1:]]).repeat(2, axis=2),
            "target": adpit_target(events, labels),
            "events": np.stack([column.astype(np.float64) for column in events.columns()], axis=1),
            "frames": np.zeros((labels, 4, 8, 3), dtype=np.uint8),
        }


prepare = Loudness()


@pytest.fixture(scope="module")
def cluster():
    import ray

    # Workers cannot import a test module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with own_ray(num_cpus=2, object_store_memory=200_000_000):
        yield ray
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return synthesise(SETTINGS, str(tmp_path_factory.mktemp("store")))


@pytest.mark.slow
def test_a_split_arrives_whole_and_ready_for_windows(cluster, store):
    rows = rows_of(materialise(read_split(store, "train", prepare)))
    names = [row["recording"] for row in rows]
    assert names == sorted(names)
    assert len(set(names)) == 5
    direct = {}
    for shard in store.split("train").shards:
        direct.update({raw["recording"]: prepare(raw) for raw in read_shard(store, shard)})
    for row in rows:
        for name in ("features", "target", "events", "frames"):
            np.testing.assert_array_equal(row[name], direct[row["recording"]][name])
    batch = next(WindowSampler(rows, Sampling(batch_size=4, swap=True)).epoch(0))
    assert batch["features"].shape == (4, 7, 30, 2)
    assert sum(b["valid"].sum() for b, _ in evaluation_windows(rows, 4)) == 5 * 70


@pytest.mark.slow
def test_rows_are_views_and_not_copies(cluster, store):
    rows = rows_of(materialise(read_split(store, "train", prepare)))
    assert not any(
        row[name].flags.owndata or row[name].flags.writeable for row in rows for name in ("features", "target")
    )


@pytest.mark.slow
def test_workers_split_the_rows_between_them(cluster, store):
    dataset = materialise(read_split(store, "train", prepare))
    shards = dataset.split(2, equal=False)
    names = [row["recording"] for shard in shards for row in rows_of(shard)]
    assert len(names) == len(set(names)) == 5


@pytest.mark.slow
def test_a_corrupted_shard_reaches_the_caller_as_one_line(cluster, store, tmp_path, capfd):
    shutil.copytree(store.root, tmp_path / "copy")
    copy = open_store(str(tmp_path / "copy"))
    path = tmp_path / "copy" / copy.split("train").shards[1].path
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    for action in (materialise, rows_of):
        with pytest.raises(UserError, match=r"is corrupted: expected SHA-256") as refused:
            action(read_split(copy, "train", prepare))
        assert type(refused.value) is UserError
        assert "\n" not in str(refused.value)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_other_errors_of_a_task_are_not_hidden(cluster, store):
    class Broken(Loudness):
        def __call__(self, raw):
            raise ZeroDivisionError("a fault of the code")

    with pytest.raises(Exception, match="a fault of the code") as raised:
        materialise(read_split(store, "val", Broken()))
    assert not isinstance(raised.value, UserError)


def test_an_unknown_split_is_refused_before_any_task(store):
    with pytest.raises(UserError, match=r"'dev'.*train, val"):
        read_split(store, "dev", prepare)


# --- rows that come one after another ---------------------------------------------------------------------------------

MANY = SynthSettings(
    train_clips=24,
    val_clips=3,
    test_clips=0,
    clip_s=3.5,
    train_rooms=3,
    val_rooms=1,
    clips_per_task=5,
    with_video=False,
)
BANDS = 2_000


class Bulky(Loudness):
    """Rows of 2 MB, so that a few fill the memory they are given."""

    def bytes_per_label(self, has_video):
        return 7 * BANDS * 4 + 6 * 5 * 13 * 4 + 4 * 8 * 3

    def __call__(self, raw):
        row = super().__call__(raw)
        return row | {"features": row["features"][..., :1].repeat(BANDS, axis=2)}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return synthesise(MANY, str(tmp_path_factory.mktemp("many")))


def streamed(store, split="train", prepare=prepare, rows=8, **more):
    row_bytes = largest_row_bytes(read_index(store, split).to_pylist(), prepare)
    return StreamedSplit(store=store, split=split, prepare=prepare, memory_bytes=rows * row_bytes, **more)


def raw_rows(store, split):
    return [raw for shard in store.split(split).shards for raw in read_shard(store, shard)]


SAMPLING = Sampling(batch_size=4, swap=True, seed=2)


@pytest.mark.slow
def test_streamed_batches_are_those_of_the_plan_for_any_number_of_workers(cluster, many):
    rows = [prepare(raw) for raw in raw_rows(many, "train")]
    planned = WindowStream(
        [Extent.of(row) for row in rows],
        [row["recording"] for row in rows],
        lambda wanted: InOrder(rows[number] for number in wanted),
        SAMPLING,
        held_rows=16,
        any_video=False,
    )
    split = streamed(many, rows=32)
    parts = [split.windows([], replace(SAMPLING, rank=rank, world_size=2), epochs=2) for rank in range(2)]
    alone = split.windows([], SAMPLING, epochs=2)
    for epoch in (1, 2):
        batches = zip(planned.epoch(epoch), alone.epoch(epoch), *(p.epoch(epoch) for p in parts), strict=True)
        for expected, got, first, second in batches:
            assert expected.keys() == got.keys()
            for name, value in expected.items():
                np.testing.assert_array_equal(got[name], value)
                np.testing.assert_array_equal(np.concatenate([first[name], second[name]]), value)


class InOrder:
    def __init__(self, rows):
        self._rows = rows

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._rows)

    def close(self):
        self._rows = iter(())


def store_bytes(ray):
    total = ray.cluster_resources()["object_store_memory"]
    return total - ray.available_resources().get("object_store_memory", 0.0)


def wait_until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_a_split_larger_than_its_memory_passes_through_it(cluster, many):
    bulky = Bulky()
    assert wait_until(lambda: store_bytes(cluster) < 1e6)
    split = streamed(many, prepare=bulky, rows=6)
    size = decoded_bytes(read_index(many, "train").to_pylist(), bulky)
    assert size >= 4 * split.memory_bytes
    most, seen = 0.0, 0
    windows = split.windows([], SAMPLING, epochs=2)
    for epoch in (1, 2):
        for batch in windows.epoch(epoch):
            seen += len(batch["valid"])
            time.sleep(0.05)
            most = max(most, store_bytes(cluster))
    assert seen == 2 * 48
    assert 0 < most <= split.memory_bytes
    windows.close()
    assert wait_until(lambda: store_bytes(cluster) < 1e6)


@pytest.mark.slow
def test_nothing_is_left_when_a_reader_stops_early(cluster, many):
    windows = streamed(many, prepare=Bulky(), rows=6).windows([], SAMPLING, epochs=50)
    batches = windows.epoch(1)
    next(batches)
    windows.close()
    del batches
    recordings = streamed(many, prepare=Bulky(), rows=6).recordings([])
    next(recordings)
    recordings.close()
    assert wait_until(lambda: store_bytes(cluster) < 1e6 and cluster.available_resources().get("CPU") == 2.0)
    with pytest.raises(RuntimeError, match="trouble"):
        fail_in_an_epoch(streamed(many, rows=6).windows([], SAMPLING, epochs=50))
    assert wait_until(lambda: store_bytes(cluster) < 1e6 and cluster.available_resources().get("CPU") == 2.0)


def fail_in_an_epoch(windows):
    try:
        for _ in windows.epoch(1):
            raise RuntimeError("trouble")
    finally:
        windows.close()


@pytest.mark.slow
def test_recordings_come_in_order_and_each_to_one_worker(cluster, many):
    held = HeldRows([prepare(raw) for raw in raw_rows(many, "val")])
    (expected,) = held.recordings([])
    split = streamed(many, "val", workers=2, rows=16)
    shares = [[row for rows in split.recordings([], rank, 2) for row in rows] for rank in range(2)]
    assert [len(part) for part in shares] == [2, 1]
    names = [row["recording"] for row in expected]
    assert [[row["recording"] for row in part] for part in shares] == [names[::2], names[1::2]]
    for row, other in zip(expected[::2], shares[0], strict=True):
        np.testing.assert_array_equal(row["features"], other["features"])
    assert split.without_distance() == held.without_distance() == []


@pytest.mark.slow
def test_a_feed_of_a_dataset_holds_its_rows(cluster, many):
    windows = open_feed(materialise(read_split(many, "train", prepare))).windows([], SAMPLING, epochs=1)
    assert isinstance(windows, WindowSampler)
    assert windows.num_windows == 48


@pytest.mark.slow
def test_a_damaged_row_reaches_the_reader_of_a_stream_as_one_line(cluster, many, tmp_path):
    shutil.copytree(many.root, tmp_path / "copy")
    copy = open_store(str(tmp_path / "copy"))
    path = tmp_path / "copy" / copy.split("train").shards[1].path
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name} is corrupted") as refused:
        list(streamed(copy).windows([], SAMPLING, epochs=1).epoch(1))
    assert "\n" not in str(refused.value)


def test_too_little_memory_for_a_stream_is_refused(many):
    with pytest.raises(UserError, match=r"'train' needs room for 4 rows of 0 MB"):
        streamed(many, rows=3).windows([], SAMPLING, epochs=1)


def test_no_more_is_read_than_is_asked_for(store, monkeypatch):
    """Bytes at the store, of a task for sound alone and of one for pictures too."""
    read = {}

    def open_counted(uri, size_bytes=None):
        return Counted(uri, read)

    monkeypatch.setattr("data.storage.open_file", open_counted)
    (*_, shard) = store.split("train").shards
    rows = read_shard(store, shard)
    sound, pictures = (
        sum(map(size, rows)) for size in (lambda r: len(r["audio"]), lambda r: sum(map(len, r["frames"])))
    )
    assert pictures > 200_000

    class Deaf(Loudness):
        columns = HEARD

    task = _ReadShards(store, (shard,), Deaf())
    assert len(list(task({"id": np.array([0])}))) == len(rows)
    assert sound <= sum(read.values()) < sound + 100_000
    read.clear()
    one = _ReadRows(store, (shard,), Deaf(), (((0, 1),),))
    assert len(list(one({"id": np.array([0])}))) == 1
    assert sum(read.values()) < len(rows[1]["audio"]) + 100_000
