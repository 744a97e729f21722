"""How a sweep stands, for whoever can read its folder: while it runs, after a crash, and after its end."""

from __future__ import annotations

from data import storage
from data.errors import UserError
from infra.record.claim import read_driver
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.watch.overview import Overseer, Overview


class SweepReader:
    """Looks at a sweep again and again. Each look lists its trials and reads those that have changed since the last.

    Raises:
        UserError: there is no such sweep.
    """

    def __init__(self, root: str, name: str) -> None:
        storage.check_root(root)
        self._store = SweepStore(root, name)
        if self._store.settings() is None:
            raise UserError(
                f"there is no sweep {name!r} in {root}/sweeps; `seldtune sweep ... --name {name}` starts it"
            )
        self._overseer = Overseer(name)
        self._records: dict[str, tuple[str, TrialRecord]] = {}

    def look(self) -> Overview:
        driver = read_driver(self._store.uri)
        if driver is None:
            raise UserError(f"sweep {self._store.name!r} has not begun: its driver has said nothing yet")
        for path, version in storage.list_versions(f"{self._store.uri}/trials").items():
            if path.endswith(".json") and self._records.get(path, ("",))[0] != version:
                self._records[path] = (version, self._store.read(f"trials/{path}"))
        records = [record for _, record in sorted(self._records.values(), key=lambda entry: entry[1].number)]
        return self._overseer.look(records, driver)
