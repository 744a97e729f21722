"""What no trial may be started with: a network that cannot be built, too large for its worker, or too slow to judge.

`plan` asks it about samples of a space, a sweep about each config before it becomes a trial, so that neither starts
what the other would refuse. The first config of a kind takes up to seconds, later ones milliseconds
(`trainables.networks.estimate`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from data.errors import UserError
from infra.costs.calibration import Calibration
from infra.costs.forecast import DataSize, forecast_trial
from trainables.config import TrialConfig
from trainables.config.tree import fingerprint
from trainables.networks.broken_part import BrokenPart
from trainables.networks.estimate import estimate
from trainables.parts.audio import AUDIO_ENCODERS
from trainables.parts.fusions import FUSIONS
from trainables.parts.schedules import SCHEDULES
from trainables.parts.visual import VISUAL_ENCODERS
from trainables.training.resources import TrialResources

logger = logging.getLogger(f"seldtune.{__name__}")

MARGIN = 0.1
"""Of a worker's memory, what a prediction must leave free."""
PROCESS_BYTES = 700_000_000
"""Of a worker's host memory, what torch, Ray and the data's buffers take before there is a network."""


class Feasibility:
    """Says of a config why no trial may be started with it, or nothing.

    Args:
        memory_bytes: that one worker may take, the GPU's where it has one (`worker_memory_bytes`); nothing: unknown,
            and no config is too large.
        calibration: with `size` and `budget_s`, a config is refused whose first `grace_epochs` epochs, before which
            none is judged, take longer than the whole budget. An assumed one refuses nothing.
    """

    def __init__(
        self,
        resources: TrialResources,
        memory_bytes: int | None = None,
        *,
        calibration: Calibration | None = None,
        size: DataSize | None = None,
        grace_epochs: int = 1,
        budget_s: float | None = None,
    ) -> None:
        self._resources = resources
        self._memory_bytes = memory_bytes
        self._calibration = None if calibration is None or calibration.assumed else calibration
        self._size = size
        self._grace_epochs = grace_epochs
        self._budget_s = budget_s
        self._known: dict[str, str | None] = {}

    def __call__(self, config: TrialConfig) -> str | None:
        key = fingerprint(config)
        if key not in self._known:
            self._known[key] = self._reason(config)
        return self._known[key]

    def _reason(self, config: TrialConfig) -> str | None:
        workers = self._resources.workers
        if config.training.batch_size % workers:
            return f"training.batch_size = {config.training.batch_size} cannot be shared by {workers} workers"
        try:
            cost = estimate(config, workers)
        # Whatever torch says of shapes that do not go together is the answer.
        except Exception as error:
            return f"the network cannot be built: {str(error).splitlines()[0]}"
        if self._memory_bytes is not None and cost.memory_bytes > (1 - MARGIN) * self._memory_bytes:
            return (
                f"a training step needs about {cost.memory_bytes / 1e9:.1f} GB, and a worker has "
                f"{self._memory_bytes / 1e9:.1f} GB of which {MARGIN:.0%} stay free; lower training.batch_size"
            )
        if self._calibration is None or self._size is None or self._budget_s is None:
            return None
        epochs = min(self._grace_epochs, config.training.epochs)
        seconds = epochs * forecast_trial(config, self._size, self._calibration, workers).epoch_s
        if seconds > self._budget_s:
            return (
                f"{epochs} epochs, before which no trial is judged, take about {seconds / 3600:.2g} h, more than the "
                f"budget of {self._budget_s / 3600:.2g} h; raise --budget, or lower training.epoch_windows"
            )
        return None


def broken_parts(configs: Sequence[TrialConfig], workers: int) -> dict[tuple[str, str], str]:
    """Kind and name of each encoder, fusion and schedule that is at fault wherever these configs use it, and how.

    A part that some config is built with is not among them: the search goes around the others. Few configs are
    looked at where nothing is broken, one with each part.
    """
    built: set[tuple[str, str]] = set()
    broken: dict[tuple[str, str], str] = {}
    for config in configs:
        parts = used_parts(config)
        if parts <= built or config.training.batch_size % workers:
            continue
        try:
            estimate(config, workers)
            built |= parts
        except BrokenPart as error:
            broken.setdefault(error.part, str(error))
        except Exception as error:
            logger.debug("no part is at fault: %s", error)
    return {part: f"{reason}; no config with it can be built" for part, reason in broken.items() if part not in built}


def used_parts(config: TrialConfig) -> set[tuple[str, str]]:
    """Kinds and names of its encoders, each of several, its fusion and its schedule."""
    seen = {(VISUAL_ENCODERS.kind, member.name) for member in config.visual.members().values()}
    others = {(FUSIONS.kind, config.fusion.name), (SCHEDULES.kind, config.schedule.name)}
    return {(AUDIO_ENCODERS.kind, config.audio.name), *seen, *others}


def check_parts(configs: Sequence[TrialConfig], workers: int) -> None:
    """UserError where a part is at fault wherever it is used (`broken_parts`): it would never be tried."""
    if broken := broken_parts(configs, workers):
        raise UserError("; ".join(broken.values()))


def worker_memory_bytes(resources: TrialResources) -> int | None:
    """What one worker of a trial may take: its share of a GPU's memory, or of its node's by its CPUs.

    The least over the nodes that have room for a worker; nothing where none tells. Needs a running Ray.
    """
    import ray

    if resources.gpus_per_worker:
        return _gpu_memory_bytes(resources)
    shares = [
        node["Resources"]["memory"] * resources.cpus_per_worker / node["Resources"]["CPU"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= resources.cpus_per_worker
        if "memory" in node["Resources"]
    ]
    return max(0, round(min(shares)) - PROCESS_BYTES) if shares else None


def _gpu_memory_bytes(resources: TrialResources) -> int | None:
    """Asked of one worker; nothing where none is free in time, or there is none."""
    import ray

    if ray.cluster_resources().get("GPU", 0.0) < resources.gpus_per_worker:
        return None

    def total() -> Any:
        import torch

        return torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None

    reference = ray.remote(num_cpus=0, num_gpus=resources.gpus_per_worker)(total).remote()
    try:
        found = ray.get(reference, timeout=60)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        logger.warning("no GPU was free to be asked how much memory it has; no config is refused for its size")
        return None
    return None if found is None else round(found * min(1.0, resources.gpus_per_worker))
