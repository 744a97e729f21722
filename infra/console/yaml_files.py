"""A user's file of settings: one YAML mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from data.errors import UserError


def read_mapping(file: Path, of: str) -> dict[str, Any]:
    """The mapping of the file.

    Args:
        of: what it maps and an example, for the message.

    Raises:
        UserError: it cannot be read, is no YAML, or is something else than a mapping.
    """
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file}: has to be a mapping of {of}")
    return values
