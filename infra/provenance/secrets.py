"""Secrets of this process's environment, kept out of whatever is sent elsewhere.

What a sweep records comes from its settings and its trials, never from the environment. But a secret can slip into an
error message, a URI or a changed file; whatever leaves for the tracking server is therefore cleaned of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|AUTH|(ACCESS|API|PRIVATE|SIGNING|ENCRYPTION|_)_?KEY", re.I)
_PLACE_NAME = re.compile(r"_(PATH|FILE|DIR|URL|URI|MODE|TYPE)$", re.I)
"""Names of variables that say where a secret is, or of what kind, but not the secret."""
_URL_PASSWORD = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
FEWEST_CHARACTERS = 8
"""A shorter value is more likely a word ("token", "disabled") than a secret."""
MASK = "[secret]"


def secret_names(names: Iterable[str]) -> list[str]:
    """Those variables of an environment that hold a secret."""
    return [name for name in names if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)]


def looks_secret(name: str, value: str) -> bool:
    """Whether a value looks secret by what it is called, or holds a password inside a URL."""
    return bool(secret_names([name]) or _URL_PASSWORD.search(value))


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Values that look secret by their variable's name, and passwords inside URLs; longest first."""
    found = {environment[name] for name in secret_names(environment)}
    found |= {password for value in environment.values() for password in _URL_PASSWORD.findall(value)}
    return sorted((value for value in found if len(value) >= FEWEST_CHARACTERS), key=len, reverse=True)


class Redaction:
    """Replaces the secrets that the environment holds now."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._secrets = secrets_of(os.environ if environment is None else environment)

    def text(self, text: str) -> str:
        """The text with each secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def content(self, content: bytes) -> bytes:
        """The same for the bytes of a file."""
        for secret in self._secrets:
            content = content.replace(secret.encode(), MASK.encode())
        return content
