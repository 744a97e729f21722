"""Ray Data: every row once, decoded in tasks, read without copies, and errors that stay readable."""

import shutil
import sys

import numpy as np
import pytest

from data.errors import UserError
from data.labels import adpit_target
from data.rows import SAMPLES_PER_LABEL, decode_flac, row_events
from data.store import open_store, read_shard
from data.stream import materialise, pack_row, read_split, rows_of, unpack_rows
from data.synth import SynthSettings, synthesise
from data.windows import WindowSampler, evaluation_windows

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


def test_packing_and_unpacking_keep_a_row():
    rng = np.random.default_rng(0)
    row = {
        "recording": "r",
        "room": "room1",
        "start_frame": 600,
        "num_frames": 5,
        "has_video": False,
        "features": rng.standard_normal((7, 10, 3)).astype(np.float32)[:, ::2],
        "target": rng.standard_normal((5, 6, 5, 13)).astype(np.float32),
        "events": rng.standard_normal((9, 6)),
        "frames": np.zeros((0, 4, 8, 3), dtype=np.uint8),
    }
    (back,) = unpack_rows(pack_row(row))
    assert back.keys() == row.keys()
    for name, value in row.items():
        np.testing.assert_array_equal(back[name], value)
        if isinstance(value, np.ndarray):
            assert back[name].dtype == value.dtype
            assert back[name].shape == value.shape


@pytest.fixture(scope="module")
def cluster():
    import ray

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    # Workers cannot import a test module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=200_000_000
    )
    yield ray
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    patch.undo()


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
    batch = next(WindowSampler(rows, batch_size=4, swap=True).epoch(0))
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
