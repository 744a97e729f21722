"""Benchmarks: both sides give the same, and the last line says what it promises. No test looks at the clock."""

import json
import threading
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing import Pipe

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.stores.chunks import read_shard
from data.swaps import NUM_SWAPS, swap_pictures
from infra.bench import measure
from infra.bench.data import feeding, sharing
from infra.bench.data.noisy_store import noisy_store
from infra.bench.data.plain_loader import WindowDataset
from infra.bench.model import embeddings, features, metrics, swaps, training_step
from support.bench_results import PROMISED, check_result
from trainables.config import InputConfig, ResNetConformer
from trainables.config.tree import from_dict, override
from trainables.inputs.prepare import PrepareRow
from trainables.networks.model import SeldModel

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 7, "dropout": 0.1}
TINY = {
    "inputs": {"hop": 300, "n_mels": 16},
    "audio": {
        "name": "cnn_conformer",
        "channels": [4, 8, 8],
        "time_strides": [2, 2, 2],
        "frequency_strides": [4, 2, 1],
        "conformer": CONFORMER,
    },
    "visual": {
        "name": "resnet_conformer",
        "block": "basic",
        "depths": [1, 1, 1, 1],
        "width": 8,
        "conformer": CONFORMER,
    },
    "fusion": {"name": "av_conformer", "conformer": CONFORMER},
}


@pytest.fixture
def tiny():
    return training_step.Side(from_dict(TINY), batch=2)


def test_sides_take_turns():
    called = []
    sides = {"ours": lambda: called.append("A"), "peer": lambda: called.append("B")}
    times = measure.alternate(sides, 3, warmup=1, settle=0)
    assert called == ["A", "B"] * 4
    assert {name: len(runs) for name, runs in times.items()} == {"ours": 3, "peer": 3}
    called.clear()
    times = measure.alternate(sides, 2, warmup=0, settle=1)
    assert called == ["A", "A", "B", "B"] * 2
    assert {name: len(runs) for name, runs in times.items()} == {"ours": 2, "peer": 2}


def test_ratio_is_of_medians_and_its_spread_of_neighbours():
    outcome = measure.result("x", "run", {"ours": [1.0, 2.0, 4.0], "peer": [10.0, 30.0, 20.0]}, {})
    assert outcome["ratio"]["peer"]["median"] == 10.0
    assert (outcome["ratio"]["peer"]["low"], outcome["ratio"]["peer"]["high"]) == (5.0, 15.0)
    assert outcome["sides_ms"]["ours"]["median"] == 2.0
    check_result(outcome, "x", {"peer"})


def test_last_line_is_json_and_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    outcome = measure.result("x", "run", {"ours": [1.0], "peer": [3.0]}, {"size": 2}, device="Chip 3(tm)", more=None)
    measure.show(outcome)
    assert not (tmp_path / "results").exists()
    measure.show(outcome, save=True)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    threads = torch.get_num_threads()
    path = tmp_path / "results" / f"x-chip-3-tm-{threads}-thread{'s' * (threads > 1)}.json"
    assert json.loads(path.read_text()) == said
    assert said["ratio"]["peer"] == {"low": 3.0, "median": 3.0, "high": 3.0}
    assert said.keys() == PROMISED | {"more"}


def test_features():
    check_result(features.measure(1, 3_000, repeats=1), "features", {"convolution", "torch.stft"})


def test_features_that_differ_are_not_timed():
    audio = torch.randn(1, 4, 3_000)
    ours = features.StftFeatures()
    with pytest.raises(AssertionError, match="louder"):
        features.check({measure.OURS: ours, "louder": lambda x: ours(1.1 * x)}, audio)


@pytest.mark.parametrize("k", range(NUM_SWAPS))
def test_pixel_by_pixel_is_the_swap(k):
    picture = np.random.default_rng(k).integers(0, 256, (3, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(swaps.swap_pixel_by_pixel(picture, k), swap_pictures(picture, k))


def test_swaps():
    outcome = swaps.measure(4, 8, repeats=1, samples=2_400)
    check_result(outcome, "swaps", {"pixel by pixel"})
    assert outcome["features_ratio"].keys() == {"extracting again"}


def test_metrics():
    outcome = metrics.measure(3, 20, repeats=1)
    check_result(outcome, "metrics", {"segment by segment"})
    # Neither nothing nor everything is found, so that every kind of error is counted.
    assert 0.1 < outcome["scores"]["F"] < 0.9
    assert 2 < outcome["scores"]["LE"] < 90


def test_metrics_of_scenes_with_nothing_in_common(tmp_path):
    """Events of one class in the same segments, never in the same frames."""
    for side, rows in (("reference", "0,3,0,10,0\n11,4,0,20,0\n"), ("prediction", "5,3,0,1.0,0.0,0.0\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.csv").write_text(rows)
    paths = tmp_path / "reference", tmp_path / "prediction"
    np.testing.assert_allclose(metrics.our_scores(*paths), metrics.scores_by_segment(*paths), atol=1e-9)


@pytest.mark.slow
def test_training_step(tiny):
    in_bf16 = replace(tiny, config=override(tiny.config, {"training.precision": "bf16"}))
    sides = training_step.make_sides(in_bf16, ["torchaudio", "torchaudio contiguous", "torchaudio tuned", "eager fp32"])
    outcome = training_step.measure(sides, repeats=1, peak_tflops=0.5, processes=False)
    check_result(outcome, "training_step-bf16", sides.keys() - {measure.OURS})
    for name in ("windows_per_s", "share_of_peak", "memory_gb", "first_step_s"):
        assert outcome[name].keys() == sides.keys(), name
    share = outcome["tflop_per_step"] / (outcome["sides_ms"]["ours"]["median"] / 1000) / 0.5
    assert outcome["share_of_peak"]["ours"] == pytest.approx(share)
    assert set(outcome["largest_difference"]) == sides.keys() - {"eager fp32"}


def test_only_ours_is_in_bf16_and_it_has_to_be(tiny, monkeypatch):
    in_bf16 = replace(tiny, config=override(tiny.config, {"training.precision": "bf16"}))
    sides = training_step.make_sides(in_bf16, ["torchaudio", "eager fp32"])
    assert [side.bf16 for side in sides.values()] == [True, False, False]
    monkeypatch.setattr(SeldModel, "_precision", lambda model, device: nullcontext())
    with pytest.raises(AssertionError, match="ours"):
        training_step.check(sides)


def test_operations_of_a_step_are_counted(tiny):
    _, flops = training_step.check(training_step.make_sides(tiny, []))
    # The first convolution alone, on 240 frames of 16 bands, forward and for its weights.
    assert flops > 2 * 2 * 240 * 16 * 4 * 7 * 9


def test_models_that_differ_are_not_timed(tiny, monkeypatch):
    theirs = training_step.TorchaudioConformer.forward
    monkeypatch.setattr(training_step.TorchaudioConformer, "forward", lambda self, x: 1.01 * theirs(self, x))
    with pytest.raises(AssertionError, match="torchaudio"):
        training_step.check(training_step.make_sides(tiny, ["torchaudio"]))


def test_a_side_trains_step_by_step_and_ends_with_its_connection(tiny):
    ours, theirs = Pipe()
    worker = threading.Thread(target=training_step.serve, args=(theirs, tiny))
    worker.start()
    losses = []
    for _ in range(2):
        ours.send(True)
        loss, memory_gb = ours.recv()
        losses.append(loss)
    ours.close()
    worker.join(timeout=10)
    assert not worker.is_alive()
    assert losses[0] != losses[1]
    assert memory_gb > 0


def test_unknown_peers_are_named(tiny):
    with pytest.raises(UserError, match=r"'nobody'.*torchaudio, torchaudio contiguous"):
        training_step.make_sides(tiny, ["nobody"])


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA H200", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA T4", None)])
def test_peaks(name, peak):
    assert training_step.known_peak_tflops(name) == peak


def test_codings_of_embeddings_lose_nothing():
    vectors, took = embeddings.embeddings(ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=8), 6, 64, 128)
    assert (vectors.shape, vectors.dtype) == ((6 * NUM_SWAPS, 128), np.float16)
    assert len(np.unique(vectors, axis=0)) == len(vectors)
    vectors[5, :4] = [-0.0, -1.5, np.inf, 6e-8]
    outcome = embeddings.measure(vectors, 2, **took)
    check_result(outcome, "embeddings", {"float16", "zstd", "byte planes", "changes in bit planes"})
    sizes = outcome["megabytes_a_minute"]
    assert sizes.keys() == outcome["sides_ms"].keys()
    assert sizes["float16"] > 1.28
    assert outcome["seconds_a_picture"] > 0


# --- feeding ----------------------------------------------------------------------------------------------------------

SMALL = InputConfig(n_fft=512, hop=300, n_mels=16, frame_width=64, frame_height=32)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return noisy_store(str(tmp_path_factory.mktemp("noise")), clips=16, clip_s=5.0, with_pictures=True)


def test_pictures_of_the_noisy_store_do_not_repeat(noise):
    (row, *_) = read_shard(noise, noise.split("train").shards[0])
    assert len(set(row["frames"])) == len(row["frames"]) == 50
    assert 20_000 < np.mean([len(picture) for picture in row["frames"]]) < 60_000


@pytest.mark.parametrize("looks", [[], ["frames"]])
def test_the_plain_loader_cuts_our_windows(noise, looks):
    prepare = PrepareRow(SMALL, looks)
    rows = [prepare(raw) for shard in noise.split("train").shards for raw in read_shard(noise, shard)]
    dataset = WindowDataset(noise, "train", SMALL, bool(looks), swap=False)
    assert feeding.check(dataset, rows, SMALL) < 2e-3
    rows[0]["features"] = rows[0]["features"] + 1
    with pytest.raises(AssertionError, match="features"):
        feeding.check(dataset, rows, SMALL)


@pytest.mark.slow
def test_feeding(noise):
    sizes = {"batch": 4, "held": 4, "workers": 1, "cores": 2, "peer": 8}
    outcome = feeding.measure(noise, SMALL, True, sizes, repeats=1)
    check_result(outcome, "feeding_frames", {feeding.STREAMED, feeding.PEER})
    assert outcome["windows_per_s"].keys() == outcome["sides_ms"].keys()
    assert outcome["neighbour_distance"][feeding.STREAMED] < outcome["neighbour_distance"][measure.OURS]


@pytest.mark.slow
def test_sharing(noise, tmp_path):
    prepare = PrepareRow(SMALL)
    with feeding.quiet_ray(3, 200_000_000):
        memory = sharing.measure_memory(noise, PrepareRow(SMALL, ["frames"]), ["frames"])
        counted = sharing.CountedPrepare(prepare, str(tmp_path))
        shared = sharing.measure_sharing(noise, counted, trials=2, repeats=1)
    check_result(measure.result("sharing", "run", shared["times"], {}), "sharing", {sharing.ONE, sharing.APART})
    assert shared["rows_decoded"] == {measure.OURS: 16, sharing.ONE: 16, sharing.APART: 32}
    assert memory["peak_bytes"] <= memory["bound_bytes"] <= memory["decoded_bytes"] / 4
