"""Which kind of fusion learns most in a few minutes? A small sweep, planned, run, compared and used, from Python alone.

Cell by cell in an editor that knows `# %%`, or as a whole: `python examples/compare_fusions.py`. It needs the services
(`seldtune up`). SMALL=1 makes it a matter of a minute, which shows that it works, and nothing of fusions.
"""

# %% What is made and searched
import os
from pathlib import Path

import seldtune

small = bool(os.environ.get("SMALL"))
name = "fusions-small" if small else "fusions"
sizes: seldtune.SceneOptions = {"train_clips": 2, "val_clips": 1, "test_clips": 1, "clip_s": 6} if small else {}
store = seldtune.synthesise(name, **sizes)
for split, part in store.manifest.splits.items():
    print(f"{store.root}: {split} {60 * part.hours:.1f} min")

# %% What it would take
# With so low a threshold even what has hardly trained hears something, rightly or not.
short = {
    "training.epochs": 1,
    "training.epoch_windows": 16,
    "training.batch_size": 8,
    "inference.threshold": 0.02,
}
options: seldtune.SweepOptions = {
    "name": name,
    "data": store.root,
    "trials": 4 if small else 20,
    "budget": "20m",
    "stopper": "none" if small else "asha",
    "fixed": short if small else {},
}
plan = seldtune.plan("quickstart", samples=16, calibrate=not small, **options)
if plan.refused:
    raise SystemExit("\n".join(f"{check.name}: {check.text}" for check in plan.checks if check.state == "refused"))

# %% The search; the same cell goes on with it after an interruption
conclusion = seldtune.sweep("quickstart", model=name, **options)
if conclusion is None or conclusion.best is None:
    raise SystemExit("no trial came to its end")
print("\n".join(conclusion.lines()))
if conclusion.version is None:
    print("no model was registered, for the reason above: there is none to listen with")
    raise SystemExit

# %% Which fusion is better, and how sure that is
comparison = seldtune.compare(name)
for variant in comparison.variants:
    print(f"{variant.name:<14} {variant.trials} trials, SELD {variant.median:.3f}")
print(seldtune.write_comparison(comparison, f"{name}-comparison").page)

# %% What the best model hears in a recording that it has never met
seldtune.synthesise_tree(f"{name}-rooms", seed=7, train_clips=0, val_clips=0, test_clips=1, clip_s=6)
wav = next(Path(f"{name}-rooms").rglob("*.wav"))
video = next(Path(f"{name}-rooms").rglob("*.mp4"))
heard = seldtune.predict(wav, video, model=conclusion.version.uri, out=f"{name}-heard")
print(f"{heard['seconds']} s: {', '.join(heard['classes']) or 'nothing'}; {heard['picture']}")
