"""What of the Ray cluster, and of the driver's memory, is in use: cheap enough to be asked every few seconds.

Both questions to Ray are answered by its head from what the nodes tell it anyway, whatever their number.
"""

from __future__ import annotations

import psutil
import ray

GB = 1e9


def cluster_usage() -> dict[str, float]:
    """CPUs, GPUs and object store in use and in all, and the driver's memory; without Ray's part while Ray is away."""
    values = {"system/driver_memory_gb": psutil.Process().memory_info().rss / GB}
    if not ray.is_initialized():
        return values
    try:
        total, free = ray.cluster_resources(), ray.available_resources()
    except (ray.exceptions.RayError, RuntimeError, OSError):
        return values
    for resource, name, unit in (("CPU", "cpus", 1.0), ("GPU", "gpus", 1.0), ("object_store_memory", "store_gb", GB)):
        if resource in total:
            # What is used up wholly is missing among what is free.
            values[f"system/{name}"] = total[resource] / unit
            values[f"system/{name}_used"] = (total[resource] - free.get(resource, 0.0)) / unit
    return values
