"""Streamed windows: the sampler's windows, each once, in an order that no number of workers changes; few rows held."""

import numpy as np
import pytest

from data.errors import UserError
from data.feeding import window_stream
from data.feeding.cutter import Extent
from data.feeding.window_stream import MAX_LANES, WindowStream, lanes_of
from data.feeding.windows import Sampling, WindowSampler, neighbour_distance, training_windows

PER_LABEL, BANDS = 2, 3


def make_rows(count=24, own=60, tail=25):
    """Rows whose first feature counts label frames through the whole split, so that a window says where it is from."""
    rows = []
    for i in range(count):
        total = own + tail
        features = np.random.default_rng(i).standard_normal((7, total * PER_LABEL, BANDS)).astype(np.float32)
        features[0, :, 0] = np.repeat(1000 * i + np.arange(total), PER_LABEL)
        rows.append(
            {
                "recording": f"r{i // 2}",
                "room": "room",
                "start_frame": own * (i % 2),
                "num_frames": own,
                "features": features,
                "target": np.full((total, 6, 5, 13), i, dtype=np.float32),
                "frames": np.full((total, 2, 4, 3), i, dtype=np.uint8),
                "has_video": True,
            }
        )
    return rows


ROWS = make_rows()


class Shelf:
    """Hands out the rows asked for, and counts."""

    def __init__(self, rows):
        self.rows, self.taken, self.orders, self.open = rows, [], 0, 0

    def __call__(self, wanted):
        self.orders += 1
        self.open += 1
        return self.Arrivals(self, iter(wanted))

    class Arrivals:
        def __init__(self, shelf, wanted):
            self.shelf, self.wanted = shelf, wanted

        def __iter__(self):
            return self

        def __next__(self):
            number = next(self.wanted)
            self.shelf.taken.append(number)
            return dict(self.shelf.rows[number])

        def close(self):
            self.shelf.open -= 1


def stream(shelf=None, rows=ROWS, held_rows=8, any_video=True, epochs=0, **changes):
    return WindowStream(
        [Extent.of(row) for row in rows],
        [row["recording"] for row in rows],
        shelf or Shelf(rows),
        Sampling(**{"batch_size": 8, "swap": True, "seed": 5} | changes),
        held_rows=held_rows,
        any_video=any_video,
        epochs=epochs,
    )


def places_of(batches):
    return [int(value) for batch in batches for value in batch["features"][:, 0, 0, 0]]


@pytest.mark.parametrize("held", [2, 8, 16, 100])
def test_an_epoch_is_the_samplers_windows_each_once(held):
    sampler = WindowSampler(ROWS, Sampling(batch_size=8))
    batches = list(stream(held_rows=held, swap=False).epoch(0))
    assert len(batches) == len(sampler) == len(stream(held_rows=held))
    assert sorted(places_of(batches)) == sorted(places_of(sampler.epoch(0)))
    for batch in batches:
        assert batch["features"].shape == (8, 7, 30 * PER_LABEL, BANDS)
        numbers = batch["target"][:, 0, 0, 0, 0]
        np.testing.assert_array_equal(batch["features"][:, 0, 0, 0] // 1000, numbers)
        np.testing.assert_array_equal(batch["frames"][:, 0, 0, 0, 0], numbers)


def test_the_order_follows_from_seed_and_epoch_alone():
    def features(seed, epoch):
        return np.concatenate([batch["features"] for batch in stream(seed=seed).epoch(epoch)])

    np.testing.assert_array_equal(features(1, 2), features(1, 2))
    assert not np.array_equal(features(1, 2), features(1, 3))
    assert not np.array_equal(features(1, 2), features(2, 2))
    several = stream(seed=1, epochs=2)
    list(several.epoch(1))
    np.testing.assert_array_equal(np.concatenate([batch["features"] for batch in several.epoch(2)]), features(1, 2))


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_share_the_same_global_batches_and_read_hardly_a_row_twice(workers):
    whole = list(stream(held_rows=16).epoch(1))
    shelves = [Shelf(ROWS) for _ in range(workers)]
    parts = [
        list(stream(shelf, held_rows=16, rank=rank, world_size=workers).epoch(1)) for rank, shelf in enumerate(shelves)
    ]
    for batch, *of_workers in zip(whole, *parts, strict=True):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, np.concatenate([part[name] for part in of_workers]))
    read = [number for shelf in shelves for number in shelf.taken]
    assert set(read) == set(range(len(ROWS)))
    assert len(read) <= len(ROWS) + workers - 1


@pytest.mark.parametrize("held", [2, 4, 9, 16])
def test_each_row_is_read_once_and_few_are_held(held, monkeypatch):
    shelf = Shelf(ROWS)
    most = 0

    cutter = window_stream.Cutter
    held_by = []
    monkeypatch.setattr(window_stream, "Cutter", lambda rows, *a: held_by.append(rows) or cutter(rows, *a))
    for _ in stream(shelf, held_rows=held).epoch(0):
        most = max(most, len(held_by[0]))
    assert sorted(shelf.taken) == list(range(len(ROWS)))
    # Counted after a batch, when the rows that it ended are gone.
    assert most <= held
    assert not held_by[0]


def test_batches_come_from_as_many_rows_as_are_held():
    rows = make_rows(count=80)

    def distance(batches):
        return neighbour_distance([place // 1000 for place in places_of(batches)])

    ideal = distance(WindowSampler(rows, Sampling(8)).epoch(0))
    assert ideal == pytest.approx(80, rel=0.1)
    held = {n: distance(stream(rows=rows, held_rows=n).epoch(0)) for n in (8, 16, 32, 80)}
    # About as many rows as are held together; the two rows of a recording are seldom among them.
    for n in (8, 16, 32):
        assert 0.6 * n < held[n] < 1.1 * n
    assert held[8] < held[16] < held[32] < held[80] < ideal


def test_one_order_covers_the_epochs_ahead_and_a_jump_makes_a_new_one():
    shelf = Shelf(ROWS)
    windows = stream(shelf, epochs=4)
    for epoch in (1, 2, 3):
        list(windows.epoch(epoch))
    assert shelf.orders == 1
    list(windows.epoch(2))
    assert shelf.orders == 2
    windows.close()
    assert shelf.open == 0


def test_leaving_an_epoch_early_ends_the_arrivals():
    shelf = Shelf(ROWS)
    windows = stream(shelf, epochs=4)
    for _ in windows.epoch(1):
        break
    assert shelf.open == 0
    assert len(places_of(windows.epoch(1))) == windows.num_windows


def test_a_limited_epoch_reads_no_more_rows_than_it_mixes():
    shelf = Shelf(ROWS)
    windows = stream(shelf, epoch_windows=16)
    first, second = (places_of(windows.epoch(epoch)) for epoch in (0, 1))
    assert len(first) == len(second) == 16
    assert set(first) != set(second)
    assert len(shelf.taken) <= 2 * 8
    assert len({place // 1000 for place in first}) >= 6


def test_fewer_windows_than_a_batch_make_one_batch():
    (batch,) = stream(rows=ROWS[:1], batch_size=32).epoch(0)
    assert len(batch["target"]) == 12


def test_lanes_divide_the_batch_and_leave_rows_to_mix():
    assert lanes_of(32, 1000) == lanes_of(8, 1000) == MAX_LANES
    assert lanes_of(32, 16) == 4
    assert lanes_of(6, 1000) == 6
    assert lanes_of(7, 20) == 1
    assert lanes_of(32, 2) == 1


def test_rows_without_video_give_batches_without_pictures_where_none_has_any():
    dark = [row | {"frames": row["frames"][:0], "has_video": False} for row in ROWS]
    assert "frames" not in next(stream(rows=dark, any_video=False).epoch(0))
    batch = next(stream(rows=dark, any_video=True).epoch(0))
    assert batch["frames"].shape == (8, 30, 2, 4, 3)
    assert not batch["has_video"].any()


def test_workers_that_cannot_share_the_lanes_are_refused():
    with pytest.raises(UserError, match=r"4 lanes, which 8 workers cannot share"):
        stream(held_rows=16, world_size=8)
    with pytest.raises(UserError, match="no rows"):
        stream(rows=[])


def half_added():
    """Two thirds of the rows, but a third of the windows, are of added recordings."""
    rows = make_rows()
    return [
        {**row, "recording": f"synthetic+{row['recording']}" if number % 3 else row["recording"]}
        for number, row in enumerate(rows)
    ]


def added_windows(batches):
    return sum(int(value) % 3 > 0 for batch in batches for value in batch["target"][:, 0, 0, 0, 0])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_an_epochs_windows_is_of_what_was_added(share):
    rows = half_added()
    sampling = Sampling(batch_size=8, seed=5, epoch_windows=32, added_share=share)
    for windows in (
        WindowSampler(rows, sampling),
        stream(rows=rows, epoch_windows=32, added_share=share, swap=False),
        stream(rows=rows, epoch_windows=32, added_share=share, swap=False, held_rows=100),
    ):
        epochs = [list(windows.epoch(number)) for number in range(2)]
        for batches in epochs:
            places = places_of(batches)
            assert len(set(places)) == len(places) == windows.num_windows
            assert added_windows(batches) == round(share * windows.num_windows)
        assert places_of(epochs[0]) != places_of(epochs[1])
        assert places_of(windows.epoch(0)) == places_of(epochs[0])


def test_a_share_is_kept_where_one_side_has_too_few_windows():
    rows = half_added()
    everything = len(training_windows(map(Extent.of, rows), 30, 5))
    windows = WindowSampler(rows, Sampling(batch_size=8, added_share=0.9))
    assert windows.num_windows < everything
    assert added_windows(windows.epoch(0)) == round(0.9 * windows.num_windows)


def test_a_share_of_nothing_is_refused():
    added = [{**row, "recording": f"a+{row['recording']}"} for row in ROWS]
    for rows, told in ((ROWS, "none is"), (added, "nothing else is there")):
        with pytest.raises(UserError, match=told):
            WindowSampler(rows, Sampling(batch_size=8, added_share=0.5))
        with pytest.raises(UserError, match=told):
            stream(rows=rows, added_share=0.5)
