"""Stored rows become rows that windows can be cut from."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from data.feeding.windows import Sampling, WindowSampler, evaluation_windows
from data.labels import Events, adpit_target
from data.stores.rows import cut_rows
from trainables.config import InputConfig
from trainables.inputs import prepare
from trainables.inputs.features import FeatureExtractor
from trainables.inputs.prepare import PrepareRow, decode_picture

INPUTS = InputConfig(hop=300, n_mels=32, frame_width=64, frame_height=32, frame_rate_hz=2.0)


def jpeg(brightness: int, width: int = 448, height: int = 224) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (brightness, 0, 255 - brightness)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def raw_row(labels: int = 40, extra_samples: int = 777, shown: list[bytes] | None = None) -> dict:
    """One row whose picture j has brightness 4 j."""
    rng = np.random.default_rng(labels)
    audio = rng.integers(-20000, 20000, (4, labels * 2400 + extra_samples), dtype=np.int16)
    events = Events.build([0, 3, 3, labels - 1], [1, 2, 2, 12], [0, 0, 1, 0], [0, 45, -90, 179], [0, 10, -20, 30])
    pictures = [jpeg(4 * j) for j in range(labels)] if shown is None else shown
    (row,) = cut_rows("rec", "room1", audio, events, pictures)
    return {**row, "_audio": audio, "_events": events}


def test_contract():
    row = raw_row()
    prepared = PrepareRow(INPUTS, ["frames"])(row)
    assert (prepared["recording"], prepared["room"]) == ("rec", "room1")
    assert (prepared["start_frame"], prepared["num_frames"], prepared["has_video"]) == (0, 40, True)
    shapes = {key: (prepared[key].shape, prepared[key].dtype) for key in ("features", "target", "frames", "events")}
    assert shapes == {
        "features": ((7, 320, 32), np.float32),
        "target": ((40, 6, 5, 13), np.float32),
        "frames": ((8, 32, 64, 3), np.uint8),
        "events": ((4, 6), np.float64),
    }
    np.testing.assert_array_equal(prepared["target"], adpit_target(row["_events"], 40))
    restored = Events.build(*prepared["events"].T)
    for ours, theirs in zip(restored.columns(), row["_events"].columns(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_features_are_those_of_the_audio():
    row = raw_row(extra_samples=0)
    audio = torch.from_numpy(row["_audio"]).float() / 32768
    expected = FeatureExtractor(hop=300, n_mels=32)(audio).numpy()
    np.testing.assert_array_equal(PrepareRow(INPUTS)(row)["features"], expected)


def test_what_fills_no_label_frame_is_trimmed():
    row = raw_row()
    row["num_samples"] = 40 * 2400 + 2399
    row["audio"] = cut_audio(row, row["num_samples"])
    prepared = PrepareRow(INPUTS, ["frames"])(row)
    assert prepared["features"].shape[1] == 40 * 8
    assert len(prepared["target"]) == 40


def cut_audio(row: dict, samples: int) -> bytes:
    from data.stores.rows import encode_flac

    padded = np.pad(row["_audio"], ((0, 0), (0, 2400)))
    return encode_flac(padded[:, :samples])


@pytest.mark.parametrize(
    ("rate_hz", "expected"),
    [
        (10.0, list(range(40))),
        (2.0, [0, 5, 10, 15, 20, 25, 30, 35]),
        (1.0, [0, 10, 20, 30]),
        (20.0, [min((j + 1) // 2, 39) for j in range(80)]),
    ],
)
def test_pictures_nearest_in_time(rate_hz, expected):
    inputs = InputConfig(frame_width=64, frame_height=32, frame_rate_hz=rate_hz)
    shown = PrepareRow(inputs, ["frames"])(raw_row())["frames"]
    brightness = shown[:, :, :, 0].mean(axis=(1, 2))
    np.testing.assert_allclose(brightness, 4 * np.array(expected), atol=2.5)


def test_pictures_go_as_far_as_the_video_does():
    inputs = InputConfig(n_fft=1024, hop=300, n_mels=32, frame_width=64, frame_height=32, frame_rate_hz=5.0)
    shown = PrepareRow(inputs, ["frames"])(raw_row(shown=[jpeg(0), jpeg(100), jpeg(200)]))["frames"]
    assert len(shown) == 2
    np.testing.assert_allclose(shown[..., 0].mean(axis=(1, 2)), (0, 200), atol=3)


def test_only_columns_that_are_looked_at_are_asked_for():
    seeing = PrepareRow(INPUTS, ["frames"])
    assert seeing.columns is None
    assert seeing.looking_at(["frames"]).columns is None
    for blind in (PrepareRow(INPUTS), seeing.looking_at([])):
        assert "frames" not in blind.columns
        raw = {name: value for name, value in raw_row().items() if name in blind.columns}
        assert "frames" not in blind(raw)


def test_bytes_of_a_row_are_known_before_it_is_decoded():
    prepare = PrepareRow(INPUTS, ["frames"])
    for raw in (raw_row(), raw_row(shown=[])):
        row = prepare(raw)
        expected = sum(row[name].nbytes for name in ("features", "target", "frames"))
        assert prepare.bytes_per_label(row["has_video"]) * len(row["target"]) == expected


def test_the_same_picture_is_decoded_once(monkeypatch):
    calls = []
    original = decode_picture
    monkeypatch.setattr(prepare, "decode_picture", lambda *a: calls.append(1) or original(*a))
    still, moving = jpeg(10), jpeg(200)
    prepared = PrepareRow(INPUTS, ["frames"])(raw_row(shown=[still] * 20 + [moving] * 20))
    assert len(calls) == 2
    assert abs(int(prepared["frames"][3, 0, 0, 0]) - 10) < 4
    assert abs(int(prepared["frames"][4, 0, 0, 0]) - 200) < 4


def test_pictures_keep_their_place_when_scaled():
    """A white quarter of the panorama stays that quarter."""
    picture = np.zeros((224, 448, 3), dtype=np.uint8)
    picture[:112, 336:] = 255
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    for width, height in ((448, 224), (112, 56), (96, 48), (100, 60)):
        small = decode_picture(buffer.getvalue(), width, height)
        assert small.shape == (height, width, 3)
        bright = small.mean(axis=2) > 127
        assert bright[: height // 2 - 1, -width // 4 + 2 :].all()
        assert bright.mean() == pytest.approx(1 / 8, abs=0.02)


def test_no_pictures():
    blind = PrepareRow(INPUTS)(raw_row())
    assert "frames" not in blind
    assert blind["has_video"]
    without_video = PrepareRow(INPUTS, ["frames"])(raw_row(shown=[]))
    assert without_video["frames"].shape == (0, 32, 64, 3)
    assert not without_video["has_video"]


def test_deterministic_and_picklable():
    row = raw_row()
    first = PrepareRow(INPUTS, ["frames"])
    second = pickle.loads(pickle.dumps(first))
    for key, value in first(row).items():
        np.testing.assert_array_equal(value, second(row)[key])


def test_windows_can_be_cut():
    rows = [PrepareRow(INPUTS, ["frames"])(raw_row(labels)) for labels in (40, 65)]
    (batch,) = WindowSampler(
        rows, Sampling(batch_size=8, seed=1, swap=True, picture_rate_hz=INPUTS.frame_rate_hz)
    ).epoch(0)
    assert batch["features"].shape == (8, 7, 240, 32)
    assert batch["frames"].shape == (8, 6, 32, 64, 3)
    valid = sum(int(batch["valid"].sum()) for batch, _ in evaluation_windows(rows, 4))
    assert valid == 105
