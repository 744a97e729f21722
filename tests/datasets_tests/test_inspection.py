"""Inspection of a store: numbers that are known beforehand, and a picture that shows what the rows hold."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.classes import STARSS23
from data.errors import UserError
from data.files.video import encode_jpeg
from data.geometry import angle_between_deg, unit_vector
from data.labels import Events
from data.stores.chunks import Store, open_store
from data.stores.rows import cut_rows
from infra.datasets import rows
from infra.datasets.inspection import describe, inspect_store, show, sound_levels, spread
from infra.datasets.picture import busiest, busy_start, class_style, directions, read_stretch, tracks
from infra.datasets.rows import read_rows, rows_of_recording
from support.stores import publish
from trainables.inputs.features import FeatureExtractor

RATE_HZ = 24_000
GREY = [encode_jpeg(np.full((224, 448, 3), value, np.uint8)) for value in (0, 64, 128, 255)]


def sine(seconds: float, amplitude: int = 8192) -> np.ndarray:
    """(4, N): W a sine at full period, the others silent."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    audio = np.zeros((4, len(time)), np.int16)
    audio[0] = np.rint(amplitude * np.sin(2 * np.pi * 1000 * time))
    return audio


# From 61.0 to 63.9 s three events at a time, around the seam between two rows and azimuth 180.
LONG = Events.build(
    [*range(100, 130), *range(550, 639), *range(610, 639), *range(610, 639)],
    [5] * 30 + [0] * 89 + [12] * 29 + [12] * 29,
    [0] * 177,
    [-90] * 30 + [((150 + k) + 180) % 360 - 180 for k in range(89)] + [30] * 29 + [60] * 29,
    [10] * 30 + [-20] * 89 + [40] * 58,
    [100] * 30 + [250] * 89 + [400] * 58,
)
SHORT = Events.build([0, 1, 2], [3, 3, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Train: a recording of two rows with video, and one of silence without. Val: a loud one without labels."""
    root = str(tmp_path_factory.mktemp("store"))
    pictures = [GREY[j // 10 % 4] for j in range(700)]
    long = cut_rows("fold3_room1_mix001", "room1", sine(70.0), LONG, pictures)
    silent = cut_rows("fold3_room2_mix001", "room2", np.zeros((4, RATE_HZ * 2), np.int16), SHORT)
    loud = cut_rows("fold3_room9_mix001", "room9", np.full((4, RATE_HZ), 32767, np.int16), Events.build())
    return publish(root, {"val": [loud], "train": [long, silent]}, {"seed": 1})


class TestNumbers:
    def test_counts(self, store):
        document = describe(store, read_rows(store))
        assert (document["source"], document["manifest"]) == ("synthetic", store.manifest.sha256)
        assert list(document["splits"]) == ["train", "val"]
        train, val = document["splits"]["train"], document["splits"]["val"]
        assert (train["clips"], train["rows"], train["rooms"]) == (2, 3, ["room1", "room2"])
        assert [shard["rows"] for shard in train["shards"]] == [2, 1]
        assert train["bytes"] == sum(shard.bytes for shard in store.manifest.splits["train"].shards)
        assert train["without_video"] == ["fold3_room2_mix001"]
        assert train["class_frames"][STARSS23.names[12]] == 29
        # The tail of the first row, which the second repeats, is not counted twice.
        assert train["polyphony_frames"] == [720 - 30 - 89 - 3, 30 + 89 - 29 + 3, 0, 29]
        assert val["polyphony_frames"] == [10]
        assert train["elevation_deg"] == {"min": -20, "median": 0, "max": 40}
        assert train["distance_m"] == {"min": 1.0, "median": 2.5, "max": 4.0}
        assert val["distance_m"] is None
        assert json.loads(json.dumps(document)) == document

    def test_levels(self, store):
        splits = describe(store, read_rows(store))["splits"]
        assert splits["train"]["sound_rows"] == 3
        quarter = 20 * np.log10(8192 / 32768)
        assert splits["train"]["peak_dbfs"]["max"] == pytest.approx(quarter, abs=0.01)
        assert splits["train"]["rms_dbfs"]["median"] == pytest.approx(quarter - 10 * np.log10(2), abs=0.01)
        assert splits["train"]["rms_dbfs"]["min"] == -120.0
        assert splits["train"]["clipped_share"]["max"] == 0
        assert splits["val"]["clipped_share"]["median"] == 1

    def test_clipping_counts_samples_of_all_channels_at_both_ends(self):
        audio = np.zeros((4, 100), np.int16)
        audio[2, :10], audio[1, :6] = 32767, -32768
        rms, peak, clipped = sound_levels(audio)
        assert (rms, peak) == (-120.0, -120.0)
        assert clipped == 16 / 400

    def test_unknown_values_are_left_out(self):
        assert spread([np.nan, 3.0, 1.0, np.nan]) == {"min": 1.0, "median": 2.0, "max": 3.0}
        assert spread([np.nan]) is None

    def test_only_what_is_needed_is_read(self, store, monkeypatch):
        read = []

        def spy(store, shard, columns=None, rows=None):
            read.append((shard, tuple(columns), rows))
            return original(store, shard, columns, rows)

        original = rows.read_shard
        monkeypatch.setattr(rows, "read_shard", spy)
        read_all = read_rows(store)
        assert not {"audio", "frames"} & {column for _, columns, _ in read for column in columns}
        read.clear()
        train = describe(store, read_all, sound_rows=1)["splits"]["train"]
        assert train["sound_rows"] == 1
        first = {name: store.split(name).shards[0] for name in ("train", "val")}
        assert read == [(first["train"], ("audio",), [0]), (first["val"], ("audio",), [0])]
        read.clear()
        assert describe(store, read_all, sound_rows=0)["splits"]["train"]["rms_dbfs"] is None
        assert not read

    @pytest.mark.parametrize("columns", [80, 100])
    def test_tables_fit_the_terminal(self, store, columns, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", str(columns))
        agreement = {"text": "sound and labels agree: 3.5 deg over 1,471 frames"}
        show({**describe(store, read_rows(store)), "root": "/a", "agreement": agreement, "picture": None})
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        text = "\n".join(lines)
        assert all(name in text for name in STARSS23.names)
        assert "train: no video of fold3_room2_mix001" in text
        assert "1.0 / 2.5 / 4.0" in text
        assert agreement["text"] in text
        assert not [line for line in lines if "…" in line]

    def test_of_a_recording_nothing_else_is_said(self, store, tmp_path, capsys):
        out = tmp_path / "a.png"
        document = inspect_store(store.root, recording="fold3_room1_mix001", seconds=8.0, out=out)
        assert json.loads(json.dumps(document)) == document
        whole = describe(store, read_rows(store))["splits"]["train"]["class_frames"]
        there = {name: frames for name, frames in whole.items() if frames}
        del there[STARSS23.names[3]]  # is in the other recording
        assert document["class_frames"] == there
        assert (document["seconds"], document["has_video"], document["sound_rows"]) == (70.0, True, 2)
        show(document)
        told = capsys.readouterr().out
        assert "fold3_room1_mix001 (train), 70.0 s, with video" in told
        assert str(out) in told
        assert "fold3_room2" not in told
        assert not [name for name in STARSS23.names if name in told and name not in there]


class TestStretch:
    def test_it_is_put_together_across_rows(self, store):
        rows = rows_of_recording(read_rows(store), "fold3_room1_mix001")
        stretch = read_stretch(store, rows, 590, 650)
        np.testing.assert_array_equal(stretch.audio, sine(70.0)[:, 590 * 2400 : 650 * 2400])
        wanted = LONG.between(590, 650)
        order, expected = (np.lexsort((e.azimuth_deg, e.class_index, e.frame)) for e in (stretch.events, wanted))
        for got, column in zip(stretch.events.columns(), wanted.columns(), strict=True):
            np.testing.assert_array_equal(got[order], column[expected])
        assert stretch.pictures == [GREY[j // 10 % 4] for j in range(590, 650)]
        assert (stretch.start_s, stretch.seconds) == (59.0, 6.0)

    def test_pictures_follow_their_rate(self, tmp_path):
        stored = [GREY[j % 4] for j in range(20)]
        rows = cut_rows("r", "room1", sine(4.0), Events.build(), stored, picture_rate_hz=5.0)
        made = publish(tmp_path, {"train": [rows]})
        pictures = read_stretch(made, read_rows(made), 0, 40).pictures
        assert [GREY.index(picture) for picture in pictures[:9]] == [0, 1, 1, 2, 2, 3, 3, 0, 0]
        assert pictures[39] == stored[19]

    def test_it_starts_where_it_is_busy_first(self, store):
        rows = rows_of_recording(read_rows(store), "fold3_room1_mix001")
        # Events from 55 to 63.9 s, most of them from 61 s on.
        assert busy_start(rows, 700, 200) == 440
        assert busy_start(rows, 700, 30) == 610
        assert busy_start(rows, 700, 700) == 0
        assert busy_start(rows_of_recording(read_rows(store), "fold3_room9_mix001"), 10, 10) == 0

    def test_pictures_are_of_the_busiest_instants(self, store):
        rows = rows_of_recording(read_rows(store), "fold3_room1_mix001")
        stretch = read_stretch(store, rows, 500, 700)
        chosen = busiest(stretch)
        assert 4 <= len(chosen) <= 6
        assert chosen == sorted(chosen)
        assert 110 in chosen
        assert min(np.diff(chosen)) >= 200 // 7
        blind = rows_of_recording(read_rows(store), "fold3_room2_mix001")
        assert busiest(read_stretch(store, blind, 0, 20)) == []

    def test_an_unknown_recording_lists_near_names(self, store):
        rows = read_rows(store)
        with pytest.raises(UserError, match=r"'fold3_room1_mix1' among the 3 here; near it: fold3_room1_mix001,"):
            rows_of_recording(rows, "fold3_room1_mix1")
        with pytest.raises(UserError, match="fold3_room9_mix001"):
            rows_of_recording(rows, "zzz")


@pytest.mark.parametrize(("azimuth", "elevation"), [(60, 20), (-135, -40), (180, 0)])
def test_dots_lie_where_the_sound_comes_from(azimuth, elevation):
    x, y, z = unit_vector(azimuth, elevation)
    noise = np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32) * 0.1
    noise[RATE_HZ:] *= 0.01
    audio = torch.from_numpy(noise * np.array([[1], [y], [z], [x]], np.float32))
    time, *angles, energy = directions(FeatureExtractor()(audio).numpy())
    assert len(time) == 2 * 20 * 8
    assert angle_between_deg(unit_vector(*angles), unit_vector(azimuth, elevation)).max() < 0.5
    # 40 dB quieter in the second half.
    halves = [np.median(energy[time < 160 - 8]), np.median(energy[time > 160 + 8])]
    assert 10 * np.log10(halves[0] / halves[1]) == pytest.approx(40, abs=1)


class TestTracks:
    def test_a_line_does_not_cross_the_picture(self):
        lines = tracks(LONG.between(550, 610))
        assert [len(line) for line in lines] == [30, 30]
        assert sorted(float(line.azimuth_deg[0]) for line in lines) == [-180, 150]

    def test_gaps_classes_and_events_at_once_are_lines_of_their_own(self):
        events = Events.build([0, 1, 5, 0, 1, 0, 1], [2, 2, 2, 4, 4, 4, 4], [0] * 7, [0, 1, 2, 10, 11, 60, 61], [0] * 7)
        found = sorted((int(t.class_index[0]), t.azimuth_deg.tolist()) for t in tracks(events))
        assert found == [(2, [0, 1]), (2, [2]), (4, [10, 11]), (4, [60, 61])]
        assert tracks(Events.build()) == []

    def test_classes_look_different(self):
        assert len({class_style(c) for c in range(len(STARSS23))}) == len(STARSS23)


class TestPicture:
    def test_with_video(self, store, tmp_path):
        out = tmp_path / "new" / "a.png"
        document = inspect_store(store.root, sound_rows=0, at_s=58.04, seconds=8.0, out=out)
        assert document["picture"] == {
            "path": str(out),
            "recording": "fold3_room1_mix001",
            "split": "train",
            "start_s": 58.0,
            "seconds": 8.0,
        }
        picture = Image.open(out)
        assert picture.format == "PNG"
        assert picture.width == 1280
        assert picture.height > 1100

    def test_a_place_without_picture_stays_white(self, store, tmp_path):
        """Four pictures of a quiet stretch: the second row holds one."""
        inspect_store(store.root, sound_rows=0, at_s=30, seconds=8.0, out=tmp_path / "a.png")
        picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
        assert (picture[-150:, 450:] == 255).all()
        assert (picture[-150:, :450] < 255).any()

    @pytest.mark.parametrize("recording", ["fold3_room2_mix001", "fold3_room9_mix001"])
    def test_of_silence_without_video_and_of_nothing_labelled(self, store, tmp_path, monkeypatch, recording):
        monkeypatch.chdir(tmp_path)
        shown = inspect_store(store.root, sound_rows=0, recording=recording)["picture"]
        assert shown["path"] == f"{recording}.png"
        # Shorter than what was asked for, and without the strip.
        assert shown["seconds"] < 20
        assert Image.open(io.BytesIO(Path(shown["path"]).read_bytes())).height < 1000

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"seconds": 0.0}, "a picture of 0 s shows nothing"),
            ({"seconds": float("nan")}, "a picture of nan s"),
            ({"at_s": 70.0}, r"fold3_room1_mix001 lasts 70\.0 s; 70 s is outside"),
            ({"at_s": -1.0}, "-1 s is outside"),
            ({"at_s": float("nan")}, "nan s is outside"),
            ({"out": Path("a.jpg")}, r"a\.jpg does not end in \.png"),
            ({"recording": "fold3"}, "no recording 'fold3'"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, store, asked, message):
        with pytest.raises(UserError, match=message):
            inspect_store(store.root, **asked)

    def test_none_if_not_wanted(self, store, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert inspect_store(store.root, sound_rows=0, picture=False)["picture"] is None
        assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_command_line(store, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SELDTUNE_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "80"}
        command = [sys.executable, "-m", "infra.cli", "data", "inspect", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)

    shown = run(store.root, "--recording", "fold3_room2_mix001")
    assert shown.returncode == 0, shown.stderr
    assert "fold3_room2_mix001.png" in shown.stdout
    assert (tmp_path / "fold3_room2_mix001.png").is_file()
    document = json.loads(run(store.root, "--json", "--no-picture", "--all").stdout)
    assert document["manifest"] == open_store(store.root).manifest.sha256
    refused = run(store.root, "--recording", "fold3_room1")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: there is no recording 'fold3_room1'")
    assert len(refused.stderr.splitlines()) == 1
    assert "Example: `seldtune data inspect" in " ".join(run("--help").stdout.split())
