"""Taking in trees of STARSS23's layout: what is real arrives exactly, what is odd is counted, what is bad is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.labels import adpit_target
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.stores import build
from data.stores.chunks import open_store, verify
from data.stores.rows import decode_flac, row_events
from support.starss23_tree import RATE_HZ, noise, notes_of, rows_of, write_text, write_video, write_wav

GOLDEN = Path(__file__).parents[1] / "golden" / "data_golden.npz"
SOUND_ONLY = IngestSettings(with_video=False)


def golden_csv():
    events = np.load(GOLDEN)["adpit_events"].astype(int)
    return "".join(",".join(map(str, row)) + "\n" for row in events.tolist())


def test_sound_is_bit_exact_and_labels_give_the_golden_targets(tree, tmp_path):
    audio = tree.add("fold3_room4_mix001", seconds=5.0, csv=golden_csv(), video=False)
    tree.add("fold3_room6_mix001", seconds=65.35, csv="640,1,0,-180,90,30\n", video=False, seed=1)
    store = ingest(str(tree.root), str(tmp_path / "out")).store
    (row,) = rows_of(store, "fold3_room4_mix001")
    np.testing.assert_array_equal(decode_flac(row["audio"]), audio)
    np.testing.assert_array_equal(decode_flac(row["audio"], 1000, 9000), audio[:, 1000:9000])
    golden = np.load(GOLDEN)["adpit_target"]
    np.testing.assert_allclose(adpit_target(row_events(row), 50)[:, :, :4], golden, atol=1e-6)
    first, second = rows_of(store, "fold3_room6_mix001")
    whole = np.concatenate([decode_flac(first["audio"])[:, : 60 * RATE_HZ], decode_flac(second["audio"])], axis=1)
    np.testing.assert_array_equal(whole, noise(65.35, 1)[:, : round(65.3 * RATE_HZ)])
    assert row_events(second).frame.tolist() == [40]
    assert verify(store) == 3


EXTENSIBLE = {"audio with a WAVE_EXTENSIBLE header": 1, "audio whose header names loudspeakers": 1}
IRREGULAR = {
    # name of the recording -> how it is added, and what the report has to say of it
    "fold3_room4_mix001": (
        {"csv": "0,0,0,10,0\n1,0,0,11,0\n"},
        {"csv without distances": 1},
    ),
    "fold3_room4_mix002": (
        {"csv": "0,0,0,10.5,0,150\r\n3,1,0,180,-12.25,90\r\n4,1,0,-180,0,90"},
        {"rows with decimals in their angles": 2, "csv with CRLF": 1, "csv without a last newline": 1},
    ),
    "fold3_room4_mix003": (
        {"csv": "0,0,0,10,0,150\n0,0,0,10,0,150\n0,0,1,10,0,150\n0,0,0,10,0,150\n"},
        {"exact duplicate rows dropped": 2},
    ),
    "fold3_room4_mix004": (
        {"csv": "".join(f"5,4,{i},{20 * i},0,100\n" for i in range(4))},
        {"frames with more than three events of one class": 1},
    ),
    "fold3_room4_mix005": (
        {"csv": "".join(f"7,{c},0,{20 * c},0,100\n" for c in range(5))},
        {"frames with five events or more": 1},
    ),
    "fold3_room4_mix006": (
        {"csv": "19,0,0,1,1,100\n20,0,0,1,1,100\n25,0,0,1,1,100\n"},
        {"rows past the end of the sound dropped": 2},
    ),
    "fold3_room4_mix007": ({"csv": ""}, {"csv without rows": 1}),
    "fold3_room4_mix008": ({"csv": b"\xef\xbb\xbf0,0,0,1,1,100\n\n"}, {"csv with a byte order mark": 1}),
    "fold3_room4_mix009": (
        {"format": "WAVEX"},
        EXTENSIBLE,
    ),
    "fold3_room4_mix010": ({"subtype": "FLOAT"}, {"audio rounded to 16 bit": 1}),
    "fold3_room4_mix011": ({"seconds": 2.05}, {"samples after the last label frame dropped": 1200}),
    "fold3_room21_mix001": ({"video": False}, {"recordings without video": 1}),
}
SIZE = "video of another size than 1920 x 960"


def irregular_tree(tree):
    for number, (name, (options, _)) in enumerate(IRREGULAR.items()):
        options = dict(options)
        if isinstance(options.get("csv"), bytes):
            text = options.pop("csv")
            tree.add(name, seed=number, **options)
            write_text(tree.path("metadata", name), text)
        else:
            tree.add(name, seed=number, **options)
    tree.add("fold4_room2_mix001", "dev-test-tau", seconds=3.0, video=False)
    write_video(tree.path("video", "fold4_room2_mix001", "dev-test-tau"), 1.4)
    tree.add("fold4_room2_mix002", "dev-test-tau", video=False)
    write_video(tree.path("video", "fold4_room2_mix002", "dev-test-tau"), 3.0, rate=25)
    tree.add("mix001", "", csv=None)
    write_text(tree.root / "metadata_dev" / "dev-train-tau" / "fold3_room9_mix001.csv", "")
    write_text(tree.root / "mic_dev" / "dev-train-tau" / "fold3_room4_mix001.wav", "not for us")


def test_folders_may_be_named_from_where_the_user_stands(tree, tmp_path, monkeypatch):
    """What reads and writes them stands elsewhere: Ray's workers have a working folder of their own."""
    tree.add("fold3_room4_mix001", csv="4,1,0,10,0,30\n", video=False)
    tree.add("fold3_room6_mix001", csv="4,1,0,10,0,30\n", video=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def elsewhere(write, tasks):
        monkeypatch.chdir(tmp_path / "elsewhere")
        written = list(map(write, tasks))
        monkeypatch.chdir(tmp_path)
        return written

    built = ingest(tree.root.name, "out", SOUND_ONLY, run=elsewhere)
    assert len(built.report["recordings"]) == 2
    store = open_store("out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(rows_of(store)) == 2


def test_every_irregularity_is_taken_in_and_named(tree, tmp_path):
    irregular_tree(tree)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=("room21",)))
    assert built.report["faults"] == []
    notes = notes_of(built)
    for name, (options, expected) in IRREGULAR.items():
        seen = {} if options.get("video") is False else {SIZE: 1}
        assert notes[name] == expected | seen, name
    assert notes["fold4_room2_mix001"] == {SIZE: 1, "label frames after the end of the video": 16}
    late = {"pictures after the end of the sound dropped": 10, "video at another rate than 29.97 Hz": 1}
    assert notes["fold4_room2_mix002"] == {SIZE: 1} | late
    assert built.report["remarks"] == [
        f"{tree.root}/metadata_dev/dev-train-tau/fold3_room9_mix001.csv belongs to no recording"
    ]
    splits = built.store.manifest.splits
    assert {name: split.clips for name, split in splits.items()} == {"train": 11, "val": 1, "test": 2, "eval": 1}
    assert splits["val"].rooms == ("room21",)
    assert splits["val"].clips_without_video == 1
    assert splits["eval"].class_frames == (0,) * 13
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == built.report
    assert verify(built.store) == 15
    (row,) = rows_of(built.store, "fold3_room4_mix010")
    np.testing.assert_array_equal(decode_flac(row["audio"]), noise(2.0, 9))
    # The first three of four in file order are tracks; all are kept as they are.
    (row,) = rows_of(built.store, "fold3_room4_mix004")
    assert row_events(row).azimuth_deg.tolist() == [0, 20, 40, 60]
    assert adpit_target(row_events(row), 20)[5, 3:, 0, 4].tolist() == [1, 1, 1]
    (row,) = rows_of(built.store, "fold4_room2_mix001")
    assert (row["has_video"], len(row["frames"]), row["num_frames"]) == (True, 14, 30)


def bad_tree(tree):
    """One good recording and one of each kind of fault; reason -> what it has to name."""
    tree.add("fold3_room1_mix001", video=False)
    wav = tree.path("foa", "fold3_room1_mix002")
    tree.add("fold3_room1_mix002", video=False)
    wav.write_bytes(wav.read_bytes()[:100_000])
    tree.add("fold3_room1_mix003", video=False)
    video = tree.path("video", "fold3_room1_mix003")
    video.parent.mkdir(parents=True, exist_ok=True)
    sound_in_mp4(video)
    tree.add("fold3_room1_mix004", csv="0,0,0,10,0,150\n1,0,0,left,0,150\n", video=False)
    audio = noise(1.0).T / 32768.0
    audio[12_000, 2] = np.nan
    write_wav(tree.path("foa", "fold3_room1_mix005"), audio.T, subtype="FLOAT")
    write_text(tree.path("metadata", "fold3_room1_mix005"), "")
    write_wav(tree.path("foa", "fold3_room1_mix006"), noise(1.0)[:2])
    write_text(tree.path("metadata", "fold3_room1_mix006"), "")
    tree.add("fold3_room1_mix007", csv="0,0,0,10,0,150\n\n1,13,0,20,0,150\n", video=False)
    tree.add("fold3_room1_mix008", video=False)
    tree.add("fold3_room1_mix008", "dev-train-sony", video=False)
    tree.add("fold3_room1_mix009", csv=None, video=False)
    tree.add("fold4_room1_mix010", video=False)
    tree.add("party", video=False)
    write_wav(tree.path("foa", "fold3_room1_mix011"), noise(1.0), rate=48_000)
    write_text(tree.path("metadata", "fold3_room1_mix011"), "")
    tree.add("fold3_room1_mix012", video=False)
    write_text(tree.path("video", "fold3_room1_mix012"), "no video at all")
    sony = tree.path("foa", "fold3_room1_mix008", "dev-train-sony")

    def of(kind, number):
        return tree.path(kind, f"fold3_room1_mix{number:03d}")

    fold4 = tree.path("foa", "fold4_room1_mix010")
    return {
        "fold3_room1_mix002": f"{wav} is truncated: its header announces 384,000 bytes of sound, 99,956 are there",
        "fold3_room1_mix003": f"{video} holds no video stream",
        "fold3_room1_mix004": f"{of('metadata', 4)}:2: expected numbers, got '1,0,0,left,0,150'",
        "fold3_room1_mix005": f"{of('foa', 5)} holds samples that are no numbers (NaN or infinity), the first at 0.5",
        "fold3_room1_mix006": f"{of('foa', 6)} has 2 channels",
        "fold3_room1_mix007": f"{of('metadata', 7)}:3: class 13 is unknown",
        "fold3_room1_mix008": f"2 recordings have the name fold3_room1_mix008: {sony}, {of('foa', 8)}; rename",
        "fold3_room1_mix009": f"{of('foa', 9)} has no label file metadata_dev/dev-train-tau/fold3_room1_mix009.csv",
        "fold4_room1_mix010": f"{fold4} is of fold 4, which is for test, but its folder says train; move or rename it",
        "party": f"{tree.path('foa', 'party')} is no name of a recording, such as",
        "fold3_room1_mix011": f"{of('foa', 11)} has a rate of 48000 Hz",
        "fold3_room1_mix012": f"cannot read the video {of('video', 12)}",
    }


def sound_in_mp4(path):
    """An mp4 that holds a sound and no picture."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=24_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 24_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 24_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_what_is_bad_is_named_with_file_and_line_and_the_rest_taken_in(tree, tmp_path):
    expected = bad_tree(tree)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=()))
    reasons = {fault["recording"]: fault["reason"] for fault in built.report["faults"]}
    assert reasons.keys() == expected.keys()
    for name, start in expected.items():
        assert reasons[name].startswith(start), (reasons[name], start)
    assert list(built.report["recordings"]) == ["fold3_room1_mix001"]
    assert verify(open_store(str(tmp_path / "out"))) == 1


def test_a_mended_file_is_read_again_and_nothing_else(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("data.readers.ingest.SHARD_BYTES", 1)
    out = str(tmp_path / "out")
    for number in (1, 2, 3):
        tree.add(f"fold3_room{number}_mix001", video=False, seed=number)
    csv = tree.path("metadata", "fold3_room2_mix001")
    csv.write_text("0,0,0,nowhere,0\n")
    assert len(ingest(str(tree.root), out).report["faults"]) == 1
    written = []
    write = build.write_shard
    monkeypatch.setattr(
        build, "write_shard", lambda root, split, rows: written.append(rows) or write(root, split, rows)
    )
    csv.write_text("0,0,0,10,0,100\n")
    built = ingest(str(tree.root), out)
    assert built.report["faults"] == []
    assert [row["recording"] for rows in written for row in rows] == ["fold3_room2_mix001"]
    assert sum(split.clips for split in built.store.manifest.splits.values()) == 3
    written.clear()
    assert ingest(str(tree.root), out).store.manifest == built.store.manifest
    assert not written


def test_data_that_is_replaced_is_told_with_what_differs(tree, tmp_path, caplog):
    for number in (1, 2):
        tree.add(f"fold3_room{number}_mix001", video=False, seed=number)
    out = str(tmp_path / "out")

    def taken(**settings):
        caplog.clear()
        asked = IngestSettings(val_rooms=(), **settings)
        manifest = ingest(str(tree.root), out, asked, may_replace=lambda there, differences: None).store.manifest
        return manifest.sha256[:12], [message for message in caplog.messages if "replaces" in message]

    first, told = taken()
    assert not told
    assert taken() == (first, [])
    with pytest.raises(UserError, match=rf"out holds other data \({first}\): .*with_video was true.* --replace"):
        ingest(str(tree.root), out, IngestSettings(val_rooms=(), with_video=False))
    assert open_store(out).manifest.sha256[:12] == first
    second, told = taken(with_video=False)
    differences = 'frames was {"height": 224, "rate_hz": 10.0, "wid..., now null, with_video was true, now false'
    assert told == [f"{out}: replaces the data there ({first}) with {second}: {differences}"]
    tree.add("fold3_room3_mix001", video=False, seed=3)
    third, told = taken(with_video=False)
    assert told == [f"{out}: replaces the data there ({second}) with {third}: other recordings"]


def test_what_could_not_be_read_is_tried_again_when_the_cause_lay_elsewhere(tree, tmp_path, monkeypatch):
    tree.add("fold3_room1_mix001", video=False)
    tree.add("fold3_room2_mix001", video=False)

    def unreadable(path, *_):
        raise UserError(f"{path}: the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr("data.readers.clip_files.read_foa_int16", unreadable)
        for _ in range(2):
            with pytest.raises(UserError, match="the disk does not answer"):
                ingest(str(tree.root), str(tmp_path / "out"))
    assert ingest(str(tree.root), str(tmp_path / "out")).report["faults"] == []


def test_folders_and_files_behind_links_are_taken_in(tree, tmp_path):
    tree.add("fold3_room1_mix001")
    (tmp_path / "other-disk").mkdir()
    for kind in ("video_dev", "metadata_dev"):
        (tree.root / kind).rename(tmp_path / "other-disk" / kind)
        (tree.root / kind).symlink_to(tmp_path / "other-disk" / kind)
    # A link that leads back would be followed for ever.
    (tree.root / "foa_dev" / "again").symlink_to(tree.root)
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(val_rooms=()))
    assert built.report["faults"] == []
    assert "recordings without video" not in notes_of(built)["fold3_room1_mix001"]


def test_nothing_readable_leaves_the_store_as_it_was(tree, tmp_path):
    tree.add("fold3_room1_mix001", video=False)
    out = str(tmp_path / "out")
    before = ingest(str(tree.root), out).store.manifest
    tree.path("metadata", "fold3_room1_mix001").write_text("0,0,0,nowhere,0\n")
    with pytest.raises(UserError, match=r"no recording could be read \(.*mix001\.csv:1: expected numbers"):
        ingest(str(tree.root), out)
    assert open_store(out).manifest == before
    assert verify(open_store(out)) == 1


def test_other_rates_are_resampled_on_request(tree, tmp_path):
    seconds = np.arange(48_000) / 48_000
    tone = np.stack([np.sin(2 * np.pi * 440 * seconds)] * 4) * 0.5
    write_wav(tree.path("foa", "fold3_room1_mix001"), tone, rate=48_000)
    write_text(tree.path("metadata", "fold3_room1_mix001"), "")
    built = ingest(str(tree.root), str(tmp_path / "out"), IngestSettings(resample=True))
    (row,) = rows_of(built.store)
    assert row["num_samples"] == RATE_HZ
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ) * 0.5
    np.testing.assert_allclose(decode_flac(row["audio"])[0, 500:-500] / 32768, expected[500:-500], atol=2e-3)
    assert notes_of(built)["fold3_room1_mix001"]["audio resampled"] == 1


def test_without_video_no_picture_is_read(tree, tmp_path):
    tree.add("fold3_room1_mix001", video=False)
    write_text(tree.path("video", "fold3_room1_mix001"), "not even a video")
    built = ingest(str(tree.root), str(tmp_path / "out"), SOUND_ONLY)
    assert built.report["faults"] == []
    assert not rows_of(built.store)[0]["has_video"]
    assert notes_of(built)["fold3_room1_mix001"] == {}


def test_places_that_hold_no_tree_are_refused(tmp_path):
    (tmp_path / "foo").mkdir()
    (tmp_path / "foo" / "readme.txt").write_text("x")
    with pytest.raises(UserError, match=r"foa_dev/<folder>/\*\.wav or .* are expected, found foo; name the folder"):
        ingest(str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(UserError, match="found nothing"):
        ingest(str(tmp_path / "none"), str(tmp_path / "out"))
