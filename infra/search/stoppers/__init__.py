"""The rules by which trials are stopped early. Each file here but `contract` and `simulated` is one, and registers it.

A rule hears of every report, in the order in which they come, and answers at once with a decision; it knows trials by
their number alone. What it answers follows from those reports and the sweep's seed, so a rule is rebuilt after a crash
by telling it the recorded reports again.

Synchronous HyperBand and anything else that pauses trials is left out: a paused trial keeps others waiting or is torn
from its worker group, while trials here end only by returning. `hyperband` runs its brackets asynchronously instead.
"""

from data.registry.parts import import_all
from infra.search.stoppers.contract import (
    STOPPERS,
    Stopper,
    StopperSettings,
    check_stopper,
    decision_of,
    make_stopper,
    unknown_stopper,
)

import_all(__name__)

__all__ = ["STOPPERS", "Stopper", "StopperSettings", "check_stopper", "decision_of", "make_stopper", "unknown_stopper"]
