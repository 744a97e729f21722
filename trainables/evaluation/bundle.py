"""A trained model as two files that hold no code: `model.safetensors` (weights, buffers) and `model.json` (the rest).

The JSON holds the config that builds the network, the names of the plugins that its parts come from, facts about the
training, and the hash of the weights. It is written last: a bundle is complete or it does not load.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.errors import UserError
from data.registry.plugins import describe, plugins_behind, require

if TYPE_CHECKING:  # torch comes with them, and the names of the files need none
    from trainables.config import TrialConfig
    from trainables.networks.model import SeldModel

WEIGHTS_NAME = "model.safetensors"
JSON_NAME = "model.json"
FORMAT = "seldtune-model"
FORMAT_VERSION = 1


class Bundle(NamedTuple):
    """What a bundle holds."""

    model: SeldModel
    """In evaluation mode, on the CPU."""
    config: TrialConfig
    extra: dict[str, Any]
    """What it was saved with: scores, thresholds, where the data came from."""


def save_bundle(directory: str | Path, model: SeldModel, config: TrialConfig, extra: dict[str, Any]) -> None:
    """Write a bundle into a local directory, made if need be; each file appears whole or not at all.

    Args:
        extra: anything JSON can hold, returned as it is by `load_bundle`.
    """
    from safetensors.torch import save  # so that training can run where it is not installed

    from trainables.config.tree import to_dict

    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": to_dict(config),
        "extra": extra,
    }
    parts = [getattr(config, field.name) for field in dataclasses.fields(config)]
    if plugins := [describe(plugin) for plugin in plugins_behind(parts)]:
        document["plugins"] = plugins
    description = json.dumps(document, indent=2).encode()
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / WEIGHTS_NAME, weights)
    _write_atomically(folder / JSON_NAME, description)


def load_bundle(directory: str | Path) -> Bundle:
    """Read a bundle from a local directory.

    Raises:
        UserError: files are missing, are no bundle, were written by a newer version, do not belong together, or
            need a plugin that is not here.
    """
    from safetensors.torch import load

    from trainables.config.tree import from_dict
    from trainables.networks.model import SeldModel

    folder = Path(directory)
    try:
        text, weights = (folder / JSON_NAME).read_bytes(), (folder / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        raise UserError(
            f"{folder} holds no model: {Path(error.filename).name} cannot be read ({error.strerror}); "
            f"a model is a folder with {JSON_NAME} and {WEIGHTS_NAME}"
        ) from error
    try:
        description = json.loads(text)
    except ValueError as error:
        raise UserError(f"{folder / JSON_NAME} is not JSON ({error})") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise UserError(f"{folder / JSON_NAME} was not written by seldtune: its format is not {FORMAT!r}")
    if description["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{folder / JSON_NAME} has format version {description['format_version']}, and this seldtune reads up to "
            f"{FORMAT_VERSION}; update seldtune"
        )
    if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
        raise UserError(f"{folder / WEIGHTS_NAME} is damaged or belongs to another model: its SHA-256 differs")
    for plugin in description.get("plugins", []):
        require(plugin)
    config = from_dict(description["config"])
    model = SeldModel(config)
    try:
        model.load_state_dict(load(weights))
    except RuntimeError as error:
        raise UserError(f"{folder / WEIGHTS_NAME} does not fit the config in {JSON_NAME}; was it edited?") from error
    return Bundle(model.eval(), config, description["extra"])


def fetch_bundle(uri: str, folder: str | Path) -> Path:
    """Copy a bundle from storage into a local folder, where `load_bundle` reads it."""
    from data import storage  # a model that is loaded elsewhere needs none of its dependencies

    for name in storage.list_files(uri):
        (Path(folder) / name).write_bytes(storage.read_bytes(f"{uri}/{name}"))
    return Path(folder)


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
