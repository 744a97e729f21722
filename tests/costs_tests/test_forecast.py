"""Epochs, steps, seconds and refusals that follow from what a config costs and a machine does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.feeding.windows import Sampling, WindowSampler
from data.stores.rows import encode_flac
from infra.costs import calibration
from infra.costs.calibration import Calibration, Point, assume, describe_machine, fit
from infra.costs.feasible import Feasibility
from infra.costs.forecast import GROUP_START_S, DataSize, data_size, forecast_sweep, forecast_trial
from infra.plan.plan import _forecast
from infra.search.fairness import expected_epochs
from infra.search.proposals import draw
from infra.search.stoppers import STOPPERS, StopperSettings, make_stopper
from infra.sweep.request import SweepRequest
from search_spaces.quickstart import INPUTS, QUICKSTART
from support.one_worker import ROWS, SHORT
from trainables.config.tree import override
from trainables.networks.estimate import estimate
from trainables.training.resources import TrialResources

SIZE = DataSize(train_windows=1000, eval_windows=40)
SPEED = Calibration(
    source="measured", step_overhead_s=0.1, flops_per_s=1e10, window_overhead_s=0.01, window_flops_per_s=2e10
)
CONFIG = draw(QUICKSTART, {}, seed=0, count=1).configs[0]


def points(overhead_s: float, rate: float, noise: float = 0.0) -> list[Point]:
    rng = np.random.default_rng(0)
    return [
        Point(
            step_flops=flops,
            step_s=(overhead_s + flops / rate) * (1 + noise * rng.normal()),
            window_flops=flops / 100,
            window_s=flops / 100 / (2 * rate),
        )
        for flops in (5e9, 7e9, 20e9)
    ]


def test_overhead_and_rate_are_found_again() -> None:
    found = fit(points(0.2, 1.5e10), "here")
    assert found.step_overhead_s == pytest.approx(0.2, rel=1e-3)
    assert found.flops_per_s == pytest.approx(1.5e10, rel=1e-3)
    assert found.window_s(5e7) == pytest.approx(5e7 / 3e10, rel=1e-3)
    noisy = fit(points(0.2, 1.5e10, noise=0.1), "here")
    assert noisy.step_s(1e10) == pytest.approx(0.2 + 1e10 / 1.5e10, rel=0.2)


def test_a_broken_file_of_what_was_measured_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "on_worker", lambda *_: "this-machine")
    assert calibration.kept_calibration("fp32", TrialResources(), str(tmp_path)) is None
    file = tmp_path / "calibration" / "this-machine-fp32.json"
    file.parent.mkdir()
    for content in ("", "{}", '{"points": [{"speed": 3}]}'):
        file.write_text(content)
        with pytest.raises(UserError, match=rf"{file} is not as .*; delete it"):
            calibration.kept_calibration("fp32", TrialResources(), str(tmp_path))


def test_neither_overhead_nor_rate_is_ever_below_zero() -> None:
    one = fit(points(0.2, 1.5e10)[:1], "here")
    assert one.step_overhead_s == 0.0
    assert one.step_s(5e9) == pytest.approx(0.2 + 5e9 / 1.5e10)
    shrinking = fit([Point(step_flops=f, step_s=1e10 / f, window_flops=f, window_s=f) for f in (1e9, 2e9)], "here")
    assert shrinking.step_s(1.5e9) > 0
    assert shrinking.step_overhead_s >= 0


def test_what_is_assumed_grows_with_what_a_worker_has() -> None:
    one, four = assume(TrialResources()), assume(TrialResources(cpus_per_worker=4))
    assert four.flops_per_s == 4 * one.flops_per_s
    assert assume(TrialResources(gpus_per_worker=1.0)).flops_per_s > 100 * one.flops_per_s
    assert one.assumed
    assert not SPEED.assumed


def test_a_machine_has_one_name() -> None:
    name = describe_machine(TrialResources(cpus_per_worker=2))
    assert name == describe_machine(TrialResources(cpus_per_worker=2))
    assert name.startswith("2x-")
    assert "/" not in name


def test_steps_are_those_of_the_sampler() -> None:
    rows = [_row(f"r{i}", num_labels) for i, num_labels in enumerate((600, 95, 20))]
    for wanted, batch in ((None, 16), (64, 16), (4096, 16), (None, 512)):
        config = (
            override(CONFIG, {"training.epoch_windows": wanted, "training.batch_size": batch})
            if (wanted is None or wanted >= batch)
            else CONFIG
        )
        sampler = WindowSampler(rows, Sampling(batch, epoch_windows=wanted))
        size = DataSize(train_windows=len(sampler._windows), eval_windows=0)
        assert size.steps(config) == len(sampler)


def test_windows_are_counted_in_the_index(tmp_path: Path) -> None:
    from support.stores import publish

    contents = {"train": [[_raw("a", 0, 600, 625)]], "val": [[_raw("b", 0, 65, 65), _raw("c", 0, 30, 30)]]}
    size = data_size(publish(tmp_path, contents), INPUTS)
    # A window may start at each of the 120 hops of a minute with its tail; 65 label frames take three windows of 30.
    assert size == DataSize(train_windows=120, eval_windows=4)


def test_seconds_are_steps_and_windows() -> None:
    trial = forecast_trial(CONFIG, SIZE, SPEED, workers=1)
    cost = estimate(CONFIG)
    steps = 1000 // CONFIG.training.batch_size
    assert trial.steps == steps
    expected = steps * (0.1 + cost.step_flops / 1e10) + 40 * (0.01 + cost.window_flops / 2e10)
    assert trial.epoch_s == pytest.approx(expected)
    assert trial.seconds == pytest.approx(CONFIG.training.epochs * expected)
    pair = forecast_trial(CONFIG, SIZE, SPEED, workers=2)
    assert trial.epoch_s / 2 < pair.epoch_s < trial.epoch_s


def test_a_sweep_is_its_trials_side_by_side() -> None:
    trial = forecast_trial(CONFIG, SIZE, SPEED, workers=1)
    sweep = forecast_sweep([trial], trials=10, concurrency=4, epochs=7, workers=1, cpus=2, gpus=0.5)
    assert sweep.wall_s == pytest.approx(10 * (1 + trial.seconds * 7 / CONFIG.training.epochs) / 4)
    assert sweep.gpu_hours == pytest.approx(10 * sweep.trial_s * 0.5 / 3600)
    assert sweep.cpu_hours == 4 * sweep.gpu_hours
    assert sweep.whole_wall_s > sweep.wall_s
    few = forecast_sweep([trial], trials=2, concurrency=4, epochs=7, workers=1, cpus=2, gpus=0.5)
    assert few.wall_s == pytest.approx(few.trial_s)
    # Each of the four groups starts once, whatever the number of trials.
    groups = forecast_sweep([trial], trials=10, concurrency=4, epochs=7, workers=2, cpus=2, gpus=0.5)
    assert groups.trial_s - sweep.trial_s == pytest.approx(4 / 10 * GROUP_START_S)
    assert sweep.stored_bytes == 10 * (2 * estimate(CONFIG).checkpoint_bytes + estimate(CONFIG).model_bytes)


def test_what_cannot_be_is_refused_with_its_reason() -> None:
    alone, needed = TrialResources(), estimate(CONFIG).memory_bytes
    assert Feasibility(alone)(CONFIG) is None
    assert Feasibility(alone, int(needed / 0.85))(CONFIG) is None
    assert "GB" in (Feasibility(alone, needed)(CONFIG) or "")
    assert "3 workers" in (Feasibility(TrialResources(workers=3))(CONFIG) or "")
    grace_s = 3 * forecast_trial(CONFIG, SIZE, SPEED, 1).epoch_s
    for budget_s, reason in ((grace_s * 1.01, None), (grace_s * 0.99, "3 epochs")):
        refuses = Feasibility(alone, calibration=SPEED, size=SIZE, grace_epochs=3, budget_s=budget_s)
        found = refuses(CONFIG)
        assert (found is None) if reason is None else (found or "").startswith(reason)
        # What is only assumed refuses nothing.
        assumed = Feasibility(alone, calibration=assume(alone), size=SIZE, grace_epochs=3, budget_s=budget_s / 1e6)
        assert assumed(CONFIG) is None


def test_a_network_that_cannot_run_is_refused() -> None:
    """A single window of a single label frame passes every rule of a config, and leaves nothing to normalise over."""
    inputs = {"inputs.window_s": 0.1, "inputs.train_hop_s": 0.1, "inputs.frame_rate_hz": 10.0}
    lonely = override(CONFIG, {"training.batch_size": 1, **inputs})
    reason = Feasibility(TrialResources())(lonely)
    assert reason is not None
    assert reason.startswith("the network cannot be built: Expected more than 1 value per channel")


def test_other_configs_of_a_space_are_refused_by_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = Feasibility(TrialResources())
    for config in draw(QUICKSTART, {}, seed=3, count=48).configs:
        refuses(config)
    monkeypatch.setattr("trainables.networks.estimate._measured", lambda *_: pytest.fail("measured again"))
    for config in draw(QUICKSTART, {}, seed=4, count=48).configs:
        refuses(config)


def _row(recording: str, num_labels: int) -> dict[str, object]:
    per_label = INPUTS.features_per_label
    return {
        "recording": recording,
        "start_frame": 0,
        "num_frames": num_labels,
        "features": np.zeros((7, num_labels * per_label, 4), dtype=np.float32),
        "target": np.zeros((num_labels, 6, 5, 13), dtype=np.float32),
        "has_video": False,
    }


def _raw(recording: str, start: int, num_labels: int, labels: int) -> dict[str, object]:
    return {
        "recording": recording,
        "room": "r",
        "start_frame": start,
        "num_frames": num_labels,
        "num_samples": labels * 2400,
        "audio": encode_flac(np.zeros((4, labels * 2400), dtype=np.int16)),
        "frames": [],
        "frame_rate_hz": 10.0,
        "has_video": False,
        "events": [],
    }


@pytest.mark.parametrize("name", STOPPERS)
def test_the_forecast_of_a_sweep_asks_its_own_stopper(name: str) -> None:
    trial = forecast_trial(CONFIG, SIZE, SPEED, workers=1)
    request = SweepRequest(space=QUICKSTART, stopper=name, trials=40)
    forecast = _forecast([trial], request, TrialResources(), owed=40, concurrency=4)
    settings = StopperSettings(
        max_epochs=CONFIG.training.epochs, grace_epochs=QUICKSTART.grace_epochs, reduction=QUICKSTART.reduction
    )
    assert forecast.epochs == make_stopper(name, settings).expected_epochs(40, 4)
    stops = name in ("asha", "hyperband", "median", "forecast")
    assert (forecast.wall_s < forecast.whole_wall_s) == stops
    # Each of two fusions is judged by itself too.
    other = forecast_trial(draw(QUICKSTART, {}, seed=0, count=2).configs[1], SIZE, SPEED, workers=1)
    both = _forecast([trial, other], request, TrialResources(), owed=40, concurrency=4)
    assert both.epochs == expected_epochs(name, settings, 40, 4, variants=2)
    assert (both.epochs != forecast.epochs) == stops


def test_a_config_that_wants_more_of_an_epoch_than_a_measurement_has_is_measured() -> None:
    """A share of what was added, and weights that stay for longer than the two epochs that are timed."""
    changes = {"training.epochs": 5, "training.taken_frozen_epochs": 5, "training.added_share": 0.5}
    config = override(SHORT, changes)
    cost = estimate(config)
    point = calibration._timed(config, 1, ROWS["train"], torch.device("cpu"), 1.0, cost.window_flops)
    assert point.step_s > 0
