"""What `training.precision = auto` is on the machines of a cluster: bf16 where they train faster in it, or fp32.

Without a unit for bfloat16 a processor imitates it, several times slower than float32: nothing is timed there. With
one, how much of a step it speeds up hangs on the network, so that both are measured, as for a plan, and kept.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from data.stores.chunks import Store
from infra.costs.calibration import calibrate, kept_calibration, on_worker
from infra.record.trials import TrialRecord
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, override
from trainables.inputs.prepare import PrepareRow
from trainables.networks.estimate import estimate
from trainables.training.resources import TrialResources

logger = logging.getLogger(f"seldtune.{__name__}")

AUTO = "auto"
FIELD = "training.precision"
_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of processors that multiply bfloat16; the last is ARM's."""


def fixed_precision(
    configs: Sequence[TrialConfig],
    records: Sequence[TrialRecord],
    store: Store,
    prepare: PrepareRow,
    resources: TrialResources,
    root: str,
) -> dict[str, str]:
    """The field that all trials of a sweep share, where its configs leave it open; empty where they do not.

    A sweep that goes on keeps what its trials have. Needs a running Ray, and a minute on a kind of machine that is new.

    Args:
        records: trials that the sweep has already.

    Raises:
        UserError: some configs leave it open, and others do not.
    """
    asked = {config.training.precision for config in configs}
    if AUTO not in asked:
        return {}
    if len(asked) > 1:
        raise UserError(
            f"{FIELD} = 'auto' is chosen once for a sweep; a space cannot vary it beside {min(asked - {AUTO})!r}"
        )
    if records:
        return {FIELD: from_dict(records[0].config).training.precision}
    return {FIELD: _faster(configs, store, prepare, resources, root)}


def _faster(
    configs: Sequence[TrialConfig], store: Store, prepare: PrepareRow, resources: TrialResources, root: str
) -> str:
    try:
        if not on_worker(resources, multiplies_bf16, resources):
            logger.info("%s: fp32, since the machine has no unit for bfloat16", FIELD)
            return "fp32"
        flops = statistics.median(estimate(config).step_flops for config in configs)
        step_s = {}
        for precision in ("fp32", "bf16"):
            calibration = kept_calibration(precision, resources, root)
            if calibration is None:
                fixed = [override(config, {FIELD: precision}) for config in configs]
                calibration = calibrate(fixed, store, prepare, resources, root)
            step_s[precision] = calibration.step_s(flops)
    except TimeoutError as error:
        logger.warning("%s: fp32; %s", FIELD, error)
        return "fp32"
    chosen = min(step_s, key=step_s.__getitem__)
    logger.info("%s: %s, a step of %.3g s in bf16 and %.3g s in fp32", FIELD, chosen, step_s["bf16"], step_s["fp32"])
    return chosen


def multiplies_bf16(resources: TrialResources) -> bool:
    """Whether what a worker computes on has a unit for products of bfloat16."""
    if resources.gpus_per_worker:
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and not _UNITS.isdisjoint(cpuinfo.read_text().split())
