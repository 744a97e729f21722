#!/usr/bin/env bash
# psds_eval 0.5.3 and sed_scores_eval 0.0.4 with pandas 3.1.1 and numpy 2.4.6
# Guess:    packages that pip installs together without a complaint work together.
# Seen:     a fresh install gives both scorers pandas 3, and neither scores: psds_eval calls `fillna(method=...)`, which
#           is gone; sed_scores_eval's compiled part asks for a writable array, and pandas 3 hands out read-only ones
#           (its event-based scores; the segment-based ones work).
# Matters:  two of the three public scorers of sound event detection fail at the first file, after the training.
# Instead:  pin pandas<3 for them, best in an environment of their own; score one file before training.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check psds-eval==0.5.3 sed-scores-eval==0.0.4 pandas==3.1.1 numpy==2.4.6
venv/bin/python - <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
import pandas as pd
from psds_eval import PSDSEval
from sed_scores_eval import collar_based
from sed_scores_eval.base_modules.scores import create_score_dataframe


def psds() -> None:
    truth = pd.DataFrame({"filename": ["a"], "onset": [2.0], "offset": [4.0], "event_label": ["speech"]})
    scorer = PSDSEval(0.7, 0.7, ground_truth=truth, metadata=pd.DataFrame({"filename": ["a"], "duration": [10.0]}))
    scorer.add_operating_point(truth.copy())
    scorer.psds(alpha_ct=0, alpha_st=0, max_efpr=100)


def scores() -> None:
    table = create_score_dataframe(np.eye(10)[:, :1], np.arange(11.0), ["speech"])
    truth, collars = {"a": [(0.0, 1.0, "speech")]}, {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
    collar_based.fscore(scores={"a": table}, ground_truth=truth, threshold=0.5, **collars)


seen = {}
for name, score in (("psds_eval", psds), ("sed_scores_eval", scores)):
    try:
        score()
        seen[name] = "a score"
    except (TypeError, ValueError) as error:
        seen[name] = f"{type(error).__name__}: {error}"
    print(f"{name}: guessed a score, seen {seen[name]}")
assert seen["psds_eval"].startswith("TypeError") and "'method'" in seen["psds_eval"], f"changed: {seen}"
assert seen["sed_scores_eval"].startswith("ValueError") and "read-only" in seen["sed_scores_eval"], f"changed: {seen}"
PY
