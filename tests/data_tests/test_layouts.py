"""Trees as other data sets and their generators lay them out: who is in which split, in which room, and with what."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from data.errors import UserError
from data.files.class_map import read_class_map
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.readers.starss23 import find_clips
from support.starss23_tree import Tree, noise, write_text, write_wav


def written(root: Path, *paths: str) -> str:
    """Files of these names, sounds and labels with content."""
    for number, path in enumerate(paths):
        if path.endswith(".wav"):
            write_wav(root / path, noise(1.0, number))
        else:
            write_text(root / path, "0,1,0,10,0,150\n" if path.endswith(".csv") else "")
    return str(root)


def heard(*names: str) -> list[str]:
    """The sounds and label files of recordings."""
    return [f"{kind}/{name}.{end}" for name in names for kind, end in (("foa_dev", "wav"), ("metadata_dev", "csv"))]


def found(root: str) -> dict[str, tuple[str, str, bool, bool]]:
    """Recording -> split, room, whether it has labels and a video."""
    tree = find_clips(root)
    assert (tree.faults, tree.orphans) == ((), ())
    return {clip.name: (clip.split, clip.room, clip.csv is not None, clip.video is not None) for clip in tree.clips}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("dev-train", "dev-val", "dev-test"),
        ("train", "validation", "test"),
        ("Dev_Training/hall", "valid-own/hall", "testing/hall"),
    ],
)
def test_folders_say_which_split_a_fold_is_for(tmp_path: Path, train: str, val: str, test: str) -> None:
    """As in 2021, where fold 5 is validation, 6 for testing, and all others are for training."""
    names = [(train, f"fold{fold}_room1_mix001") for fold in (1, 2, 3, 4)]
    names += [(val, "fold5_room2_mix001"), (test, "fold6_room3_mix001")]
    root = written(tmp_path / "tree", *heard(*(f"{folder}/{name}" for folder, name in names)))
    splits = {name: split for name, (split, *_) in found(root).items()}
    assert [splits[name] for _, name in names] == ["train"] * 4 + ["val", "test"]
    settings = IngestSettings(with_video=False, classes=read_class_map("dcase2021"))
    built = ingest(root, str(tmp_path / "out"), settings)
    assert {name: split.clips for name, split in built.store.manifest.splits.items()} == {
        "train": 4,
        "val": 1,
        "test": 1,
    }
    assert not [remark for remark in built.report["remarks"] if "--val-rooms" in remark]


def test_links_are_followed_and_circles_of_them_are_not(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    written(root, *heard("fold3_room1_mix001", "fold4_room2_mix001"), ".git/annex/x")
    (root / "foa_dev" / "up").symlink_to(root)
    for name, to in (("near", "far"), ("far", "near")):  # a circle, without a link to a folder that it lies in
        (root / name).mkdir()
        (root / name / to).symlink_to(root / to)
    (root / "foa_dev" / ".#lock").symlink_to("user@host.1")
    assert list(found(str(root))) == ["fold3_room1_mix001", "fold4_room2_mix001"]


def test_six_folds_without_folders_are_those_of_2020(tmp_path: Path) -> None:
    names = [f"fold{fold}_room{fold}_mix001_ov1" for fold in range(1, 7)]
    paths = heard(*names)
    splits = [split for _, (split, *_) in sorted(found(written(tmp_path, *paths)).items())]
    assert splits == ["test", "val", "train", "train", "train", "train"]


@pytest.mark.parametrize(
    ("sound", "labels", "video"),
    [
        ("foa", "labels", "video"),
        ("foa", "metadata", "video"),
        ("target_noisy/foa", "metadata", "video"),
        ("FOA_dev", "Metadata_dev", "Video_dev"),
    ],
)
def test_folders_go_by_other_names(tmp_path: Path, sound: str, labels: str, video: str) -> None:
    names = ("fold1_scene0_000_mic000", "fold2_scene1_000_mic000")
    files = [
        f"{kind}/{name}.{end}" for name in names for kind, end in ((sound, "wav"), (labels, "csv"), (video, "mp4"))
    ]
    assert found(written(tmp_path, *files)) == {
        names[0]: ("train", "scene0", True, True),
        names[1]: ("test", "scene1", True, True),
    }


def test_rooms_of_one_number_in_several_sets_are_told_apart(tmp_path: Path) -> None:
    recordings = (
        ("dev-train-synth/fold1_room2_mix001", "synth-fold1-room2"),
        ("dev-train-synth/fold1_room9_mix001", "room9"),
        ("dev-train-tau/fold3_room4_mix001", "room4"),
        ("dev-test-tau/fold4_room2_mix001", "tau-room2"),
    )
    paths = [
        f"{kind}/{name}.{end}" for name, _ in recordings for kind, end in (("foa_dev", "wav"), ("metadata_dev", "csv"))
    ]
    rooms = {name: room for name, (_, room, *_) in found(written(tmp_path / "tree", *paths)).items()}
    assert rooms == {path.rpartition("/")[2]: room for path, room in recordings}
    built = ingest(
        str(tmp_path / "tree"), str(tmp_path / "out"), IngestSettings(val_rooms=("room9",), with_video=False)
    )
    assert not [remark for remark in built.report["remarks"] if "another split" in remark]


def test_rooms_numbered_anew_in_each_synthetic_fold_are_told_apart(tmp_path: Path) -> None:
    names = ("fold1_room1_mix001", "fold2_room1_mix001")
    paths = heard(*names)
    assert [room for _, room, *_ in found(written(tmp_path, *paths)).values()] == ["fold1-room1", "fold2-room1"]


def test_what_macos_leaves_beside_files_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = ("foa_dev/dev-train-tau/fold3_room1_mix001.wav", "metadata_dev/dev-train-tau/fold3_room1_mix001.csv")
    beside = [path.replace("/fold3", "/._fold3") for path in files]
    beside += ["foa_dev/.DS_Store", "foa_dev/.Trashes/fold3_room9_mix001.wav"]
    with caplog.at_level(logging.INFO, logger="seldtune"):
        assert list(found(written(tmp_path, *files, *beside))) == ["fold3_room1_mix001"]
    assert "4 files whose names begin with a dot are passed over" in caplog.text


def test_a_thousand_other_names_are_one_line_and_their_labels_no_orphans(tmp_path: Path) -> None:
    names = [f"take{number}" for number in range(5)]
    paths = [
        f"{kind}/dev-train-own/{name}.{end}"
        for name in names
        for kind, end in (("foa_dev", "wav"), ("metadata_dev", "csv"))
    ]
    root = written(tmp_path / "tree", *paths)
    assert find_clips(root).orphans == ()
    said = (
        r"take0\.wav is no name of a recording, such as fold3_room21_mix001\.wav; rename it \(5 recordings are so\)\)$"
    )
    with pytest.raises(UserError, match=said):
        ingest(root, str(tmp_path / "out"))


def test_a_split_of_which_nothing_can_be_read_is_not_lost_by_the_way(tmp_path: Path) -> None:
    names = ("fold3_room1_mix001", "fold3_room2_mix001", "fold4_room3_mix001")
    paths = heard(*names)
    root = written(tmp_path / "tree", *paths)
    write_text(tmp_path / "tree" / "metadata_dev" / f"{names[2]}.csv", "1_0,1,0,10,0,150\n")
    with pytest.raises(
        UserError, match=r"none of the 1 recordings for test \(room3\) could be read; mend what is named above"
    ):
        ingest(root, str(tmp_path / "out"), IngestSettings(with_video=False))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_each_data_set_has_its_own_folds(tmp_path: Path) -> None:
    """A set of six folds beside STARSS23, whose own mean what they did."""
    names = [
        "dev-train-sony/fold3_room1_mix001",
        "dev-test-sony/fold4_room2_mix001",
        "dev-train-sony/fold4_room3_mix001",
    ]
    names += [f"mine/fold{fold}_room{10 + fold}_mix001" for fold in (1, 2, 6)] + ["other/fold1_room20_mix001"]
    paths = heard(*names)
    tree = find_clips(written(tmp_path, *paths))
    assert [fault.recording for fault in tree.faults] == ["fold4_room3_mix001"]
    assert {clip.wav.partition("/")[2].rpartition(".")[0]: clip.split for clip in tree.clips} == {
        names[0]: "train",
        names[1]: "test",
        "mine/fold1_room11_mix001": "test",
        "mine/fold2_room12_mix001": "val",
        "mine/fold6_room16_mix001": "train",
        "other/fold1_room20_mix001": "train",
    }


def test_a_tree_that_grows_keeps_the_rooms_that_are_held_out(tmp_path: Path) -> None:
    names = [f"fold3_room{room}_mix00{mix}" for room, mix in ((1, 1), (2, 1), (2, 2))]
    paths = heard(*names)
    root, settings = written(tmp_path / "tree", *paths), IngestSettings(with_video=False)
    held = ingest(root, str(tmp_path / "out"), settings).store.manifest.splits["val"].rooms
    more = [f"fold3_room{room}_mix00{mix}" for room in (3, 4) for mix in (1, 2, 3)]
    written(
        tmp_path / "tree",
        *heard(*more),
    )
    grown = ingest(root, str(tmp_path / "out"), settings).store.manifest.splits
    assert (grown["val"].rooms, grown["train"].clips + grown["val"].clips) == (held, 9)


def test_a_link_that_leads_nowhere_is_named_with_where_it_points(tmp_path):
    tree = Tree(tmp_path / "tree")
    tree.add("fold3_room1_mix001", video=False)
    (tree.root / "foa_dev" / "lost.wav").symlink_to("/gone/lost.wav")
    (tree.root / "foa_dev" / "round.wav").symlink_to("round.wav")
    (tree.root / "video_dev").symlink_to("/gone/video_dev")
    (tree.root / "foa_dev" / ".#lock").symlink_to("user@host.1")
    faults = ingest(str(tree.root), str(tmp_path / "out")).report["faults"]
    assert [(fault["recording"], fault["reason"].partition(";")[0]) for fault in faults] == [
        ("lost", f"{tree.root}/foa_dev/lost.wav is a link to /gone/lost.wav, where nothing is"),
        ("round", f"{tree.root}/foa_dev/round.wav is a link to round.wav, where nothing is"),
        ("video_dev", f"{tree.root}/video_dev is a link to /gone/video_dev, where nothing is"),
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "foa_dev").symlink_to("/gone/foa_dev")
    with pytest.raises(UserError, match="found foa_dev, a link to /gone/foa_dev where nothing is; name the folder"):
        ingest(str(empty), str(tmp_path / "none"))
