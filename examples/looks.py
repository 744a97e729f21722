"""A space in Python: ways to look at the panorama, each by the quickstart's GRU under two seeds.

seldtune sweep examples/looks.py --plugin examples/azimuth.py --data s3://seldtune/data/ambiguous

It asks what a picture has to be, and what has to become of it, for a model to see where a source is. The answer stands
in docs/studies/pictures.md.
"""

from typing import Any

from optuna.trial import FixedTrial

from search_spaces.quickstart import QUICKSTART
from search_spaces.space import SearchSpace, Trial, source_identity
from trainables.config import TrialConfig
from trainables.config.tree import override

GRU = next(point for point in QUICKSTART.first if point["fusion"] == "gru")
SMALL = {"conformer.layers": 1, "conformer.heads": 4, "conformer.feed_forward": 192, "conformer.kernel": 7}
LOOKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "48 x 24": {"inputs.frame_width": 48, "inputs.frame_height": 24},
    "192 x 96": {"inputs.frame_width": 192, "inputs.frame_height": 96},
    "1 a second": {"inputs.frame_rate_hz": 1.0},
    "5 a second": {"inputs.frame_rate_hz": 5.0},
    "1 column": {"visual.pool_columns": 1},
    "12 columns": {"visual.pool_columns": 12},
    "azimuth": {"visual.name": "azimuth_resnet", "visual.pool_columns": 3},
    "no gate": {"fusion.visual_gate": False},
    "eyes alone": {"audio.name": "none", "audio.width": 96, "fusion.name": "visual_only"}
    | {f"fusion.{name}": value for name, value in SMALL.items()},
}
"""What each changes of the quickstart's GRU: 96 x 48 pixels, 2 pictures a second, 3 columns, a gate from zero."""


def look(trial: Trial) -> TrialConfig:
    """The GRU of the quickstart's first points, but for its look and its seed."""
    changes = LOOKS[trial.suggest_categorical("look", list(LOOKS))]
    seed = trial.suggest_categorical("seed", [0, 1])
    return override(QUICKSTART.suggest(FixedTrial(GRU)), {**changes, "training.seed": seed})


SPACE = SearchSpace(
    name="looks",
    summary="ways to look at the panorama",
    suggest=look,
    first=tuple({"look": name, "seed": seed} for seed in (0, 1) for name in LOOKS),
    only_first=True,
    sets_seed=True,
    trials=2 * len(LOOKS),
    budget_s=3600,
    grace_epochs=14,
    reduction=2,
    identity=source_identity(__file__),
)
