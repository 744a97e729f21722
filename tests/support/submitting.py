"""`seldtune submit` to the dashboard of a test."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from data.errors import UserError
from infra.cli import app
from support.dashboard import Dashboard

SECRET = "hunter2-hunter2"


def refused(*arguments: str) -> str:
    """The message with which the command refuses."""
    result = CliRunner().invoke(app, ["submit", *arguments])
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def run(dashboard: Dashboard, *arguments: str, code: int = 0) -> Any:
    """The command on the dashboard, with its token in the environment."""
    environment = {"RAY_AUTH_TOKEN": "token-of-cluster", "RAY_API_SERVER_ADDRESS": dashboard.url}
    result = CliRunner().invoke(app, ["submit", *arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    return result
