"""What the driver of a sweep tells of it: to its own screen at any time, and to `driver.json` at each beat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import psutil

from data import patience
from infra.cluster.join import cluster_use
from infra.record.budget import Ledger
from infra.record.claim import Driver
from infra.record.trials import TrialRecord
from infra.watch.overview import Overseer, Overview, SweepFacts


@dataclass
class SweepFeed:
    """A sweep as its driver sees it."""

    driver: Driver
    """This process."""
    name: str
    space: str
    data: str
    concurrency: int
    records: Sequence[TrialRecord]
    """The driver's own, as they change."""
    ledger: Ledger
    mlflow: str
    _overseer: Overseer = field(init=False)
    _cluster: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._overseer = Overseer(self.name)

    def ask_cluster(self) -> None:
        """What is in use there. Waits for Ray, which the others do not."""
        self._cluster = cluster_use()

    def overview(self) -> Overview:
        """How it stands now; cheap enough for every second."""
        driver = replace(self.driver, beat=time.time(), facts=self.facts())
        return self._overseer.look(list(self.records), driver)

    def facts(self) -> dict[str, Any]:
        """Of `infra.watch.overview.SweepFacts`, as JSON takes them."""
        budget = self.ledger.budget
        facts = SweepFacts(
            space=self.space,
            data=self.data,
            concurrency=self.concurrency,
            trials=budget.trials,
            wall_s=budget.wall_s,
            cpu_hours=budget.cpu_hours,
            gpu_hours=budget.gpu_hours,
            spent_wall_s=self.ledger.spent().wall_s,
            mlflow=self.mlflow,
            used_up=self.ledger.used_up(),
            rss_bytes=psutil.Process().memory_info().rss,
            cluster=self._cluster,
            away=patience.away(),
        )
        return asdict(facts)
