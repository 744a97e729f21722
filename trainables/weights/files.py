"""State dicts from files: safetensors or torch's own, local or on S3. Nothing but tensors is ever unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from data.errors import UserError

State = dict[str, Tensor]
OWN_SCHEMES = ("models:/", "runs:/")
"""Of addresses that MLflow knows; whoever starts a sweep brings what they name to storage first."""


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Hash of the numbers under their names, whatever file they came from; counters do not matter."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        if not key.endswith("num_batches_tracked"):
            plain = value.detach().cpu().float().contiguous()
            digest.update(f"{key} {tuple(plain.shape)}\n".encode())
            digest.update(plain.numpy().tobytes())
    return digest.hexdigest()


def require_content(uri: str, what: str) -> None:
    """UserError, beginning with `what`, unless there is such a file, local or on S3; nothing of it is read."""
    _refuse_own(uri, what)
    from data import storage  # a model that is loaded elsewhere needs none of its dependencies

    if not storage.exists(uri):
        raise UserError(f"{what} = {uri!r}: there is no such file")


def read_content(uri: str, what: str) -> bytes:
    """The bytes of a file, local or on S3.

    Raises:
        UserError: it cannot be read; the message begins with `what`.
    """
    _refuse_own(uri, what)
    try:
        if "://" in uri:
            from data import storage  # local paths need none of its dependencies

            return storage.read_bytes(uri)
        return Path(uri).read_bytes()
    except OSError as error:
        raise UserError(f"{what} = {uri!r} cannot be read: {error.strerror or error}") from error


def _refuse_own(uri: str, what: str) -> None:
    if uri.startswith(OWN_SCHEMES):
        raise UserError(
            f"{what} = {uri!r}: models in MLflow are fetched where they are given with --set; here, name the file that "
            f"`seldtune weights import {uri} --as NAME` stores"
        )


def parse_state(content: bytes, what: str) -> tuple[State, dict[str, str]]:
    """A state dict from the bytes of a `.safetensors` file or one of torch, and the former's own metadata.

    Nothing but tensors is unpickled. A checkpoint that holds its weights one level down (`state_dict`,
    `model_state_dict`, `model`) is looked into.

    Raises:
        UserError: it is truncated or foreign, or holds no names with tensors.
    """
    try:
        # Eight bytes of length, then a JSON object: safetensors. Anything else is torch's to judge.
        if content[8:9] == b"{":
            from safetensors.torch import load  # so that training can run where it is not installed

            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return load(content), header.get("__metadata__", {})
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message advises to run the file's code
        raise UserError(f"{what} is no state dict: it holds other things than names and tensors") from error
    except Exception as error:  # each format has its own errors for a foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{what} is no state dict in torch or safetensors form, or is truncated: {reason}") from error
    for level in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(level), Mapping):
            loaded = loaded[level]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise UserError(f"{what} holds no state dict (names and tensors)")
    return dict(loaded), {}
