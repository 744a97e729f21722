"""A stopper of one's own.

    seldtune sweep examples/gates.yaml --data s3://seldtune/data/quickstart \
        --plugin examples/parts.py --plugin examples/patience.py --stopper patience
"""

from collections.abc import Mapping
from typing import ClassVar

from infra.record.trials import TrialRecord
from infra.search.stoppers.contract import STOPPERS, Stopper, StopperSettings
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.reports import OBJECTIVE


@STOPPERS.register
class Patience(Stopper):
    """A trial stops when its last epochs brought nothing better, as many as every trial is granted at first."""

    name: ClassVar[str] = "patience"

    def __init__(self, settings: StopperSettings) -> None:
        super().__init__(settings)
        self._best: dict[int, tuple[float, int]] = {}
        """By trial: the best objective, and the epoch that it was reached in."""

    def judge(self, record: TrialRecord, report: Mapping[str, float]) -> Decision:
        epoch, objective = int(report["epoch"]), report[OBJECTIVE]
        best, since = self._best.setdefault(record.number, (objective, epoch))
        if objective < best:
            self._best[record.number] = objective, epoch
            return GO_ON
        return STOP if epoch - since >= self.settings.grace_epochs else GO_ON
