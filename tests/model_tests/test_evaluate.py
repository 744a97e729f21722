"""Scores of whole recordings, and clips heard as training hears its recordings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.classes import STARSS23
from data.geometry import unit_vector
from data.labels import Events, adpit_target
from data.stores.rows import cut_rows
from data.swaps import NUM_SWAPS, swap_angles, swap_target
from trainables.config import CnnConformer, ConformerConfig, InputConfig, MultiAccdoa, TrialConfig
from trainables.evaluation.evaluate import (
    THRESHOLD_GRID,
    best_thresholds,
    count_scores,
    evaluate,
    predict,
    predict_recordings,
)
from trainables.evaluation.inference import predict_clip
from trainables.inputs.prepare import PrepareRow
from trainables.networks.model import SeldModel
from trainables.scores.detections import rank_within
from trainables.scores.flat import counts_from_array, counts_to_array, flat_scores

FORM = MultiAccdoa()
NUM_OUTPUTS = FORM.width(len(STARSS23))
INPUTS = InputConfig(n_fft=1024, hop=600, n_mels=16, frame_width=32, frame_height=16, frame_rate_hz=2.0)
CONFORMER = ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3)
CONFIG = TrialConfig(
    inputs=INPUTS,
    audio=CnnConformer(channels=(8, 16), time_strides=(2, 2), frequency_strides=(4, 2), conformer=CONFORMER),
)


def recording(name: str, labels: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, labels, 3 * labels))
    events = Events.build(
        at,
        rng.integers(0, 13, len(at)),
        np.zeros(len(at)),
        rng.integers(-180, 181, len(at)),
        rng.integers(-40, 41, len(at)),
    )
    audio = (rng.normal(0, 2000, (4, labels * 2400))).astype(np.int16)
    return [PrepareRow(INPUTS)(row) for row in cut_rows(name, "room", audio, events)]


def oracle(row: dict) -> np.ndarray:
    """The output that says what the labels say, one source of a class at a time."""
    target = row["target"][: row["num_frames"]]
    tracks = np.stack([target[:, [0, 1, 3]].sum(1), target[:, [0, 2, 4]].sum(1), target[:, [0, 1, 5]].sum(1)], axis=1)
    return (tracks[:, :, :1] * tracks[:, :, 1:4]).reshape(len(target), NUM_OUTPUTS).astype(np.float32)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_labels_of_a_swapped_scene_decode_to_the_turned_directions(k) -> None:
    """Audio, picture and labels under one swap still tell of the same events, each where the swap puts it."""
    (row,) = recording("a", 30, 7)
    azimuth, elevation = swap_angles(*(row["events"][:, column] for column in (3, 4)), k)
    events = Events.build(*row["events"][:, :3].T, azimuth, elevation)
    turned = {**row, "target": swap_target(row["target"], k), "events": events}
    rows = [{**turned, "events": np.stack([c.astype(np.float64) for c in events.columns()], axis=1)}]
    decoded = FORM.decode(oracle(turned)).events()
    first_three = rank_within(events.frame * 13 + events.class_index) < 3
    expected = unit_vector(azimuth, elevation)[first_three]
    cells = (events.frame * 13 + events.class_index)[first_three]
    found = unit_vector(decoded.azimuth_deg, decoded.elevation_deg)
    for cell, direction in zip(cells, expected, strict=True):
        near = (found[decoded.frame * 13 + decoded.class_index == cell] @ direction).max()
        # Tracks of a class closer than 15 degrees come back as one, at their mean.
        assert near > np.cos(np.deg2rad(15))
    lone = np.isin(cells, *[np.flatnonzero(np.bincount(cells) == 1)])
    assert lone.any()
    for cell, direction in zip(cells[lone], expected[lone], strict=True):
        (there,) = found[decoded.frame * 13 + decoded.class_index == cell]
        np.testing.assert_allclose(there, direction, atol=1e-6)
    flat = flat_scores(count_scores(rows, [oracle(turned)], FORM, threshold=0.5), STARSS23)
    straight = flat_scores(count_scores([row], [oracle(row)], FORM, threshold=0.5), STARSS23)
    assert flat == pytest.approx(straight, abs=1e-4)


def test_oracle_labels_score_perfectly_over_the_classes_present() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(605)
    events = Events.build(
        labels, labels // 50 % 5, np.zeros(605), rng.integers(-180, 181, 13).repeat(50)[:605], np.full(605, 10)
    )
    audio = np.zeros((4, 605 * 2400), np.int16)
    rows = [PrepareRow(INPUTS)(row) for row in cut_rows("a", "room", audio, events)]
    assert len(rows) == 2
    flat = flat_scores(count_scores(rows, [oracle(row) for row in rows], FORM, threshold=0.5), STARSS23)
    assert flat["present/ER"] == 0.0
    assert flat["present/F"] > 1 - 1e-9
    assert flat["present/LE"] < 1e-3
    assert flat["present/LR"] > 1 - 1e-9
    # The challenge's macro mean holds the eight absent classes against it.
    assert abs(flat["macro/F"] - 5 / 13) < 1e-9


def test_rows_of_a_recording_are_scored_together_whatever_their_order() -> None:
    rows = [*recording("b", 650, 1), *recording("a", 100, 2)]
    outputs = [np.random.default_rng(i).normal(0, 0.5, (row["num_frames"], NUM_OUTPUTS)) for i, row in enumerate(rows)]
    both = list(zip(rows, outputs, strict=True))
    forwards = count_scores(rows, outputs, FORM, 0.5)
    backwards = count_scores([row for row, _ in both[::-1]], [out for _, out in both[::-1]], FORM, 0.5)
    np.testing.assert_array_equal(counts_to_array(forwards), counts_to_array(backwards))
    np.testing.assert_array_equal(
        counts_to_array(counts_from_array(counts_to_array(forwards))), counts_to_array(forwards)
    )
    parts = [count_scores(part, out, FORM, 0.5) for part, out in ((rows[:2], outputs[:2]), (rows[2:], outputs[2:]))]
    np.testing.assert_allclose(counts_to_array(parts[0] + parts[1]), counts_to_array(forwards))


def test_rows_that_come_one_by_one_score_as_those_that_come_together() -> None:
    torch.manual_seed(0)
    model = SeldModel(CONFIG)
    rows = [*recording("a", 650, 1), *recording("b", 90, 2), *recording("c", 610, 3)]
    thresholds = (0.02, 0.05)
    together = evaluate(model, [rows], thresholds)
    for size in (1, 2, 3):
        pieces = [rows[start : start + size] for start in range(0, len(rows), size)]
        apart = evaluate(model, iter(pieces), thresholds, batch_size=4)
        for one, other in zip(apart.counts, together.counts, strict=True):
            np.testing.assert_allclose(counts_to_array(one), counts_to_array(other), rtol=1e-5)
        assert (apart.num_labels, str(apart.example["recording"])) == (together.num_labels, "a") == (1350, "a")
        assert apart.loss_sum == pytest.approx(together.loss_sum, rel=1e-5)
        np.testing.assert_allclose(apart.example["output"], together.example["output"], atol=1e-6)
    direct = count_scores(rows, predict(model, rows)[0], FORM, 0.02)
    np.testing.assert_allclose(counts_to_array(together.counts[0]), counts_to_array(direct))
    assert counts_to_array(direct).sum() > 0
    assert evaluate(model, [], thresholds).num_labels == 0


def test_of_rows_gone_by_only_what_is_counted_is_kept() -> None:
    model = SeldModel(CONFIG)
    rows = [*recording("a", 650, 1), *recording("b", 90, 2)]
    parts = list(predict_recordings(model, ([row] for row in rows)))
    assert [[row["recording"] for row in told] for told, *_ in parts] == [["a", "a"], ["b"]]
    assert all("features" not in row and "target" not in row for told, *_ in parts for row in told)


def test_a_clip_is_heard_as_its_stored_rows_are() -> None:
    torch.manual_seed(0)
    model = SeldModel(CONFIG)
    rng = np.random.default_rng(5)
    audio = rng.normal(0, 3000, (4, 650 * 2400 + 700)).astype(np.int16)
    rows = [PrepareRow(INPUTS)(row) for row in cut_rows("a", "room", audio, Events.build())]
    stored = np.concatenate(predict(model, rows)[0])
    heard = predict_clip(model, audio.astype(np.float32) / 32768)
    assert heard.shape == (650, NUM_OUTPUTS)
    np.testing.assert_allclose(heard, stored, atol=1e-6)


def test_thresholds_are_tuned_for_each_class_that_is_there() -> None:
    """Class 0 is always loud, class 1 always faint, and the others are never there."""
    events = Events.build(
        np.tile(np.arange(100), 2), np.repeat([0, 1], 100), np.zeros(200), np.repeat([0, 90], 100), np.zeros(200)
    )
    (raw,) = cut_rows("a", "room", np.zeros((4, 100 * 2400), np.int16), events)
    row = PrepareRow(INPUTS)(raw)
    output = oracle(row).reshape(100, 3, 3, 13)
    output[..., 1] *= 0.28
    output = output.reshape(100, -1)
    thresholds = best_thresholds([count_scores([row], [output], FORM, t) for t in THRESHOLD_GRID], 0.5)
    assert thresholds.tolist() == [0.5, 0.25, *[0.5] * 11]
    tuned, plain = (count_scores([row], [output], FORM, t) for t in (thresholds, 0.5))
    assert flat_scores(tuned, STARSS23)["present/SELD"] < flat_scores(plain, STARSS23)["present/SELD"]


def test_loss_counts_own_labels_once() -> None:
    torch.manual_seed(0)
    rows = recording("a", 650, 3)
    outputs, loss_sum, labels = predict(SeldModel(CONFIG), rows)
    assert labels == 650
    assert [len(output) for output in outputs] == [600, 50]
    assert loss_sum > 0
    assert adpit_target(Events.build(), 5).sum() == 0
