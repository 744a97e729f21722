"""The benchmark of storage: both sides hold the same recording, and the last line says what it promises."""

import json

import pytest

from infra.bench.data import storage


def test_both_sides_hold_the_whole_recording(capsys):
    storage.main(["--seconds", "4", "--clips", "1"])
    outcome = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours, reference = (outcome["sides_gb_per_hour"][side] for side in ("ours", "reference"))
    # Three windows of 3 s in 4 s, eight swaps of 7 x 480 x 128 float32 each.
    assert reference["features of eight swaps"] == pytest.approx(3 * 8 * 7 * 480 * 128 * 4 / 4 * 3600 / 1e9, rel=1e-3)
    assert 0 < ours["sound"] < 24_000 * 4 * 2 * 3600 / 1e9
    assert 0 < ours["pictures"] < reference["pictures"] < 10 * 3600 * 448 * 224 * 3 / 1e9
    assert outcome["ratio"]["reference"] == pytest.approx(sum(reference.values()) / sum(ours.values()), rel=1e-2)
