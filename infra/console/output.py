"""What a command prints: one line for people, or one JSON document."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

EXIT_FAILED, EXIT_REFUSED, EXIT_GATE, EXIT_AWAY, EXIT_INTERRUPTED = 1, 2, 3, 75, 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


def print_json(document: object) -> None:
    """The one JSON document of a `--json` call; what is no number there, NaN or infinity, is null."""
    plain = json.loads(json.dumps(document), parse_constant=lambda _: None)
    sys.stdout.write(json.dumps(plain, indent=2) + "\n")


def say(document: dict[str, Any], text: str, *, as_json: bool) -> None:
    """A result as text for people, or as JSON."""
    if as_json:
        print_json(document)
    else:
        typer.echo(text)
