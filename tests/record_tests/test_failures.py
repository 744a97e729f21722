"""What trials fail of, told from the errors that Ray itself makes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import tune
from ray.train import WorkerGroupError

from data.errors import WaitedInVain
from infra.bench.search.own_ray import own_ray
from infra.record.failures import DIVERGED, NODE_LOST, OUT_OF_MEMORY, RAISED, error_of, kind_of, waited_in_vain
from trainables.training.reports import Diverged


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Diverged("loss is nan at step 3"), DIVERGED),
        (MemoryError(), OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OUT_OF_MEMORY),
        (ray.exceptions.ActorUnavailableError("not now", None), NODE_LOST),
        (ray.exceptions.NodeDiedError("node 1 went away"), NODE_LOST),
        (ray.exceptions.OwnerDiedError("00" * 28, None, ""), NODE_LOST),
        (ValueError("Diverged, or MemoryError? No."), RAISED),
        (KeyError("visual"), RAISED),
    ],
)
def test_errors_by_their_class(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_what_a_trial_waited_for_in_vain_is_told_from_what_it_failed_of() -> None:
    in_vain = WaitedInVain("http://store does not answer; waited 15 min for it")
    in_actor = ray.exceptions.RayTaskError("train", "Traceback ...", in_vain).as_instanceof_cause()
    in_group = WorkerGroupError("2 workers failed", {0: in_vain, 1: RuntimeError("Connection closed by peer")})
    for error in (in_vain, in_actor, in_group):
        told = waited_in_vain(error)
        assert type(told) is WaitedInVain
        assert str(told) == str(in_vain)
    for other in (Diverged("loss is nan"), RuntimeError("waited"), "WaitedInVain: in a text"):
        assert waited_in_vain(other) is None


def test_memory_that_torch_cannot_have_on_the_cpu() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    assert kind_of(raised.value) == OUT_OF_MEMORY


def test_of_a_worker_group_the_worker_counts_that_failed_by_itself() -> None:
    lost_partner = RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:21000")
    for first, kind in (
        (Diverged("loss is nan"), DIVERGED),
        (MemoryError(), OUT_OF_MEMORY),
        (ValueError("no"), RAISED),
    ):
        error = WorkerGroupError("two failed", {0: lost_partner, 1: first})
        assert kind_of(error) == kind


@pytest.fixture(params=[0.95, 0.01], ids=["enough memory", "no memory"])
def cluster(request: pytest.FixtureRequest) -> Iterator[float]:
    """With so little memory allowed, Ray's monitor kills every worker."""
    memory = {"memory_usage_threshold": request.param, "memory_monitor_refresh_ms": 100}
    with own_ray(num_cpus=2, object_store_memory=100_000_000, _system_config=memory):
        yield request.param


@pytest.mark.slow
def test_trials_that_fail_on_ray(cluster: float, tmp_path: Path) -> None:
    def fail(config: dict[str, Any]) -> None:
        if config["how"] == DIVERGED:
            raise Diverged("loss is nan at step 3")
        if config["how"] == NODE_LOST:
            os.kill(os.getpid(), signal.SIGKILL)
        if config["how"] == RAISED:
            raise ValueError("a mistake")
        if cluster > 0.5:
            raise MemoryError
        time.sleep(60)

    kinds: dict[str, set[str]] = {}

    class Kinds(tune.Callback):
        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            text = Path(trial.error_file).read_text()
            kinds[trial.config["how"]] = {kind_of(error_of(trial)), kind_of(text)}

    all_kinds = [DIVERGED, OUT_OF_MEMORY, NODE_LOST, RAISED]
    expected = all_kinds if cluster > 0.5 else [OUT_OF_MEMORY]
    tune.Tuner(
        fail,
        param_space={"how": tune.grid_search(expected)},
        tune_config=tune.TuneConfig(max_concurrent_trials=2),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[Kinds()]),
    ).fit()
    assert kinds == {how: {how} for how in expected}
