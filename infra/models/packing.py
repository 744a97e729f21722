"""A model's folder as MLflow loads it: the bundle, and in one archive the code that builds the network from it.

Python imports from an archive as from a folder. One file is one request to MLflow's server: the code's files one by one
were a hundred and eighty.
"""

from __future__ import annotations

import dataclasses
import warnings
import zipfile
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

import data
import trainables
from data.files.boxes import BOX_FIELDS, MAX_BOXES
from data.registry.plugins import Plugin, plugins_behind

if TYPE_CHECKING:  # torch comes with it: a dry run of a promotion needs none
    from trainables.config import TrialConfig

LEVEL = "level_db"
"""In a model's metadata: mean log-mel of W of the recordings that it was trained on; null where it does not matter."""
CODE = "code/code.zip"
"""In the model's folder."""
KNOWN_NAMES = ("MLmodel", "registered_model_meta", "py.typed")
KNOWN_SUFFIXES = (".safetensors", ".json", ".npz", ".py", ".yaml", ".txt")
"""A model's files have these names, of MLflow and of its code, or are of these kinds: none is ever unpickled."""
REQUIREMENTS = ("torch", "torchaudio", "torchvision", "numpy", "safetensors", "soundfile", "pillow")


def write_model(bundle: Path, described: Model, folder: Path) -> dict[str, Any]:
    """Write the bundle's model with its code into a folder, which is made; what the bundle says of itself.

    Args:
        described: what MLflow knows of the model already; the rest is added.
    """
    from trainables import pyfunc_loader
    from trainables.config.tree import to_dict
    from trainables.evaluation.bundle import load_bundle

    model, config, extra = load_bundle(bundle)
    # What is relative to its own level does not mind how loud it is.
    level_db = float(model.feature_mean[0].mean()) if config.inputs.level == "absolute" else None
    plugins = plugins_behind(getattr(config, field.name) for field in dataclasses.fields(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would like an input example as well; the signature says it all
        mlflow.pyfunc.save_model(
            folder,
            mlflow_model=described,
            loader_module=pyfunc_loader.__name__,
            data_path=str(bundle),
            signature=_signature(config),
            metadata={
                "config": to_dict(config),
                LEVEL: level_db,
                **{key: extra.get(key) for key in ("epoch", "data", "thresholds")},
            },
            pip_requirements=[
                *(f"{package}=={installed_version(package).split('+')[0]}" for package in REQUIREMENTS),
                *(f"{plugin.name}=={plugin.identity}" for plugin in plugins if plugin.source is None),
            ],
        )
    _write_code(folder / CODE, plugins)
    # What is named here MLflow puts on Python's path; by itself it would name a folder.
    described.flavors[mlflow.pyfunc.FLAVOR_NAME][mlflow.pyfunc.CODE] = CODE
    described.save(folder / "MLmodel")
    return extra


def _write_code(path: Path, plugins: list[Plugin]) -> None:
    """The code that builds the model, so that it loads where seldtune is not installed; the same bytes for the same
    code."""
    contents = {f"{plugin.module}.py": plugin.source for plugin in plugins if plugin.source is not None}
    for package in (data, trainables):
        root = Path(package.__file__ or "").parent
        for file in sorted(root.rglob("*.py")):
            contents[file.relative_to(root.parent).as_posix()] = file.read_text(encoding="utf-8")
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def _signature(config: TrialConfig) -> ModelSignature:
    inputs = [TensorSpec(np.dtype(np.float32), (-1, 4, -1), "audio")]
    if config.visual.reads == "frames":
        shape = (-1, -1, config.inputs.frame_height, config.inputs.frame_width, 3)
        inputs.append(TensorSpec(np.dtype(np.uint8), shape, "frames"))
    elif config.visual.reads == "boxes":
        inputs.append(TensorSpec(np.dtype(np.float32), (-1, -1, MAX_BOXES, BOX_FIELDS), "boxes"))
    output = TensorSpec(np.dtype(np.float32), (-1, -1, config.output.width(len(config.classes))))
    return ModelSignature(Schema(inputs), Schema([output]))


def strange_files(folder: Path) -> list[str]:
    """What is wrong with a model's files by their kinds, those in its archive as well; nothing when all are known."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    names = [name for name in files if name != CODE]
    if CODE in files:
        try:
            with zipfile.ZipFile(files[CODE]) as archive:
                names += [f"{CODE}/{member}" for member in archive.namelist()]
        except zipfile.BadZipFile as error:
            return [f"{CODE} cannot be read: {error}"]
    return [f"{name} is of no known kind" for name in names if not _is_known(Path(name))]


def _is_known(file: Path) -> bool:
    return file.name in KNOWN_NAMES or file.suffix in KNOWN_SUFFIXES
