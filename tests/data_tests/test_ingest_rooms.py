"""Rooms and folds of recordings that are taken in, and how many make a shard."""

from __future__ import annotations

import json

import pytest

from data.classes import STARSS23
from data.errors import UserError
from data.readers.contract import Clip, IngestSettings, Tree
from data.readers.hold_out import choose_val_rooms, hold_out, one_sided_classes
from data.readers.ingest import _tasks, ingest
from data.readers.starss23 import find_clips
from data.stores.chunks import Split
from support.starss23_tree import RATE_HZ


def test_rooms_to_hold_out_have_to_be_there(tree, tmp_path):
    tree.add("fold3_room1_mix001", video=False)
    with pytest.raises(UserError, match=r"'room7' is not in the training set, which has: room1"):
        ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=("room7",)))
    assert not (tmp_path / "out").exists()


def test_a_single_room_cannot_be_held_out(tree, tmp_path):
    tree.add("fold3_room1_mix001", video=False)
    built = ingest(str(tree.root), str(tmp_path / "out"))
    assert list(built.store.manifest.splits) == ["train"]
    assert built.report["remarks"] == ["no room is held out: there is no validation split, which a sweep needs"]


def test_a_store_without_training_is_remarked(tree, tmp_path):
    tree.add("fold3_room1_mix001", video=False)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=("room1",)))
    assert list(built.store.manifest.splits) == ["val"]
    assert built.report["remarks"] == [
        "every room of training is held out: there is no training split, which a sweep needs"
    ]


@pytest.mark.parametrize("clips", [1, 3, 4, 13, 14, 16, 50])
def test_recordings_are_put_together_to_about_a_shard(clips):
    # A minute of sound and video is expected to take 21.6 MB.
    found = [Clip(f"c{n:03d}", "room1", "train", f"{n}.wav", None, f"{n}.mp4") for n in range(clips)]
    versions = {path: f"{60 * RATE_HZ * 8}-1" for clip in found for path in (clip.wav, clip.video)}
    tasks = _tasks("starss23", Tree("root", tuple(found), (), (), versions), found, IngestSettings())
    assert [clip.name for task in tasks for clip in task.clips] == [clip.name for clip in found]
    sizes = [len(task.clips) * 21.6 for task in tasks]
    assert max(sizes) <= 128
    assert min(sizes) >= min(32, clips * 21.6)


def test_held_out_rooms_hold_every_class_and_about_the_share():
    hours = {f"room{n}": 1.0 for n in range(1, 11)}
    frames = {room: [10] * 13 for room in hours}
    assert len(choose_val_rooms(hours, frames)) == 1
    # Class 12 sounds in rooms 3 and 7 alone: one of them goes out, the other stays.
    frames = {room: [10] * 12 + [10 * (room in ("room3", "room7"))] for room in hours}
    (held,) = choose_val_rooms(hours, frames)
    assert held in ("room3", "room7")
    assert choose_val_rooms(dict(reversed(hours.items())), frames) == [held]
    assert choose_val_rooms({"room1": 1.0}, {"room1": [1] * 13}) == []


def test_classes_that_one_side_lacks_are_remarked_where_nobody_chose_the_rooms(tree, tmp_path, caplog):
    for room, heard in (("room1", (0, 3)), ("room2", (0, 3, 12)), ("room3", (1,))):
        tree.add(f"fold3_{room}_mix001", csv="".join(f"0,{c},0,10,0,150\n" for c in heard), video=False)
    built = ingest(str(tree.root), str(tmp_path / "chosen"))
    (held,) = built.store.manifest.splits["val"].rooms
    assert held == "room1"
    told = (
        "validation lacks 2 of the 13 classes that training has: male, knock; room1 was held out, choose other rooms "
        "with --val-rooms"
    )
    assert built.report["remarks"] == [told]
    assert told in caplog.messages
    assert json.loads((tmp_path / "chosen" / "report.json").read_text())["remarks"] == [told]
    named = ingest(str(tree.root), str(tmp_path / "named"), IngestSettings(val_rooms=("room3",)))
    assert named.report["remarks"] == []


def test_training_may_lack_classes_too():
    def split(frames):
        return Split(1, 0, 0.1, ("room1",), tuple(frames), (0,) * 6, ())

    sides = {"train": split([5] * 12 + [0]), "val": split([0] + [5] * 12)}
    lacks = [remark.partition(";")[0] for remark in one_sided_classes(sides, STARSS23)]
    assert lacks == [
        "validation lacks 1 of the 13 classes that training has: female",
        "training lacks 1 of the 13 classes that validation has: knock",
    ]
    assert one_sided_classes({"train": sides["train"]}, STARSS23) == []


def test_rooms_without_label_files_can_be_held_out():
    clips = tuple(Clip(f"c{n}", f"room{n}", "train", f"{n}.wav", None, None) for n in range(4))
    versions = {clip.wav: f"{60 * RATE_HZ * 8}-1" for clip in clips}
    _, held = hold_out(Tree("root", clips, (), (), versions), IngestSettings())
    assert len(held) == 1


def test_rooms_in_two_splits_are_remarked(tree, tmp_path):
    for name, folder in (("fold3_room1_mix001", "dev-train-tau"), ("fold3_room2_mix001", "dev-train-tau")):
        tree.add(name, folder, video=False)
    tree.add("fold4_room1_mix001", "dev-test-tau", video=False)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=("room2",)))
    (remark,) = built.report["remarks"]
    assert remark.startswith("in training and in another split too: room1;")


def test_folders_of_ones_own_go_by_the_fold(tree, tmp_path):
    for name in ("fold1_room1_mix001", "fold2_room2_mix001"):
        tree.add(name, "mine", video=False)
    assert [(c.name, c.split) for c in find_clips(str(tree.root)).clips] == [
        ("fold1_room1_mix001", "train"),
        ("fold2_room2_mix001", "test"),
    ]
