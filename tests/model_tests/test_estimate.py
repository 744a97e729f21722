"""What a config costs, against hand counts, the networks themselves and a real training step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import infra.bench
from infra.costs.feasible import PROCESS_BYTES
from infra.search.proposals import draw
from search_spaces.presets import PRESETS, find_preset
from search_spaces.quickstart import QUICKSTART
from support.children import REPOSITORY, TESTED
from support.fixed_points import FixedPoint
from trainables.config import (
    Accdoa,
    AudioOnly,
    AvConformer,
    ConformerConfig,
    ResNetConformer,
    SeldNet,
    TrainingConfig,
    TrialConfig,
    VisualOnly,
)
from trainables.config.tree import override
from trainables.networks.estimate import FLOAT_BYTES, estimate, network_cost
from trainables.networks.model import SeldModel, count_parameters

RESNET50 = 23_508_032
RESULT = "results/training_step-amd-epyc-2-cores-2-threads.json"


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("dcase")])
def test_parameters_are_those_of_the_network(name: str) -> None:
    config = find_preset(name, "small")
    assert estimate(config).parameters == count_parameters(config)


def test_the_published_system_has_its_published_size() -> None:
    assert estimate(find_preset("resnet-av_conformer")).parameters == 85_327_221 + RESNET50


def test_operations_are_those_of_a_hand_count() -> None:
    """A network of two linear layers behind one convolutional block: all that multiplies can be written down."""
    audio = {"name": "seldnet", "channels": 8, "time_pools": [16], "frequency_pools": [4], "gru_layers": 0}
    audio["attention_layers"] = 0
    config = override(
        TrialConfig(fusion=AudioOnly(conformer=ConformerConfig(layers=0, heads=2))),
        {"audio": audio, "output": {"name": "accdoa"}, "head": {"hidden": 10}},
    )
    assert isinstance(config.audio, SeldNet)
    assert isinstance(config.output, Accdoa)
    windows, labels, times, bands = 3, 30, 480, 128
    convolution = 2 * windows * times * bands * 8 * 7 * 9
    head = 2 * windows * labels * (8 * 10 + 10 * 39)
    cost = network_cost(config, windows)
    assert cost.forward_flops == convolution + head
    # Backward costs twice as much, but nobody asks for the gradient of the features.
    assert cost.training_flops == 2 * convolution + 3 * head


def test_the_whole_network_costs_what_its_parts_do() -> None:
    """Parts are measured one by one, layers multiplied: against one count over the whole network, all at once."""
    from torch.utils.flop_counter import FlopCounterMode

    for config in {config.fusion.name: config for config in draw(QUICKSTART, {}, seed=1, count=24).configs}.values():
        inputs, windows = config.inputs, 4
        with torch.device("meta"):
            model = SeldModel(config)
            model._precision = lambda device: torch.autocast("cpu", enabled=False)  # type: ignore[method-assign]
            features = torch.empty(windows, 7, 30 * inputs.features_per_label, inputs.n_mels)
            seen = torch.empty(
                windows, inputs.window_pictures, inputs.frame_height, inputs.frame_width, 3, dtype=torch.uint8
            )
            with FlopCounterMode(display=False) as counter:
                model(features, seen if config.sees else None).sum().backward()
        assert network_cost(config, windows).training_flops == counter.get_total_flops(), config.fusion.name


def test_a_large_model_costs_what_was_measured_of_it() -> None:
    """The benchmark of a training step counted its operations and saw the memory of its process, torch's own in it."""
    measured = json.loads((Path(infra.bench.__file__).parent / RESULT).read_text())
    visual = ResNetConformer(frozen=True, weights="elsewhere", embeddings="elsewhere")
    batch = measured["parameters"]["batch"]
    config = TrialConfig(visual=visual, fusion=AvConformer(), training=TrainingConfig(batch_size=batch))
    cost = estimate(config)
    assert cost.step_flops / 1e12 == pytest.approx(measured["tflop_per_step"], rel=1e-3)
    assert (cost.memory_bytes + PROCESS_BYTES) / 1e9 == pytest.approx(measured["memory_gb"]["ours"], rel=0.15)


def test_cost_grows_with_the_batch_and_shrinks_with_the_workers() -> None:
    config = QUICKSTART.suggest(FixedPoint(QUICKSTART.first[2]))
    one, double = estimate(config), estimate(replace(config, training=replace(config.training, batch_size=32)))
    assert double.step_flops == pytest.approx(2 * one.step_flops, rel=1e-3)
    assert double.activations_bytes == pytest.approx(2 * one.activations_bytes, rel=0.05)
    assert double.window_flops == pytest.approx(one.window_flops, rel=1e-3)
    pair = estimate(config, workers=2)
    assert pair.step_flops == pytest.approx(one.step_flops, rel=1e-3)
    assert pair.activations_bytes == pytest.approx(one.activations_bytes / 2, rel=0.05)
    assert pair.weights_bytes == one.weights_bytes + FLOAT_BYTES * one.parameters
    by_adam = estimate(override(config, {"optimiser.name": "adam"}))
    assert by_adam.weights_bytes == 4 * FLOAT_BYTES * one.parameters
    # Muon keeps one number of each weight of a matrix or a convolution, where Adam keeps two.
    matrices = sum(weight.numel() for weight in SeldModel(config).parameters() if weight.ndim >= 2)
    assert by_adam.weights_bytes - one.weights_bytes == FLOAT_BYTES * matrices


def test_less_precision_takes_less_memory() -> None:
    fp32 = QUICKSTART.suggest(FixedPoint(QUICKSTART.first[0]))
    bf16 = replace(fp32, training=replace(fp32.training, precision="bf16"))
    assert 0.4 < estimate(bf16).activations_bytes / estimate(fp32).activations_bytes < 0.9
    assert estimate(bf16).step_flops == estimate(fp32).step_flops


def test_what_is_averaged_at_inference_is_counted() -> None:
    config = QUICKSTART.suggest(FixedPoint(QUICKSTART.first[0]))
    averaged = override(config, {"inference.swap_average": True, "inference.hop_s": 1.0})
    assert estimate(averaged).window_flops == pytest.approx(8 * 3 * estimate(config).window_flops)


def test_a_frozen_network_is_not_trained() -> None:
    free = find_preset("resnet-gru", "small")
    frozen = override(free, {"visual.frozen": True, "visual.weights": "somewhere"})
    backbone = sum(p.numel() for p in SeldModel(free).get_submodule("visual.backbone").parameters())
    costs = [network_cost(config, 2) for config in (free, frozen)]
    assert costs[0].parameters == costs[1].parameters
    assert costs[0].trained - costs[1].trained == backbone
    assert costs[1].forward_flops == costs[0].forward_flops < costs[1].training_flops < costs[0].training_flops
    assert costs[1].saved_bytes < 0.8 * costs[0].saved_bytes


def test_a_part_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = find_preset("resnet-av_conformer")
    known = estimate(config)
    monkeypatch.setattr("trainables.networks.estimate._measured", lambda *_: pytest.fail("measured again"))
    deeper = [
        estimate(override(config, {"fusion.conformer.layers": layers, "audio.conformer.layers": layers}))
        for layers in range(9, 12)
    ]
    parameters = [known.parameters, *(cost.parameters for cost in deeper)]
    assert parameters == sorted(set(parameters))


def test_a_head_without_audio_sees() -> None:
    config = find_preset("visual_only", "small")
    assert isinstance(config.fusion, VisualOnly)
    assert estimate(config).parameters == count_parameters(config)


_REAL_STEP = """
import re, sys, torch
from trainables.networks.estimate import estimate
from search_spaces.quickstart import QUICKSTART
from trainables.config.tree import override
from trainables.networks.model import SeldModel
from support.children import REPOSITORY, TESTED
from support.fixed_points import FixedPoint

def now(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1))

def train(config, windows, steps):
    inputs = config.inputs
    model = SeldModel(config)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    features = torch.randn(windows, 7, 30 * inputs.features_per_label, inputs.n_mels)
    size = (windows, inputs.window_pictures, inputs.frame_height, inputs.frame_width, 3)
    frames = torch.randint(0, 255, size, dtype=torch.uint8)
    target, valid = torch.rand(windows, 30, 6, 5, 13), torch.ones(windows, 30, dtype=torch.bool)
    for _ in range(steps):
        loss = config.output.loss(model(features, frames if config.sees else None), target, valid)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

torch.set_num_threads(1)
config = override(QUICKSTART.suggest(FixedPoint(QUICKSTART.first[int(sys.argv[1])])), {"training.batch_size": 48})
train(config, 1, 1)
before = now("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
train(config, 48, 2)
print(estimate(config).memory_bytes, now("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the most memory that a process had from /proc")
@pytest.mark.parametrize("first", [0, 2])
def test_memory_is_that_of_a_real_step(first: int) -> None:
    """Within a third of what a process of its own had in use at most: 14 % under to 10 % over when it was written."""
    result = subprocess.run(
        [sys.executable, "-c", _REAL_STEP, str(first)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": TESTED},
    )
    assert result.returncode == 0, result.stderr
    predicted, real = map(int, result.stdout.split())
    assert 0.67 < predicted / real < 1.5, (predicted, real)


def test_a_linear_layer_of_torch_counts_as_here() -> None:
    """The counter's own unit: a multiplication and an addition are two operations."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        nn.Linear(5, 7)(torch.empty(11, 5))
    assert counter.get_total_flops() == 2 * 11 * 5 * 7
