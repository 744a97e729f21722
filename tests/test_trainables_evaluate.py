"""Scores of whole recordings, and clips heard as training hears its recordings."""

from __future__ import annotations

import numpy as np
import torch

from data.labels import Events, adpit_target
from data.rows import cut_rows
from trainables.accdoa import NUM_OUTPUTS
from trainables.augment import SpecAugment
from trainables.config import AugmentConfig, CnnConformer, ConformerConfig, InputConfig, TrialConfig
from trainables.evaluate import count_scores, counts_from_array, counts_to_array, flat_scores, predict
from trainables.inference import predict_clip
from trainables.model import SeldModel
from trainables.prepare import PrepareRow

INPUTS = InputConfig(n_fft=1024, hop=600, n_mels=16, frame_width=32, frame_height=16, frame_rate_hz=2.0)
CONFORMER = ConformerConfig(layers=1, heads=2, feed_forward=16, kernel=3)
CONFIG = TrialConfig(
    inputs=INPUTS,
    audio=CnnConformer(channels=(8, 16), time_strides=(2, 2), frequency_strides=(4, 2), conformer=CONFORMER),
)


def recording(name: str, labels: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.integers(0, labels, 3 * labels))
    events = Events.build(
        frames,
        rng.integers(0, 13, len(frames)),
        np.zeros(len(frames)),
        rng.integers(-180, 181, len(frames)),
        rng.integers(-40, 41, len(frames)),
    )
    audio = (rng.normal(0, 2000, (4, labels * 2400))).astype(np.int16)
    return [PrepareRow(INPUTS, False)(row) for row in cut_rows(name, "room", audio, events)]


def oracle(row: dict) -> np.ndarray:
    """The output that says what the labels say, one source of a class at a time."""
    target = row["target"][: row["num_frames"]]
    tracks = np.stack([target[:, [0, 1, 3]].sum(1), target[:, [0, 2, 4]].sum(1), target[:, [0, 1, 5]].sum(1)], axis=1)
    return (tracks[:, :, :1] * tracks[:, :, 1:]).reshape(len(target), NUM_OUTPUTS).astype(np.float32)


def test_oracle_labels_score_perfectly_over_the_classes_present() -> None:
    rng = np.random.default_rng(0)
    frames = np.arange(605)
    events = Events.build(
        frames, frames // 50 % 5, np.zeros(605), rng.integers(-180, 181, 13).repeat(50)[:605], np.full(605, 10)
    )
    audio = np.zeros((4, 605 * 2400), np.int16)
    rows = [PrepareRow(INPUTS, False)(row) for row in cut_rows("a", "room", audio, events)]
    assert len(rows) == 2
    flat = flat_scores(count_scores(rows, [oracle(row) for row in rows], threshold=0.5))
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
    forwards = count_scores(rows, outputs, 0.5)
    backwards = count_scores([row for row, _ in both[::-1]], [out for _, out in both[::-1]], 0.5)
    np.testing.assert_array_equal(counts_to_array(forwards), counts_to_array(backwards))
    np.testing.assert_array_equal(
        counts_to_array(counts_from_array(counts_to_array(forwards))), counts_to_array(forwards)
    )
    parts = [count_scores(part, out, 0.5) for part, out in ((rows[:2], outputs[:2]), (rows[2:], outputs[2:]))]
    np.testing.assert_allclose(counts_to_array(parts[0] + parts[1]), counts_to_array(forwards))


def test_a_clip_is_heard_as_its_stored_rows_are() -> None:
    torch.manual_seed(0)
    model = SeldModel(CONFIG)
    rng = np.random.default_rng(5)
    audio = rng.normal(0, 3000, (4, 650 * 2400 + 700)).astype(np.int16)
    rows = [PrepareRow(INPUTS, False)(row) for row in cut_rows("a", "room", audio, Events.build())]
    stored = np.concatenate(predict(model, rows)[0])
    heard = predict_clip(model, audio.astype(np.float32) / 32768)
    assert heard.shape == (650, NUM_OUTPUTS)
    np.testing.assert_allclose(heard, stored, atol=1e-6)


def test_loss_counts_own_frames_once() -> None:
    torch.manual_seed(0)
    rows = recording("a", 650, 3)
    outputs, loss_sum, frames = predict(SeldModel(CONFIG), rows)
    assert frames == 650
    assert [len(output) for output in outputs] == [600, 50]
    assert loss_sum > 0
    assert adpit_target(Events.build(), 5).sum() == 0


def test_spec_augment_masks_one_span_of_time_and_one_of_bands() -> None:
    torch.manual_seed(1)
    features = torch.rand(16, 7, 40, 16) + 1
    masked = SpecAugment(AugmentConfig(time_mask_frames=10, mel_mask_bands=4))(features)
    changed = (masked != features).any(dim=1)
    assert changed.any()
    for window in changed:
        times, bands = window.all(dim=1), window.all(dim=0)
        assert times.sum() <= 10
        assert bands.sum() <= 4
        assert (window == (times[:, None] | bands[None])).all()
        for span in (times, bands):
            places = span.nonzero().flatten()
            assert len(places) == 0 or int(places[-1] - places[0]) == len(places) - 1
    # No direction where nothing is heard.
    assert (masked[:, 4:][changed[:, None].expand(-1, 3, -1, -1)] == 0).all()
    assert SpecAugment(AugmentConfig())(features) is features
