"""Windows: exact cuts, one global and repeatable order, honest padding."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.swaps import NUM_SWAPS, swap_features, swap_frames, swap_target
from data.windows import Extent, WindowSampler, evaluation_windows, neighbour_distance, training_windows

PER_LABEL, BANDS = 4, 8


def prepared_row(recording="a", start=0, own=60, tail=25, rate_hz=10.0, seed=0):
    """A row whose arrays tell where they were cut: first feature and target values count label frames."""
    rng = np.random.default_rng(seed)
    total = own + tail
    features = rng.standard_normal((7, total * PER_LABEL, BANDS)).astype(np.float32)
    features[0, :, 0] = np.repeat(np.arange(total) + start, PER_LABEL)
    target = rng.standard_normal((total, 6, 5, 13)).astype(np.float32)
    target[:, 0, 0, 0] = np.arange(total) + start
    frames = np.zeros((round(total * rate_hz / 10), 4, 8, 3), dtype=np.uint8)
    frames += np.arange(len(frames), dtype=np.uint8)[:, None, None, None]
    return {
        "recording": recording,
        "room": "room1",
        "start_frame": start,
        "num_frames": own,
        "features": features,
        "target": target,
        "frames": frames,
        "has_video": bool(len(frames)),
    }


def starts_of(batch):
    return batch["target"][:, 0, 0, 0, 0].astype(int)


def test_windows_start_at_every_hop_that_fits():
    rows = [prepared_row(own=60, tail=25), prepared_row("b", own=40, tail=0)]
    windows = training_windows(map(Extent.of, rows), 30, 5)
    assert windows[windows[:, 0] == 0, 1].tolist() == list(range(0, 56, 5))
    assert windows[windows[:, 0] == 1, 1].tolist() == [0, 5, 10]


def test_labels_features_and_pictures_of_a_window_are_the_rows_own():
    row = prepared_row(own=60, tail=25)
    for batch in WindowSampler([row], batch_size=4, seed=3).epoch(0):
        for i, start in enumerate(starts_of(batch)):
            np.testing.assert_array_equal(batch["target"][i], row["target"][start : start + 30])
            cut = row["features"][:, start * PER_LABEL : (start + 30) * PER_LABEL]
            np.testing.assert_array_equal(batch["features"][i], cut)
            assert batch["frames"][i, :, 0, 0, 0].tolist() == list(range(start, start + 30))
        assert batch["valid"].all()


def test_at_a_low_rate_the_nearest_pictures_are_taken():
    row = prepared_row(own=60, tail=25, rate_hz=2.0)
    for batch in WindowSampler([row], batch_size=4, frame_rate_hz=2.0).epoch(0):
        for start, frames in zip(starts_of(batch), batch["frames"], strict=True):
            shown = frames[:, 0, 0, 0]
            assert len(shown) == 6
            wanted = start / 10 + np.arange(6) / 2
            assert (np.abs(np.minimum(wanted, 16 / 2) - shown / 2) <= 0.25 + 1e-9).all()


def test_an_epoch_is_one_random_order_over_all_rows():
    rows = [prepared_row(str(i), own=60, tail=25, seed=i) for i in range(4)]
    sampler = WindowSampler(rows, batch_size=8, seed=1)
    assert sampler.num_windows == 48
    assert len(list(sampler.epoch(0))) == len(sampler) == 6
    row_of = {row["features"][1, start * PER_LABEL, 0]: i for i, row in enumerate(rows) for start in range(0, 60, 5)}
    first = next(sampler.epoch(0))
    assert len({row_of[value] for value in first["features"][:, 1, 0, 0]}) > 1
    assert len(set(starts_of(first))) > 1
    order = np.concatenate([starts_of(batch) for batch in sampler.epoch(0)])
    assert sorted(order.tolist()) == sorted(list(range(0, 56, 5)) * 4)


def test_the_order_follows_from_seed_and_epoch():
    rows = [prepared_row(str(i), seed=i) for i in range(3)]

    def batches(seed, epoch):
        sampler = WindowSampler(rows, batch_size=4, swap=True, seed=seed)
        return np.concatenate([b["features"] for b in sampler.epoch(epoch)])

    np.testing.assert_array_equal(batches(1, 2), batches(1, 2))
    assert not np.array_equal(batches(1, 2), batches(1, 3))
    assert not np.array_equal(batches(1, 2), batches(2, 2))


def test_swaps_change_features_labels_and_pictures_alike():
    row = prepared_row(own=1, tail=29)
    row["frames"] = np.random.default_rng(0).integers(0, 255, row["frames"].shape, dtype=np.uint8)
    sampler = WindowSampler([row], batch_size=1, swap=True)
    seen = set()
    for epoch in range(80):
        (batch,) = sampler.epoch(epoch)
        (k,) = [k for k in range(NUM_SWAPS) if np.array_equal(batch["target"][0], swap_target(row["target"], k))]
        np.testing.assert_array_equal(batch["features"][0], swap_features(row["features"], k))
        np.testing.assert_array_equal(batch["frames"][0], swap_frames(row["frames"], k))
        seen.add(k)
    assert seen == set(range(NUM_SWAPS))


def test_workers_share_the_same_global_batches():
    rows = [prepared_row(str(i), seed=i) for i in range(3)]
    whole = list(WindowSampler(rows, batch_size=6, swap=True, seed=4).epoch(1))
    parts = [list(WindowSampler(rows, 6, swap=True, seed=4, rank=r, world_size=2).epoch(1)) for r in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        joined = np.concatenate([first["features"], second["features"]])
        np.testing.assert_array_equal(batch["features"], joined)


def test_a_limited_epoch_draws_anew_each_time():
    rows = [prepared_row(str(i), seed=i) for i in range(4)]
    sampler = WindowSampler(rows, batch_size=4, epoch_windows=10)
    assert len(sampler) == 2
    first, second = (np.concatenate([b["features"] for b in sampler.epoch(e)]) for e in (0, 1))
    assert len(first) == 8
    assert not np.array_equal(first, second)


def test_a_short_recording_gives_one_padded_window():
    row = prepared_row(own=12, tail=0)
    (batch,) = WindowSampler([row], batch_size=8).epoch(0)
    assert batch["valid"][0].tolist() == [True] * 12 + [False] * 18
    assert not batch["target"][0, 12:].any()
    assert (batch["features"][0, :4, 12 * PER_LABEL :] == row["features"][:4].min()).all()
    assert not batch["features"][0, 4:, 12 * PER_LABEL :].any()
    assert batch["frames"].shape == (1, 30, 4, 8, 3)


def test_a_short_last_row_of_a_long_recording_gives_no_training_window():
    assert len(training_windows([Extent(600, 12, 12)], 30, 5)) == 0


@pytest.mark.parametrize("own", [60, 47, 30, 7])
def test_evaluation_covers_each_own_frame_once(own):
    rows = [prepared_row("a", own=60, tail=20), prepared_row("b", start=600, own=own, tail=0)]
    seen = []
    for batch, places in evaluation_windows(rows, batch_size=2):
        for i, (index, start) in enumerate(places):
            labels = batch["target"][i, batch["valid"][i], 0, 0, 0].astype(int)
            first = rows[index]["start_frame"] + start
            assert labels.tolist() == list(range(first, first + len(labels)))
            seen += [(rows[index]["recording"], frame) for frame in labels]
    assert seen == [("a", f) for f in range(60)] + [("b", 600 + f) for f in range(own)]


def test_evaluation_windows_overlap_and_turn_as_asked():
    rows = [prepared_row("a", own=60, tail=20)]
    windows = list(evaluation_windows(rows, batch_size=4, hop_frames=10, swap=4))
    assert [start for _, places in windows for _, start in places] == [0, 10, 20, 30, 40, 50]
    batch, _ = windows[0]
    expected = swap_features(rows[0]["features"][:, 10 * PER_LABEL : 40 * PER_LABEL], 4)
    np.testing.assert_array_equal(batch["features"][1], expected)
    np.testing.assert_array_equal(batch["target"][1], swap_target(rows[0]["target"][10:40], 4))


def test_boxes_turn_with_the_scene():
    row = prepared_row()
    boxes = np.zeros((85, 6, 5), np.float32)
    boxes[:, 0] = (0.1, 0.2, 0.3, 0.6, 0.9)
    row["boxes"] = boxes
    (plain, _), (turned, _) = (next(evaluation_windows([row], 1, swap=k)) for k in (2, 0))
    assert plain["boxes"].shape == (1, 30, 6, 5)
    np.testing.assert_array_equal(plain["boxes"][0], boxes[:30])
    np.testing.assert_allclose(turned["boxes"][0, 0, 0], (0.35, 0.4, 0.55, 0.8, 0.9), atol=1e-6)
    assert not turned["boxes"][0, :, 1:].any()


def test_rows_without_pictures_give_batches_without_them():
    row = prepared_row()
    row["frames"], row["has_video"] = row["frames"][:0], False
    assert "frames" not in next(WindowSampler([row], batch_size=2).epoch(0))


def test_a_row_without_video_is_black_beside_one_with_it():
    dark = prepared_row("b", seed=1)
    dark["frames"], dark["has_video"] = dark["frames"][:0], False
    batch = next(WindowSampler([prepared_row(), dark], batch_size=24).epoch(0))
    assert sorted(batch["has_video"].tolist()) == [False] * 12 + [True] * 12
    assert not batch["frames"][~batch["has_video"]].any()


def test_a_window_is_seen_when_the_video_reaches_its_middle():
    row = prepared_row(own=100, tail=0)
    row["frames"] = row["frames"][:37]
    for batch, places in evaluation_windows([row], 8, hop_frames=1, frame_rate_hz=10.0):
        for i, (_, start) in enumerate(places):
            assert batch["has_video"][i] == (start + 15 <= 37)
            shown = batch["frames"][i, :, 0, 0, 0].tolist()
            # Past its end the last picture stays.
            expected = [min(frame, 36) for frame in range(start, start + 30)] if batch["has_video"][i] else [0] * 30
            assert shown == expected


def test_at_a_low_rate_the_video_reaches_as_far_as_it_goes():
    row = prepared_row(own=100, tail=0, rate_hz=2.0)
    row["frames"] = row["frames"][:6]
    seen = {}
    for batch, places in evaluation_windows([row], 8, hop_frames=5, frame_rate_hz=2.0):
        seen |= {start: bool(flag) for (_, start), flag in zip(places, batch["has_video"], strict=True)}
    assert [start for start, flag in seen.items() if flag] == [0, 5, 10, 15]


def test_distance_between_neighbours_tells_mixed_from_sorted():
    owners = np.repeat(np.arange(20), 50)
    assert neighbour_distance(owners) == 1.0
    assert neighbour_distance(np.tile(np.arange(20), 50)) == 20.0
    assert neighbour_distance(np.random.default_rng(0).permutation(owners)) == pytest.approx(20, rel=0.05)
    assert neighbour_distance(np.arange(7)) == 7.0


def test_impossible_requests_are_refused():
    with pytest.raises(UserError, match="no rows"):
        WindowSampler([], batch_size=2)
    with pytest.raises(UserError, match="batch size 5 cannot be shared by 2"):
        WindowSampler([prepared_row()], batch_size=5, world_size=2)


def test_cutting_a_batch_takes_milliseconds():
    rows = []
    for i in range(4):
        row = prepared_row(str(i), own=200, tail=25, rate_hz=2.0, seed=i)
        row["features"] = np.zeros((7, 225 * 8, 64), dtype=np.float32)
        row["frames"] = np.zeros((45, 64, 128, 3), dtype=np.uint8)
        rows.append(row)
    sampler = WindowSampler(rows, batch_size=32, swap=True, frame_rate_hz=2.0)
    list(sampler.epoch(0))[:1]
    started = time.process_time()
    count = sum(1 for _ in sampler.epoch(1))
    # 5 ms on an idle core; the limit leaves room for a busy one.
    assert (time.process_time() - started) / count < 0.06


def test_what_training_imports_from_data_is_numpy_alone():
    code = (
        "import sys, data.classes, data.errors, data.geometry, data.labels, data.swaps, data.windows; "
        "print(*({'ray', 'pyarrow', 'av', 'boto3', 'scipy', 'soundfile', 'PIL'} & set(sys.modules)))"
    )
    repository = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.split() == []
