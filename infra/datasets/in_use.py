"""Whether a store may be replaced: which sweeps were begun on its data, and which of them still run."""

from __future__ import annotations

import logging
from typing import Any

from data import storage
from data.errors import UserError
from data.names import some_of
from data.stores.chunks import Store
from data.stores.replacing import MayReplace, refuse_to_replace
from infra.record.claim import Driver, read_driver
from infra.record.folder import SweepStore

logger = logging.getLogger(f"seldtune.{__name__}")


def replacing(root: str, replace: bool) -> MayReplace:
    """What lets a store be replaced below a root with sweeps.

    Nothing lets one go that a running sweep reads. Otherwise `replace` does, and says whose data it was; without it,
    only one with the same settings and other recordings goes, such as of a tree that has grown, and only if no sweep
    was begun on it: its figures could not be had again.

    Growth: reads one small file a sweep.
    """

    def may_replace(there: Store, differences: str) -> None:
        running, others = sweeps_on(root, there)
        for name, driver in running.items():
            raise UserError(
                f"{there.root} is in use: sweep {name!r} is being run on it by pid {driver.pid} on host {driver.host}; "
                f"wait for it or stop it (`seldtune status {name}`), or choose another name or place for other data"
            )
        if others:
            begun = f"sweeps begun on the data there ({some_of(others)})"
            told = f"{begun} can be shown and compared, and do not go on without it"
            differences = f"{differences}; {told}"
        if replace:
            if others:
                logger.warning("%s: %s", there.root, told)
        else:
            refuse_to_replace(there, differences)

    return may_replace


def sweeps_on(root: str, store: Store) -> tuple[dict[str, Driver], list[str]]:
    """The sweeps below a root on the data of a store: those that run, with their drivers, and the others."""
    running: dict[str, Driver] = {}
    others = []
    for name in storage.list_folders(storage.join(root, "sweeps")):
        sweep = SweepStore(root, name)
        settings: dict[str, Any] = sweep.settings() or {}
        driver = read_driver(sweep.uri)
        if settings.get("data") != store.manifest.sha256 and not _reads(driver, store):
            continue
        if driver is not None and driver.lives:
            running[name] = driver
        else:
            others.append(name)
    return running, others


def _reads(driver: Driver | None, store: Store) -> bool:
    """Whether it runs on the store; it says so before its settings are written."""
    return driver is not None and driver.lives and driver.facts.get("data") == store.root
