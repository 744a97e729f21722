"""The samplers of a search by name. Each file here but `contract` holds some, and registers them.

A sampler is made anew for each proposal, from a seed of its own, and remembers nothing from one to the next: what it
goes by is in the study or in the records, so that a study rebuilt from a sweep's record is continued as the first one
would have been.

`tpe` goes by complete and by stopped trials, these by how far they came, and learns each group of parameters that comes
and goes together. `forecast` goes by all trials, by what they are forecast to come to, and by all parameters, in the
records as they are when it is asked. `gp` and `nsga2` go by complete trials alone and learn only what all trials have;
the rest they draw at random. `random` draws everything.

Cost of a proposal among n ended trials: `tpe` n, `nsga2` n, and for each generation n squared; `gp` n cubed; `forecast`
n cubed up to 300.
"""

from data.registry.parts import import_all
from infra.search.samplers.contract import DEFAULT, SAMPLERS, Known, check_sampler, make_sampler
from infra.search.samplers.optuna_samplers import FIRST_GENERATION, POPULATION, STARTUP_TRIALS

import_all(__name__)

__all__ = [
    "DEFAULT",
    "FIRST_GENERATION",
    "POPULATION",
    "SAMPLERS",
    "STARTUP_TRIALS",
    "Known",
    "check_sampler",
    "make_sampler",
]
