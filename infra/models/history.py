"""The history of an alias: one file a move, each written once and never again. It is the truth about who holds it.

    <root>/registry/<model>/<alias>/00007.json

MLflow sets an alias without asking what it was, so two people who promote at once would both be told that they did.
Here a move is claimed first, by writing the next file of the history, which only one of them can; the alias follows.
Whoever crashed between the two leaves a claim that the next command carries out. The moves are tags of the registered
model as well, for the UI. Cost: one listing and one read a move, and a read of each file for the whole history.
"""

from __future__ import annotations

import getpass
import json
import logging
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from data import storage
from data.errors import GateError, UserError
from data.remembered import read_back

logger = logging.getLogger(f"seldtune.{__name__}")

PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of an alias."""

    sequence: int
    """From 1 on."""
    kind: str
    version: str
    before: str | None
    """The version that held the alias; nothing for the first."""
    reason: str
    forced: bool = False
    against: tuple[str, ...] = ()
    """Rules that refused and were overruled."""
    verdicts: tuple[str, ...] = ()
    """Of every rule, as told."""
    evidence: str | None = None
    """SHA-256 of the test evidence."""
    by: str = field(default_factory=getpass.getuser)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    claim: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells two claims apart that say the same."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Move:
        tuples = {name: tuple(document[name]) for name in ("against", "verdicts")}
        return cls(**{**document, **tuples})

    def __str__(self) -> str:
        """A line of the history."""
        forced = f" FORCED against {', '.join(self.against)};" if self.forced else ""
        tested = f"; evidence {self.evidence[:12]}" if self.evidence else "; no test evidence"
        was = f"version {self.before}" if self.before else "nothing"
        return (
            f"{self.sequence:3d}  {self.at}  {self.by}  {self.kind}: {was} -> version {self.version};{forced} "
            f"{self.reason}{tested if self.kind == PROMOTE else ''}"
        )


class AliasLog:
    """The moves of one alias of one model."""

    def __init__(self, root: str, model: str, alias: str) -> None:
        self.model, self.alias = model, alias
        self.uri = storage.join(root, "registry", model, alias)

    def moves(self) -> list[Move]:
        """All, oldest first."""
        return [self._read(sequence) for sequence in self._sequences()]

    def last(self) -> Move | None:
        sequences = self._sequences()
        return self._read(sequences[-1]) if sequences else None

    def require_right(self) -> None:
        """To be asked before a claim: the history is written first, and may not tell of what MLflow then refuses.

        Raises:
            UserError: this account may not move the alias.
        """
        asked = f"{datetime.now(UTC).isoformat(timespec='seconds')} {getpass.getuser()}"
        with self._rights_told():
            mlflow.MlflowClient().set_registered_model_tag(self.model, f"alias.{self.alias}.asked", asked)

    @contextmanager
    def _rights_told(self) -> Iterator[None]:
        """Turns what MLflow says to an account without rights into a UserError."""
        try:
            yield
        except MlflowException as error:
            if error.error_code not in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
                raise
            login = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            raise UserError(
                f"the MLflow account of this environment may not move {self.model}@{self.alias}: ask for the right to "
                f"edit model {self.model!r}, or set {login} of an account that has it"
            ) from error

    def claim(self, move: Move) -> None:
        """Write the next move.

        Raises:
            GateError: another one was quicker.
        """
        uri, content = self._file(move.sequence), json.dumps(move.as_json(), indent=1).encode()
        try:
            storage.write_new(uri, content)
        except FileExistsError as error:
            # A put whose answer was lost is tried again, and then finds its own file.
            if storage.exists(uri) and storage.read_bytes(uri) == content:
                return
            raise GateError(self._overtaken(move)) from error

    def settle(self) -> None:
        """Let MLflow follow the history: the alias its last move, the tags all of them.

        Writes nothing that is there already, so that whoever may only read can look. Looks again after it has set the
        alias: whoever claimed a later move meanwhile may have set it already.
        """
        client = mlflow.MlflowClient()
        with self._rights_told():
            self._tag(client)
            while (last := self.last()) is not None:
                try:
                    if str(client.get_registered_model(self.model).aliases.get(self.alias)) != last.version:
                        client.set_registered_model_alias(self.model, self.alias, last.version)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                        raise
                    logger.warning(
                        "version %s of %s, which holds %s, was deleted", last.version, self.model, self.alias
                    )
                if self.last() == last:
                    return

    def _tag(self, client: mlflow.MlflowClient) -> None:
        there = client.get_registered_model(self.model).tags
        for sequence in self._sequences():
            key = f"alias.{self.alias}.{sequence:05d}"
            if key not in there:
                told = {**self._read(sequence).as_json()}
                del told["verdicts"], told["claim"]
                client.set_registered_model_tag(self.model, key, json.dumps(told))

    def _overtaken(self, move: Move) -> str:
        last = self.last()
        now = f"version {last.version}, by {last.by}" if last else "unknown"
        was = f"version {move.before}" if move.before else "nothing"
        return (
            f"the holder of {self.model}@{self.alias} changed meanwhile: it was {was} and is {now}; version "
            f"{move.version} was judged against the former, so run the command again"
        )

    def _sequences(self) -> Sequence[int]:
        names = storage.list_files(self.uri)
        return sorted(int(name[:5]) for name in names if re.fullmatch(r"\d{5}\.json", name))

    def _read(self, sequence: int) -> Move:
        uri = self._file(sequence)
        tag = f"alias.{self.alias}.{sequence:05d}"
        with read_back(uri, f"restore it: tag {tag} of model {self.model!r} in MLflow says what the move was"):
            return Move.from_json(json.loads(storage.read_bytes(uri)))

    def _file(self, sequence: int) -> str:
        return f"{self.uri}/{sequence:05d}.json"
