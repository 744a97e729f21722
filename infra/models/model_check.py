"""Whether a model of the registry loads by the code that it brings and answers: a program of its own.

    python -I model_check.py FOLDER RATE_HZ

It imports nothing of this project, and `-I` keeps the caller's folder and PYTHONPATH off its path, so that `data` and
`trainables` are the model's own. Where the project is installed all the same, the model's code comes first, and what
was imported from elsewhere is a fault. The last line that it prints is the fault as JSON; null: there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import numpy as np

OURS = ("data", "trainables", "search_spaces", "infra")


def fault_of(folder: Path, rate_hz: int) -> str | None:
    """What keeps the model from answering to a window of silence with finite numbers, in words.

    Args:
        folder: the model's files, as MLflow keeps them.
        rate_hz: of its sound.
    """
    try:
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
        schema = model.metadata.get_input_schema()
        samples = round(model.metadata.metadata["config"]["inputs"]["window_s"] * rate_hz)
        # One clip without pictures: the first free length of a sound is its samples, of anything else its pictures.
        inputs = {
            spec.name: np.zeros([1, *(_free(spec.name, samples, length) for length in spec.shape[1:])], spec.type)
            for spec in schema.inputs
        }
        output = model.predict(inputs)
    except Exception as error:  # whatever keeps it from loading is what has to be said
        return f"the model does not load and predict: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if foreign := _foreign(folder):
        return f"the model does not bring all of its code: {', '.join(foreign)} came from elsewhere"
    return None if np.isfinite(output).all() else "the model answers to silence with numbers that are not finite"


def _free(name: str, samples: int, length: int) -> int:
    return length if length >= 0 else samples if name == "audio" else 0


def _foreign(folder: Path) -> list[str]:
    """Modules of this project that were imported from outside the folder."""
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}
    root = folder.resolve()
    return sorted(n for n, m in ours.items() if m.__file__ and not Path(m.__file__).resolve().is_relative_to(root))


if __name__ == "__main__":
    print(json.dumps(fault_of(Path(sys.argv[1]), int(sys.argv[2]))))
