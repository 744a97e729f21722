"""Requests for jobs, and `seldtune render`."""

from __future__ import annotations

import dataclasses
from typing import Any

from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from infra.commands.kubernetes import default_image, ray_version
from infra.kube.rayjob import JobRequest
from infra.kube.shapes import SHAPES
from support.kube_schemas import SCHEMAS


def request(**changes: Any) -> JobRequest:
    return dataclasses.replace(
        JobRequest(
            sweep="quickstart",
            arguments=["sweep", "quickstart", "--name", "quickstart"],
            budget_s=3600,
            overlay="gpu",
            shape=SHAPES["gpu"],
            image=default_image(cuda=True),
            ray_version=ray_version(),
        ),
        **changes,
    )


def render(*arguments: str, code: int = 0) -> str:
    schemas = ("--schemas", str(SCHEMAS)) if SCHEMAS.is_dir() else ("--offline",)
    result = CliRunner().invoke(app, ["render", *arguments, *schemas])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, UserError), result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr
