"""A model that finals of an earlier build (commit f0a2365) registered, as the registry gives it, and a registry of it.

`tests/golden/registered_before` holds the model's folder with its evidence (`model.tar.gz`: trained two epochs on three
seconds of synthetic scenes, from pictures and sound), the tags of its version (`tags.json`), and what that build made
of the clip below (`output.npz`).
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import mlflow
import numpy as np

from support.golden_texts import GOLDEN

BEFORE = GOLDEN / "registered_before"
PREDICTS = """
import sys
import numpy as np
import mlflow
folder, clip, out = sys.argv[1:]
output = mlflow.pyfunc.load_model(folder).predict(dict(np.load(clip)))
np.save(out, output)
print(sys.modules["trainables.pyfunc_loader"].__file__)
"""
"""A program that loads a model, predicts, and says whose code did it."""


def unpack(folder: Path) -> Path:
    """The model's folder, below this one; its evidence lies beside it."""
    with tarfile.open(BEFORE / "model.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "model"


def write_clip(path: Path) -> None:
    """Four seconds of noise and eight noisy pictures, always the same."""
    rng = np.random.default_rng(15)
    audio = rng.normal(0, 0.1, (1, 4, 4 * 24_000)).astype(np.float32)
    np.savez(path, audio=audio, frames=rng.integers(0, 256, (1, 8, 32, 64, 3), dtype=np.uint8))


def register(folder: Path) -> dict[str, str]:
    """A registry below this folder in which the model is finalist of `seld`, and twice there; what leads to it."""
    model = unpack(folder)
    described = model / "MLmodel"
    # MLflow asks the server that this id is of, which is not this one.
    described.write_text(re.sub(r"^model_id: .*\n", "", described.read_text(), flags=re.MULTILINE))
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri, uri)
    run = client.create_run(client.create_experiment("seldtune", artifact_location=(folder / "artifacts").as_uri()))
    client.log_artifact(run.info.run_id, str(folder / "evidence.json"))
    client.create_registered_model("seld")
    for _ in range(2):
        version = client.create_model_version("seld", model.as_uri(), run.info.run_id)
        for key, value in json.loads((BEFORE / "tags.json").read_text()).items():
            client.set_model_version_tag("seld", version.version, key, value)
    client.set_registered_model_alias("seld", "finalist", "1")
    foreign = ("AWS_", "MLFLOW_", "RAY_", "SELDTUNE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "MLFLOW_TRACKING_URI": uri,
        "SELDTUNE_HOME": str(folder / "home"),
        "SELDTUNE_ROOT": str(folder / "root"),
    }
