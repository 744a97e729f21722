"""Taking in many recordings and long ones, and being killed or out of room meanwhile."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from data import storage
from data.errors import UserError
from data.files.video import decode_jpeg, write_mp4
from data.geometry import angle_between_deg, unit_vector
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.scenes.mixing import render_audio
from data.scenes.sampling import scene_events
from data.scenes.synth import SynthSettings, make_scene, write_tree
from data.scenes.video import render_jpegs
from data.stores.chunks import open_store, verify
from data.stores.rows import decode_flac, row_events
from support.children import run_and_kill
from support.starss23_tree import RATE_HZ, notes_of, rows_of, write_text, write_wav


@pytest.mark.slow
def test_ten_synthetic_recordings_come_back_as_they_were_made(tmp_path):
    settings = SynthSettings(
        train_clips=6, val_clips=2, test_clips=2, clip_s=2.5, train_rooms=7, val_rooms=1, test_rooms=1
    )
    root = write_tree(settings, str(tmp_path / "tree"))
    built = ingest(str(root), str(tmp_path / "out"), IngestSettings())
    assert (built.report["faults"], built.report["remarks"]) == ([], [])
    assert set(map(str, notes_of(built).values())) == {"{}"}
    assert {name: split.clips for name, split in built.store.manifest.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    for split, clip in (("train", 0), ("train", 5), ("val", 1), ("test", 1)):
        name, scene = make_scene(settings, split, clip)
        (row,) = rows_of(built.store, name)
        np.testing.assert_array_equal(decode_flac(row["audio"]), render_audio(scene))
        taken, made = row_events(row), scene_events(scene)
        for column in ("frame", "class_index", "source"):
            np.testing.assert_array_equal(getattr(taken, column), getattr(made, column))
        apart = angle_between_deg(
            unit_vector(taken.azimuth_deg, taken.elevation_deg), unit_vector(made.azimuth_deg, made.elevation_deg)
        )
        assert apart.max() < 0.71
        assert np.abs(taken.distance_cm - made.distance_cm).max() <= 0.5
        assert len(row["frames"]) == 25
        # Pictures have been through a video of another size: alike, not equal.
        for stored, painted in zip(row["frames"], render_jpegs(scene), strict=True):
            assert np.abs(decode_jpeg(stored).astype(int) - decode_jpeg(painted)).mean() < 4


@pytest.mark.slow
def test_pictures_stay_within_one_picture_time_over_five_minutes(tree, tmp_path):
    """Each picture of a 29.97 Hz video says its number; taking every third one would be 9 frames late in the end."""
    seconds = 300.0
    name = "fold3_room1_mix001"
    write_wav(tree.path("foa", name), np.zeros((4, int(seconds) * RATE_HZ), np.int16))
    write_text(tree.path("metadata", name), "")
    path = tree.path("video", name)
    path.parent.mkdir(parents=True)
    # Bits of the number as black and white columns.
    numbers = np.arange(int(seconds * 30000 / 1001))
    bits = (numbers[:, None] >> np.arange(16)) & 1
    pictures = (np.repeat(np.repeat(255 * row, 6)[None, :, None], 48, 0).repeat(3, 2).astype(np.uint8) for row in bits)
    write_mp4(path, pictures)
    store = ingest(str(tree.root), str(tmp_path / "out")).store
    shown = []
    for row in rows_of(store):
        own = row["frames"][: row["num_frames"]]
        for content in own:
            picture = decode_jpeg(content)[:, :, 0].reshape(224, 16, 28).mean(axis=(0, 2))
            shown.append(int(((picture > 127) << np.arange(16)).sum()))
    assert len(shown) == 3000
    late = np.array(shown) * 1001 / 30000 - np.arange(3000) / 10
    assert np.abs(late).max() <= 1001 / 30000


KILLED = """
import sys, time
import data.readers.ingest
from data.readers.ingest import ingest

data.readers.ingest.SHARD_BYTES = 1

def run(function, tasks):
    for task in tasks:
        yield function(task)
        print("done", flush=True)
        time.sleep(1.0)

ingest(sys.argv[1], sys.argv[2], run=run)
"""


@pytest.mark.slow
def test_after_a_kill_the_same_call_ends_as_if_nothing_had_happened(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("data.readers.ingest.SHARD_BYTES", 1)
    for number in range(6):
        tree.add(f"fold3_room{number}_mix001", video=False, seed=number)
    out = tmp_path / "killed"
    run_and_kill(KILLED, tree.root, out, after_lines=3)
    assert not (out / "manifest.json").exists()
    assert 3 <= len(list((out / "records").iterdir())) < 6
    store = ingest(str(tree.root), str(out)).store
    assert store.manifest.sha256 == ingest(str(tree.root), str(tmp_path / "whole")).store.manifest.sha256


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_the_store_readable(tree, tmp_path):
    """On a real file system of 3 MB."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    try:
        tree.add("fold3_room1_mix001", video=False)
        out = str(small / "out")
        all_to_train = IngestSettings(val_rooms=())
        before = ingest(str(tree.root), out, all_to_train).store.manifest
        tree.add("fold3_room2_mix001", seconds=30.0, video=False)
        with pytest.raises(UserError, match=r"cannot write .*: No space left on device \(.* MB free\); make room"):
            ingest(str(tree.root), out, all_to_train)
        assert open_store(out).manifest == before
        assert verify(open_store(out)) == 1
        assert not [path for path in small.rglob("*") if ".tmp" in path.name]
        with pytest.raises(UserError, match="No space left"):
            storage.write_bytes(str(small / "file"), b"x" * 4_000_000)
    finally:
        subprocess.run(["umount", str(small)], check=True)
