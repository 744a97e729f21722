"""The accounts that sweeps write to MLflow with, made and taken away by its admin: `python -m infra.kube.accounts`.

An account has one password, and what it makes is its own. So a password is rotated by a second account that is given
what the first one holds: a sweep whose head comes anew under the second goes on with the runs of the first, and later
sweeps register further versions of its models.

Without arguments (the Job mlflow-account) ACCOUNT_USERNAME is made an account, or given the password ACCOUNT_PASSWORD;
then NEXT_USERNAME, if set, which is given what the former holds. All of it may be done again.

    give OLD NEW      NEW is given what OLD holds
    delete OLD NEW    the same, and then OLD is deleted
    admin             the admin's password becomes the line on standard input

The admin logs in as MLFLOW_AUTH_ADMIN_USERNAME with MLFLOW_AUTH_ADMIN_PASSWORD; the server is at MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client
from mlflow.server.auth.client import AuthServiceClient

from data.errors import UserError

OWN_ROLE = "__user_"
"""How MLflow names the role that holds what was granted to one account alone. It is deleted with the account."""


def make(accounts: AuthServiceClient, name: str, password: str) -> str:
    """An account with this password, whether it was there or not; what was done, in words.

    Raises:
        MlflowException: the server does not answer, or refuses.
    """
    if _unless_there(accounts.create_user, name, password):
        return f"account {name} is made"
    accounts.update_user_password(name, password)
    return f"account {name} has the password of its Secret"


def give(accounts: AuthServiceClient, old: str, new: str) -> str:
    """Grant to one account what another holds: by itself, and by roles; what was done, in words.

    Grants are copied and not shared by a role: MLflow keeps what is granted to accounts up to date when a model is
    renamed or deleted, and what is granted to a role it does not.

    Raises:
        UserError: both are the same.
        MlflowException: one of them is not there, or the server does not answer, or refuses.
    """
    if old == new:
        raise UserError(f"{old!r} and {new!r} are one account: a rotation needs a second one, with another name")
    accounts.get_user(new)
    given = 0
    for role in accounts.list_user_roles(old):
        if not role.name.startswith(OWN_ROLE):
            given += _unless_there(accounts.assign_role, new, role.id)
            continue
        for grant in role.permissions:
            what = (grant.resource_type, grant.resource_pattern, grant.permission)
            given += _unless_there(accounts.grant_user_permission, new, *what)
    return f"account {new} holds what {old} does; {given} of it is new to it"


def run(arguments: Sequence[str], environment: Mapping[str, str], line: Callable[[], str]) -> list[str]:
    """Do what the arguments ask for; what was done, in words. `line` reads standard input.

    Raises:
        UserError: unknown arguments, or two accounts that are one.
        KeyError: a variable is not set.
        MlflowException: the server does not answer, or refuses.
    """
    accounts = get_app_client("basic-auth", environment["MLFLOW_TRACKING_URI"])
    match list(arguments):
        case []:
            name, password = environment["ACCOUNT_USERNAME"], environment["ACCOUNT_PASSWORD"]
            following = environment.get("NEXT_USERNAME")
            if following == name and environment["NEXT_PASSWORD"] != password:
                # Later the running sweeps' password would be changed.
                raise UserError(f"the next account is {name!r}, as the one that is there: give it another name")
            done = [make(accounts, name, password)]
            if following and following != name:
                done += [make(accounts, following, environment["NEXT_PASSWORD"]), give(accounts, name, following)]
            return done
        case ["give", old, new]:
            return [give(accounts, old, new)]
        case ["delete", old, new]:
            done = [give(accounts, old, new)]
            accounts.delete_user(old)
            return [*done, f"account {old} is deleted"]
        case ["admin"]:
            name = environment["MLFLOW_AUTH_ADMIN_USERNAME"]
            accounts.update_user_password(
                name, line().rstrip("\n"), current_password=environment["MLFLOW_AUTH_ADMIN_PASSWORD"]
            )
            return [f"account {name} has a new password"]
    raise UserError(f"usage: python -m infra.kube.accounts [give OLD NEW | delete OLD NEW | admin], got {arguments}")


def _unless_there(call: Callable[..., Any], *arguments: object) -> bool:
    """Call it; False if what it makes is there already."""
    try:
        call(*arguments)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def main() -> int:
    try:
        for part in ("USERNAME", "PASSWORD"):
            os.environ[f"MLFLOW_TRACKING_{part}"] = os.environ[f"MLFLOW_AUTH_ADMIN_{part}"]
        for done in run(sys.argv[1:], os.environ, sys.stdin.readline):
            print(done)
    except KeyError as error:
        print(f"error: {error.args[0]} is not set", file=sys.stderr)
        return 1
    except (UserError, MlflowException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
