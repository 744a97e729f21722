"""What a search can go by: the SELD score, and beside it what a model costs. All are minimised.

The score decides what a sweep calls best and when a trial is stopped; the others only widen the search to a front of
models, none of which is better than another in everything.

Each file here but `contract` holds some, and registers them.
"""

from data.registry.parts import import_all
from infra.search.objectives.contract import (
    OBJECTIVES,
    SELD,
    Objective,
    check_objectives,
    measure,
    pareto_front,
    values_of,
)

import_all(__name__)

__all__ = ["OBJECTIVES", "SELD", "Objective", "check_objectives", "measure", "pareto_front", "values_of"]
