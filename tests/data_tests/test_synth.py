"""Synthetic data sets: the same from the same settings, made once, and carried on after a kill."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import soundfile

from data.errors import UserError
from data.files.dcase_csv import read_events_csv
from data.readers.ingest import ingest
from data.scenes.sampling import scene_events
from data.scenes.synth import SynthSettings, clip_tasks, make_scene, synthesise, write_tree
from data.stores import build
from data.stores.build import WriteTask, write_task
from data.stores.chunks import open_store, read_shard, verify
from data.stores.rows import row_events
from support.children import run_and_kill

TINY = SynthSettings(
    train_clips=4,
    val_clips=1,
    test_clips=1,
    clip_s=3.0,
    train_rooms=2,
    val_rooms=1,
    test_rooms=1,
    clips_per_task=1,
    with_video=False,
)
SEEN = dataclasses.replace(TINY, with_video=True)


@pytest.fixture
def rendered(monkeypatch):
    """Names of the recordings whose shards are written while a test runs."""
    names = []
    write = build.write_shard

    def counted(root, split, rows):
        names.extend(row["recording"] for row in rows)
        return write(root, split, rows)

    monkeypatch.setattr(build, "write_shard", counted)
    return names


def all_rows(store):
    return {
        name: [row for shard in split.shards for row in read_shard(store, shard)]
        for name, split in store.manifest.splits.items()
    }


def test_a_data_set_holds_what_was_asked_and_verifies(tmp_path):
    store = synthesise(SEEN, str(tmp_path))
    assert verify(store) == 6
    splits = store.manifest.splits
    assert [splits[name].clips for name in ("train", "val", "test")] == [4, 1, 1]
    assert splits["train"].hours == pytest.approx(12 / 3600, abs=1e-6)
    assert sum(splits["train"].class_frames) > 50
    row = all_rows(store)["train"][0]
    assert row["num_frames"] == len(row["frames"]) == 30
    assert row["has_video"]


def test_splits_share_no_room(tmp_path):
    store = synthesise(TINY, str(tmp_path))
    rooms = [set(split.rooms) for split in store.manifest.splits.values()]
    assert [len(r) for r in rooms] == [2, 1, 1]
    assert len(set.union(*rooms)) == 4
    sizes = {make_scene(TINY, split, clip)[1].room.size_m for split in ("train", "val", "test") for clip in range(2)}
    assert len(sizes) == 4


def test_labels_in_the_store_are_the_scenes(tmp_path):
    row = all_rows(synthesise(TINY, str(tmp_path)))["val"][0]
    name, scene = make_scene(TINY, "val", 0)
    assert row["recording"] == name == "fold3_room3_mix001"
    assert not row["has_video"]
    for stored, expected in zip(row_events(row).columns(), scene_events(scene).columns(), strict=True):
        np.testing.assert_allclose(stored, expected)


def test_the_same_settings_are_made_once(tmp_path, rendered):
    first = synthesise(TINY, str(tmp_path))
    assert len(rendered) == 6
    again = synthesise(TINY, str(tmp_path))
    assert len(rendered) == 6
    assert again.manifest.sha256 == first.manifest.sha256


def test_order_and_process_of_the_tasks_do_not_matter(tmp_path):
    def backwards(function, tasks):
        return [pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(t))) for t in reversed(tasks)]

    first = synthesise(SEEN, str(tmp_path / "a"))
    other = synthesise(SEEN, str(tmp_path / "b"), run=backwards)
    assert first.manifest.sha256 == other.manifest.sha256


def test_tasks_are_of_equal_size_and_hold_every_clip_once():
    tasks = clip_tasks(SynthSettings(train_clips=40, val_clips=8, test_clips=1))
    for split, clips in (("train", 40), ("val", 8), ("test", 1)):
        shares = [task.clips for task in tasks if task.split == split]
        assert [clip for share in shares for clip in share] == list(range(clips))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len({task.key for task in tasks}) == len(tasks)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, rendered):
    def interrupted(function, tasks):
        for task in tasks[:3]:
            yield function(task)
        raise KeyboardInterrupt

    whole = synthesise(TINY, str(tmp_path / "whole"))
    rendered.clear()
    root = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        synthesise(TINY, str(root), run=interrupted)
    assert not (root / "manifest.json").exists()
    # What a kill leaves behind: a shard without its record, and half a file under a temporary name.
    third = clip_tasks(TINY)[2]
    (root / "records" / f"{third.key}.json").unlink()
    (root / "train" / ".part-dead.1.tmp.parquet").write_bytes(b"half")
    rendered.clear()
    store = synthesise(TINY, str(root))
    assert rendered == [make_scene(TINY, task.split, task.clips[0])[0] for task in clip_tasks(TINY)[2:]]
    assert store.manifest.sha256 == whole.manifest.sha256
    assert not list(root.rglob("*.tmp*"))


KILLED = """
import sys, time
from data.scenes.synth import SynthSettings, synthesise

def run(function, tasks):
    for i, task in enumerate(tasks):
        yield function(task)
        print(i, flush=True)
        time.sleep(1.0)

synthesise(SynthSettings(**{settings}), sys.argv[1], run=run)
"""


@pytest.mark.slow
def test_after_a_kill_the_same_call_ends_as_if_nothing_had_happened(tmp_path, rendered):
    root = tmp_path / "killed"
    script = KILLED.replace("{settings}", repr(dataclasses.asdict(TINY)))
    run_and_kill(script, root, after_lines=3)
    finished = {path.name for path in root.glob("records/*.json")}
    assert 3 <= len(finished) < 6
    store = synthesise(TINY, str(root))
    assert len(rendered) == 6 - len(finished)
    rendered.clear()
    assert store.manifest.sha256 == synthesise(TINY, str(tmp_path / "whole")).manifest.sha256


def test_a_missing_shard_alone_is_rendered_again(tmp_path, rendered):
    store = synthesise(TINY, str(tmp_path))
    lost = store.split("train").shards[1]
    (row,) = read_shard(store, lost)
    (tmp_path / lost.path).unlink()
    rendered.clear()
    assert synthesise(TINY, str(tmp_path)).manifest.sha256 == store.manifest.sha256
    assert rendered == [row["recording"]]


def test_other_settings_replace_the_data_only_when_they_are_whole(tmp_path):
    root = str(tmp_path)
    old = synthesise(TINY, root)
    other = dataclasses.replace(TINY, seed=7)

    def broken(function, tasks):
        yield function(tasks[0])
        raise RuntimeError("the lights went out")

    def may_replace(there, differences):
        assert (there.manifest, differences) == (old.manifest, "seed was 0, now 7")

    with pytest.raises(UserError, match=r"holds other data .*seed was 0, now 7; .* --replace"):
        synthesise(other, root)
    with pytest.raises(RuntimeError):
        synthesise(other, root, broken, may_replace)
    assert open_store(root).manifest.sha256 == old.manifest.sha256
    assert verify(open_store(root)) == 6
    new = synthesise(other, root, may_replace=may_replace)
    assert open_store(root).manifest.sha256 == new.manifest.sha256 != old.manifest.sha256
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.parquet")} == {f.path for f in new.files()}
    assert {p.stem for p in (tmp_path / "records").iterdir()} == {task.key for task in clip_tasks(other)}


def test_data_from_elsewhere_is_not_overwritten(tmp_path):
    store = synthesise(TINY, str(tmp_path))
    foreign = dataclasses.replace(store.manifest, source="starss23")
    (tmp_path / "manifest.json").write_text(foreign.to_json())
    with pytest.raises(UserError, match="'starss23'"):
        synthesise(TINY, str(tmp_path))


def test_settings_and_manifest_are_json_all_through(tmp_path):
    manifest = synthesise(TINY, str(tmp_path)).manifest
    assert json.loads(manifest.to_json())["settings"]["scene"]["duration_s"] == 3.0
    assert str(tmp_path) not in manifest.to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_clips", -1),
        ("val_rooms", 0),
        ("profile", "impossible"),
        ("seed", -3),
        ("clips_per_task", 0),
        ("clip_s", 0.05),
        ("clip_s", 1e9),
        ("clip_s", "6"),
        ("train_clips", "2"),
        ("train_clips", 2.9),
        ("train_clips", True),
        ("with_video", "no"),
        ("seed", 1.5),
        ("profile", ["easy"]),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    name = "(duration|clip)_s" if field == "clip_s" else field
    with pytest.raises(UserError, match=f"{name}(?: = |.*'impossible')"):
        dataclasses.replace(TINY, **{field: value})


def test_tasks_can_be_rendered_one_by_one(tmp_path):
    task = clip_tasks(TINY)[0]
    key, record = write_task(WriteTask(str(tmp_path), task, 13))
    (shard,) = record.shards
    assert key == task.key
    assert (tmp_path / shard.path).stat().st_size == shard.bytes
    assert [one["recording"] for one in record.recordings] == ["fold3_room1_mix001"]


def test_a_broken_record_of_a_task_is_named(tmp_path):
    record = tmp_path / "records" / f"{clip_tasks(TINY)[0].key}.json"
    record.parent.mkdir()
    for content in ("", "{}", "[]"):
        record.write_text(content)
        with pytest.raises(UserError, match=rf"{record} is not as .*; delete it, and give the same command again"):
            synthesise(TINY, str(tmp_path))


def test_a_tree_has_the_layout_and_formats_of_starss23(tmp_path):
    settings = dataclasses.replace(TINY, train_clips=1)
    write_tree(settings, str(tmp_path))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert found == [
        "foa_dev/dev-test-synth/fold4_room4_mix001.wav",
        "foa_dev/dev-train-synth/fold3_room1_mix001.wav",
        "foa_dev/dev-val-synth/fold3_room3_mix001.wav",
        "metadata_dev/dev-test-synth/fold4_room4_mix001.csv",
        "metadata_dev/dev-train-synth/fold3_room1_mix001.csv",
        "metadata_dev/dev-val-synth/fold3_room3_mix001.csv",
        "synthetic.json",
    ]
    info = soundfile.info(tmp_path / found[1])
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (24_000, 4, "PCM_16", 72_000)
    labels = read_events_csv(tmp_path / found[4])
    expected = scene_events(make_scene(settings, "train", 0)[1])
    np.testing.assert_allclose(labels.azimuth_deg, expected.azimuth_deg, atol=0.51)
    assert not np.isnan(labels.distance_cm).any()


def test_a_tree_is_taken_in_with_the_splits_that_it_was_made_with(tmp_path):
    write_tree(TINY, str(tmp_path / "tree"))
    taken = ingest(str(tmp_path / "tree"), str(tmp_path / "taken"), trust_labels=True)
    made = synthesise(TINY, str(tmp_path / "made"))
    rooms = {name: split.rooms for name, split in made.manifest.splits.items()}
    assert {name: split.rooms for name, split in taken.store.manifest.splits.items()} == rooms
    assert not [remark for remark in taken.report["remarks"] if "held out" in remark]


@pytest.mark.slow
def test_a_trees_videos_are_like_starss23s(tmp_path):
    import av

    settings = dataclasses.replace(SEEN, train_clips=1, val_clips=0, test_clips=0, clip_s=1.0)
    write_tree(settings, str(tmp_path))
    (path,) = tmp_path.glob("video_dev/dev-train-synth/*.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (1920, 960)
        assert float(stream.average_rate) == pytest.approx(29.97, abs=0.01)
        assert sum(1 for _ in container.decode(stream)) == 29


TREE_KILLED = """
import sys, time
from pathlib import Path
from data.scenes import synth

videos, write_mp4 = [], synth.write_mp4

def half_of_the_third(path, pictures):
    videos.append(path)
    if len(videos) == 3:
        Path(path).write_bytes(b"half")
        print("in the middle", flush=True)
        time.sleep(60)
    write_mp4(path, pictures)

synth.write_mp4 = half_of_the_third
synth.write_tree(synth.SynthSettings(**{settings}), sys.argv[1])
"""


@pytest.mark.slow
def test_a_tree_after_a_kill_ends_as_if_nothing_had_happened(tmp_path):
    settings = dataclasses.replace(SEEN, train_clips=4, val_clips=0, test_clips=0, clip_s=2.0)
    script = TREE_KILLED.replace("{settings}", repr(dataclasses.asdict(settings)))
    run_and_kill(script, tmp_path / "killed", after_lines=1)
    ends = [len(list((tmp_path / "killed").rglob(f"*{end}"))) for end in (".wav", ".csv", ".mp4")]
    assert ends == [3, 3, 3]
    trees = [write_tree(settings, str(tmp_path / name)) for name in ("killed", "whole")]
    killed, whole = ({p.relative_to(t): p.read_bytes() for p in t.rglob("*") if p.is_file()} for t in trees)
    assert killed == whole
    assert len(whole) == 13


def test_a_tree_of_other_settings_is_not_mixed_with_ours(tmp_path):
    write_tree(dataclasses.replace(TINY, train_clips=1), str(tmp_path))
    with pytest.raises(UserError, match=r"holds scenes of other settings .*synthetic\.json.*another folder"):
        write_tree(TINY, str(tmp_path))


def test_a_tree_in_the_home_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    asked = []
    assert write_tree(TINY, "~/tree", run=lambda _write, clips: asked.extend(clips) or []) == tmp_path / "home" / "tree"
    assert {clip.root for clip in asked} == {str(tmp_path / "home" / "tree")}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
