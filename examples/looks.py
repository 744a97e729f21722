"""A space in Python: ways to look at the panorama, each by the quickstart's GRU under two seeds.

seldtune sweep examples/looks.py --plugin examples/azimuth.py --data s3://seldtune/data/ambiguous --stopper none

It asks what has to become of a picture for a model to see where a source is. The answer stands in
docs/studies/pictures.md. What the pictures themselves are belongs to a sweep as a whole, so other sizes and rates are
other sweeps: `--name looks-large --trials 2 --set inputs.frame_width=192 --set inputs.frame_height=96`.
"""

from typing import Any

from optuna.trial import FixedTrial

from search_spaces.quickstart import QUICKSTART
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import TrialConfig
from trainables.config.tree import override

GRU = next(point for point in QUICKSTART.first if point["fusion"] == "gru")
SMALL = {"layers": 1, "heads": 4, "feed_forward": 192, "kernel": 7, "dropout": 0.05}
LOOKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "12 columns": {"visual.pool_columns": 12},
    "azimuth": {
        "visual.name": "azimuth_resnet",
        "visual.block": "basic",
        "visual.depths": (1, 1, 1, 1),
        "visual.width": 8,
        "visual.pool_columns": 3,
        **{f"visual.conformer.{name}": value for name, value in SMALL.items()},
    },
    "no gate": {"fusion.visual_gate": False},
    "eyes alone": {
        "audio.name": "none",
        "audio.width": 96,
        "fusion.name": "visual_only",
        **{f"fusion.conformer.{name}": value for name, value in SMALL.items()},
    },
}
"""What each changes of the quickstart's GRU: 3 columns, and a gate from zero."""
SEEDS = (0, 1)


def look(trial: Trial) -> TrialConfig:
    """The GRU of the quickstart's first points, but for its look and its seed."""
    changes = LOOKS[trial.suggest_categorical("look", list(LOOKS))]
    seed = trial.suggest_categorical("seed", list(SEEDS))
    return override(QUICKSTART.suggest(FixedTrial(GRU)), {**changes, "training.seed": seed})


SPACE = SearchSpace(
    name="looks",
    summary="ways to look at the panorama",
    suggest=look,
    first=tuple({"look": name, "seed": seed} for name in LOOKS for seed in SEEDS),
    only_first=True,
    sets_seed=True,
    trials=len(SEEDS) * len(LOOKS),
    budget_s=3600,
    grace_epochs=14,
    reduction=2,
    identity=source_identity(__file__),
)
