#!/usr/bin/env bash
# sed_eval 0.2.1 and dcase_util 0.2.20
# Guess:    a system that raises false alarms for a class that does not occur loses in the macro F-score: the class's F
#           is 0.
# Seen:     the class's F is NaN (its recall is), and the mean leaves NaN out: macro F stays 1.0. The error rate of the
#           same class is divided by the smallest float instead of by 0: its macro mean is over 1e15.
# Matters:  rare classes absent from a small test fold: macro F rewards what micro F punishes, and one such class makes
#           the macro error rate of a whole table meaningless.
# Instead:  micro F beside macro F, and the error rate over all classes (`overall`), or only folds where every class
#           occurs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check sed-eval==0.2.1 dcase-util==0.2.20 numpy==2.4.6
venv/bin/python - <<'PY'
import warnings

warnings.simplefilter("ignore")
import dcase_util
import sed_eval


def events(*of: tuple[str, float, float]) -> dcase_util.containers.MetaDataContainer:
    rows = [{"filename": "a.wav", "event_label": label, "onset": onset, "offset": offset} for label, onset, offset in of]
    return dcase_util.containers.MetaDataContainer(rows)


metrics = sed_eval.sound_event.SegmentBasedMetrics(["speech", "bell"], time_resolution=1.0)
metrics.evaluate(events(("speech", 0.0, 10.0)), events(("speech", 0.0, 10.0), ("bell", 0.0, 5.0)))
macro = metrics.results_class_wise_average_metrics()
macro_f = macro["f_measure"]["f_measure"]
macro_error = macro["error_rate"]["error_rate"]
micro_f = metrics.results_overall_metrics()["f_measure"]["f_measure"]
print(f"speech is found, and 5 s of a bell that never rings: guessed macro F 0.5, seen {macro_f}; micro F {micro_f:.2f}")
print(f"macro error rate: guessed 0.5, inf or nan, seen {macro_error:.3g}")
assert macro_f == 1.0 and 0.79 < micro_f < 0.81 and macro_error > 1e15, "changed"
PY
