#!/usr/bin/env bash
# Ray 2.60.0 (Ray Data)
# Guess:    an iterator of `iter_batches` that is left in the middle ends its threads when nothing refers to it any
#           more.
# Seen:     a thread named "Prefetcher" stays, with the blocks that it waits to hand over, for as long as the process
#           lives; even `ray.shutdown()` does not end it. Read to its end, the iterator leaves no thread.
# Matters:  looking at a first batch, early stopping in the middle of an epoch, errors in a training loop: one thread
#           and its blocks each time, in a worker that serves many trials.
# Instead:  read to the end, or `iter_internal_ref_bundles()`, which ends with its last reference.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "ray[data]==2.60.0" numpy==2.4.6
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled
venv/bin/python - 2>venv/log <<'PY'
import gc
import threading
import time

import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
rows = ray.data.range(64, override_num_blocks=16)


def prefetchers() -> int:
    return sum(thread.name == "Prefetcher" for thread in threading.enumerate())


def settled(wanted: int, seconds: float) -> int:
    """How many threads there are once there are as many as wanted, or when the time is over."""
    end = time.monotonic() + seconds
    while prefetchers() != wanted and time.monotonic() < end:
        gc.collect()
        time.sleep(0.2)
    return prefetchers()


for _ in rows.iter_batches(batch_size=1):
    pass
whole = settled(0, 20)
batches = iter(rows.iter_batches(batch_size=1))
next(batches)
del batches
left = settled(0, 20)
ray.shutdown()
after = settled(0, 5)
print(f"threads left by an iterator read to its end: guessed 0, seen {whole}")
print(f"by one left after a batch: guessed 0, seen {left}; after ray.shutdown(): {after}")
assert (whole, left, after) == (0, 1, 1), "changed"
PY
