"""Connecting to a Ray cluster, embedded or the user's own, and what its libraries need to know of our storage."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from data import object_stores, storage
from data.errors import UserError
from data.feeding.stream import user_errors
from data.patience import handed_on
from data.registry.plugins import Plugin, load, load_plugins, loaded
from infra.cluster.growth import GROWS_TO_VARIABLE, parse_grows_to
from infra.cluster.ray_private import read_environment_again
from infra.stack.settings import Settings

logger = logging.getLogger(f"seldtune.{__name__}")

T = TypeVar("T")
R = TypeVar("R")


ENVIRONMENT = {
    # Ctrl-C ends a sweep at once; the sweep's record makes it resumable.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's own snapshots and loggers: the sweep's record replaces them.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The sweep's record keeps why a trial failed.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # A process more for each worker group, for warnings of which nothing is made.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Tune's banner and tables: a sweep says one line a report, and its own table at the end.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray Data would ask a Prometheus four things every ten seconds, whether or not there is one.
    "RAY_DATA_USAGE_DISABLED": "1",
}
"""What Ray's libraries are told in a process that joins a cluster."""


def connect(settings: Settings) -> None:
    """Join the cluster of the settings; nothing happens when this process has joined one already.

    Raises:
        UserError: no cluster answers at the address, it refuses the token, or a plugin was loaded since it was joined.
    """
    os.environ.update(ENVIRONMENT)
    import ray
    from ray.data import DataContext

    if not ray.is_initialized():
        read_environment_again()
        load_plugins()
        try:
            # Without an address of its own, data can still be made: a Ray of this process's.
            ray.init(
                address=settings.ray_address or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                **_with_plugins(loaded()),
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"Ray at {settings.ray_address} cannot be joined ({str(error).splitlines()[0]}); "
                "start it (`seldtune up`) or correct RAY_ADDRESS"
            ) from error
    else:
        _require_handed_on(loaded())
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # At the end it would list as incomplete every trial that was tried again, with a traceback each.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)


_handed_on: set[Plugin] = set()
"""Plugins that this process's workers load."""


def _with_plugins(plugins: Sequence[Plugin]) -> dict[str, Any]:
    """What `ray.init` is told so that each of this driver's processes loads the plugins as it starts.

    Trial actors, workers of trials and tasks of data are then all alike, and nothing that is pickled has to bring its
    plugin along. Files go as their text: other nodes do not see this one's.
    """
    _handed_on.clear()
    if not plugins:
        return {}

    def load_all() -> None:
        for plugin in plugins:
            load(plugin)

    _handed_on.update(plugins)
    return {"runtime_env": {"worker_process_setup_hook": load_all}}


def _require_handed_on(plugins: Sequence[Plugin]) -> None:
    late = [plugin.name for plugin in plugins if plugin not in _handed_on]
    if late:
        raise UserError(
            f"plugin {late[0]} is not known to the workers of Ray, which this process joined before: load it before "
            "the first call that needs Ray, or start a process of its own"
        )


def cluster_name(settings: Settings) -> str:
    """The cluster of the settings, called the same by all its drivers on this host, and by others if its address is."""
    address = settings.ray_address or "local"
    known_elsewhere = ":" in address and not address.startswith(("127.", "localhost"))
    return address if known_elsewhere else f"{socket.gethostname()}/{address}"


def cluster_size() -> dict[str, float]:
    """CPUs and GPUs that the cluster has, or will have when there is work for all the nodes that it may grow to.

    Raises:
        UserError: it says in another form what it may grow to.
    """
    import ray

    total, most = ray.cluster_resources(), parse_grows_to(os.environ.get(GROWS_TO_VARIABLE) or "CPU=0,GPU=0")
    return {name: max(total.get(name, 0.0), most[name]) for name in most}


def cluster_use() -> dict[str, tuple[float, float]]:
    """CPUs, GPUs and bytes of object stores on the cluster: in use, and in all. Nothing when it does not answer."""
    import ray

    try:
        total, free = ray.cluster_resources(), ray.available_resources()
    except (ray.exceptions.RayError, ConnectionError):
        return {}
    names = [name for name in ("CPU", "GPU", "object_store_memory") if total.get(name)]
    return {name: (total[name] - free.get(name, 0.0), total[name]) for name in names}


def ray_storage(uri: str) -> dict[str, Any]:
    """`storage_path` and, on an object store, `storage_filesystem` for Ray Train and Tune.

    Holds no secret: keys stay in the environment of each node.
    """
    if not storage.is_remote(uri):
        return {"storage_path": uri}
    return {
        "storage_path": "/".join(object_stores.split_uri(uri)),
        "storage_filesystem": object_stores.arrow_filesystem(uri),
    }


def on_cluster(settings: Settings) -> Callable[[Callable[[T], R], Sequence[T]], Iterator[R]]:
    """`ray_map` on the cluster of the settings, which is joined when there is something to do."""

    def run(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        if items:
            connect(settings)
        return ray_map(function, items)

    return run


def ray_map(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Like `map`, as Ray Data tasks of one CPU on the cluster; results come as they are ready, in any order.

    Raises:
        UserError: from inside a call, as itself.
    """
    if not items:
        return
    import ray

    # As bytes, so that Ray Data does not try to make columns of them.
    def call(batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"result": [pickle.dumps(function(pickle.loads(item))) for item in batch["item"]]}

    dataset = ray.data.from_items([pickle.dumps(item) for item in items], override_num_blocks=len(items))
    results = dataset.map_batches(handed_on(call), batch_size=1)
    # Otherwise Ray Data raises an error of its own, and what caused it stays behind in the worker.
    results.context.raise_original_map_exception = True
    with user_errors():
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(pickle.loads, batch["result"])
