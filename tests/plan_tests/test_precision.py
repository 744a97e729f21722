"""`training.precision = auto`: what the machine computes in faster, for all trials of a sweep, and kept.

No machine with a unit for bfloat16 is at hand: what a calibration finds there is made up here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from data.errors import UserError
from infra.costs import precision
from infra.costs.calibration import Calibration
from trainables.config import TrainingConfig, TrialConfig
from trainables.config.tree import override, to_dict
from trainables.training.resources import TrialResources

CONFIGS = [TrialConfig(training=TrainingConfig(precision="auto", seed=seed)) for seed in range(2)]
CPU = TrialResources(workers=1, cpus_per_worker=1, gpus_per_worker=0)


def speed(flops_per_s: float) -> Calibration:
    return Calibration(
        source="made up", step_overhead_s=0.0, flops_per_s=flops_per_s, window_overhead_s=0.0, window_flops_per_s=1.0
    )


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """`fixed_precision` on a machine with a unit for bfloat16 that trains so fast in either."""

    def chosen(
        rates: dict[str, float],
        records: list[Any] | None = None,
        configs: list[TrialConfig] = CONFIGS,
        unit: bool = True,
    ) -> dict[str, str]:
        measured = []

        def calibrate(configs: list[TrialConfig], *_: object) -> Calibration:
            [found] = {config.training.precision for config in configs}
            measured.append(found)
            return speed(rates[found])

        monkeypatch.setattr(precision, "on_worker", lambda *_: unit)
        monkeypatch.setattr(precision, "kept_calibration", lambda *_: None)
        monkeypatch.setattr(precision, "calibrate", calibrate)
        fixed = precision.fixed_precision(configs, records or [], None, None, CPU, "nowhere")  # type: ignore[arg-type]
        assert not (measured and not unit)
        return fixed

    return chosen


@pytest.mark.parametrize(("fp32", "bf16", "expected"), [(1e9, 3e9, "bf16"), (3e9, 1e9, "fp32")])
def test_what_a_step_is_faster_in_is_chosen(choose, fp32, bf16, expected):
    assert choose({"fp32": fp32, "bf16": bf16}) == {"training.precision": expected}


def test_a_machine_without_a_unit_is_not_measured(choose):
    assert choose({}, unit=False) == {"training.precision": "fp32"}


def test_a_sweep_that_goes_on_keeps_what_its_trials_have(choose):
    trial = SimpleNamespace(config=to_dict(override(CONFIGS[0], {"training.precision": "bf16"})))
    assert choose({"fp32": 3e9, "bf16": 1e9}, records=[trial]) == {"training.precision": "bf16"}


def test_a_choice_that_was_made_stays(choose):
    assert choose({}, configs=[TrialConfig()]) == {}


def test_auto_beside_another_precision_is_refused(choose):
    with pytest.raises(UserError, match="cannot vary it beside 'fp32'"):
        choose({}, configs=[*CONFIGS, TrialConfig()])


def test_a_cluster_without_room_trains_in_fp32(choose, monkeypatch, caplog):
    def busy(*_: object) -> None:
        raise TimeoutError("no worker of the cluster had done its part in 120 s")

    monkeypatch.setattr(precision, "kept_calibration", busy)
    monkeypatch.setattr(precision, "on_worker", lambda *_: True)
    fixed = precision.fixed_precision(CONFIGS, [], None, None, CPU, "nowhere")  # type: ignore[arg-type]
    assert fixed == {"training.precision": "fp32"}
    assert "no worker of the cluster" in caplog.text


def test_this_machine_is_asked_what_it_multiplies(monkeypatch):
    for flags, expected in (("fpu avx2 avx512_bf16", True), ("fpu avx2 avx512f bf1", False)):
        monkeypatch.setattr(precision.Path, "read_text", lambda _, flags=flags: f"flags : {flags}\n")
        assert precision.multiplies_bf16(CPU) == expected
