#!/usr/bin/env bash
# sed_scores_eval 0.0.4 and sed_eval 0.2.1
# Guess:    the two scorers of the sound event detection tasks agree about a system that detects nothing: precision 0 or
#           undefined.
# Seen:     for sed_scores_eval the precision of the class is 1 and its macro mean 1, while its own micro mean is 0; for
#           sed_eval it is NaN. F is 0 in the first and NaN in the second, so that a macro F over classes leaves the
#           silent class out there.
# Matters:  an early epoch, a threshold that is too high: the table's macro precision goes up when classes fall silent,
#           and two papers' macro F differ for the same output.
# Instead:  F of 0 for a class that occurs and is never detected, said in the report; never precision alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check sed-scores-eval==0.0.4 sed-eval==0.2.1 dcase-util==0.2.20 numpy==2.2.6 pandas==2.2.3
venv/bin/python - <<'PY'
import math
import warnings

warnings.simplefilter("ignore")
import dcase_util
import numpy as np
import sed_eval
from sed_scores_eval import segment_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

scores = create_score_dataframe(np.zeros((10, 1)), np.arange(11.0), ["speech"])
f, precision, _, _ = segment_based.fscore(
    scores={"a": scores},
    ground_truth={"a": [(2.0, 4.0, "speech")]},
    audio_durations={"a": 10.0},
    segment_length=1.0,
    threshold=0.5,
)
print("sed_scores_eval, nothing detected: guessed precision 0 or nan; seen", {k: float(v) for k, v in precision.items()})

metrics = sed_eval.sound_event.SegmentBasedMetrics(["speech"], time_resolution=1.0)
truth = dcase_util.containers.MetaDataContainer([{"filename": "a", "event_label": "speech", "onset": 2.0, "offset": 4.0}])
metrics.evaluate(truth, dcase_util.containers.MetaDataContainer([]), evaluated_length_seconds=10.0)
other = metrics.results_class_wise_metrics()["speech"]["f_measure"]
print(f"sed_eval, the same: seen precision {other['precision']}, F {other['f_measure']} (F of sed_scores_eval: {f['speech']})")
assert precision["speech"] == precision["macro_average"] == 1.0 and precision["micro_average"] == 0.0, f"changed: {precision}"
assert f["speech"] == 0.0 and math.isnan(other["precision"]) and math.isnan(other["f_measure"]), f"changed: {f}, {other}"
PY
