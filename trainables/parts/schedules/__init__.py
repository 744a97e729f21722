"""Learning-rate schedules. Each file here but `contract` is one, and registers it."""

from data.registry.parts import import_all
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule

import_all(__name__)

__all__ = ["SCHEDULES", "Multiplier", "Schedule"]
