"""Rows in the memory of a table, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data.feeding.stream import pack_row, unpack_rows


def small_row():
    rng = np.random.default_rng(0)
    return {
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


def test_unpacked_arrays_lie_in_the_memory_of_their_table():
    rows = [{**small_row(), "start_frame": start} for start in (0, 600, 1200)]
    table = pa.concat_tables([pack_row(row) for row in rows])
    for part in (table, table.combine_chunks(), table.combine_chunks().slice(1)):
        unpacked = list(unpack_rows(part))
        assert [row["start_frame"] for row in unpacked] == [row["start_frame"] for row in rows[-len(unpacked) :]]
        for name in ("features", "events", "target"):
            spans = [(b.address, b.address + b.size) for c in part.column(name).chunks for b in c.buffers() if b]
            for row in unpacked:
                np.testing.assert_array_equal(row[name], rows[0][name])
                address = row[name].ctypes.data
                assert any(low <= address <= address + row[name].nbytes <= high for low, high in spans)


def test_packing_and_unpacking_keep_a_row():
    row = small_row()
    (back,) = unpack_rows(pack_row(row))
    assert back.keys() == row.keys()
    for name, value in row.items():
        np.testing.assert_array_equal(back[name], value)
        if isinstance(value, np.ndarray):
            assert back[name].dtype == value.dtype
            assert back[name].shape == value.shape
