"""Moving an alias in the registry: through the gate, with a reason, and back again."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from data.errors import GateError, UserError
from infra.models.gate import Rules, Standing, Verdict, failed, judge
from infra.models.history import PROMOTE, ROLLBACK, AliasLog, Move
from infra.models.register import (
    CHALLENGER,
    EVIDENCE_TAG,
    FINALIST,
    ModelVersion,
    evidence_of,
    faults_of,
    find_version,
    holder_of,
)
from infra.record.folder import SweepStore

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A candidate before the gate."""

    candidate: ModelVersion
    holder: ModelVersion | None
    verdicts: list[Verdict]
    move: Move
    """What is written down if it is carried out."""

    @property
    def passed(self) -> bool:
        return not failed(self.verdicts)

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.candidate.version,
            "before": self.holder.version if self.holder else None,
            "passed": self.passed,
            "rules": [vars(verdict) for verdict in self.verdicts],
        }


def promote(
    root: str,
    model: str,
    candidate: str | None,
    alias: str,
    reason: str,
    *,
    rules: Rules | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Judged:
    """Judge a version against the rules and point the alias at it.

    Args:
        root: below which the history of aliases is kept (`infra.models.history`).
        candidate: a version number or another alias; nothing: the finalist, or the challenger where there is none.
        force: move it against the rules; only a model that does not load stays where it is. Written down.
        dry_run: judge, and change nothing.

    Raises:
        UserError: no such model or version, or an empty reason.
        GateError: rules refuse, or another promotion was quicker.
    """
    log = _log(root, model, alias)
    if not reason.strip() and not dry_run:
        raise UserError("--reason is empty; say why this model should be used")
    chosen = _candidate(model, candidate)
    if not dry_run:
        log.settle()
    last = log.last()
    holder = _holder(model, alias, last)
    if holder is not None and holder.version == chosen.version:
        raise UserError(f"{model} version {chosen.version} is {alias!r} already")
    verdicts = judge(
        _standing(root, chosen, files=True), None if holder is None else _standing(root, holder), rules or Rules()
    )
    refused = failed(verdicts)
    move = Move(
        sequence=last.sequence + 1 if last else 1,
        kind=PROMOTE,
        version=chosen.version,
        before=last.version if last else holder.version if holder else None,
        reason=reason,
        forced=force and bool(refused),
        against=tuple(verdict.rule for verdict in refused) if force else (),
        verdicts=tuple(map(str, verdicts)),
        evidence=chosen.tags.get(EVIDENCE_TAG),
    )
    judged = Judged(candidate=chosen, holder=holder, verdicts=verdicts, move=move)
    if dry_run:
        return judged
    if refused and (not force or any(verdict.rule == "files" for verdict in refused)):
        raise GateError(_refusal(chosen, alias, refused))
    if refused:
        logger.warning("FORCED: version %s becomes %s against %s", chosen.version, alias, ", ".join(move.against))
    log.require_right()
    log.claim(move)
    log.settle()
    return judged


def rollback(root: str, model: str, alias: str, reason: str) -> Move:
    """Give the alias back to whoever held it before; again, and it goes one further back.

    Raises:
        UserError: an empty reason, or nobody held it before.
        GateError: the former holder's files are not what they were, or another move was quicker.
    """
    log = _log(root, model, alias)
    if not reason.strip():
        raise UserError("--reason is empty; say why the holder has to go")
    holder_of(model, alias)
    log.settle()
    moves = log.moves()
    holders = _holders(moves)
    if len(holders) < 2:
        raise UserError(f"nobody held {model}@{alias} before; `seldtune history {model}` lists who did")
    target = find_version(model, holders[-2])
    faults = faults_of(target)
    if faults:
        raise GateError(f"version {target.version} held {alias} before, and cannot again: {'; '.join(faults)}")
    move = Move(
        sequence=moves[-1].sequence + 1, kind=ROLLBACK, version=target.version, before=holders[-1], reason=reason
    )
    log.require_right()
    log.claim(move)
    log.settle()
    return move


def history(root: str, model: str, alias: str) -> list[Move]:
    """Every move of the alias, oldest first.

    Raises:
        UserError: no such model, or a name that is no alias.
    """
    log = _log(root, model, alias)
    holder, moves = holder_of(model, alias), log.moves()
    now = holder.version if holder else None
    if moves and moves[-1].version != now:
        logger.warning(
            "MLflow has version %s as %s, the history version %s; the next promotion or rollback puts that right",
            now,
            alias,
            moves[-1].version,
        )
    return moves


def _log(root: str, model: str, alias: str) -> AliasLog:
    # MLflow keeps these names for itself, however they are written, and others could leave the folder of the history.
    if not re.fullmatch(r"[A-Za-z0-9_-]+", alias) or re.fullmatch(r"latest|v\d+", alias.lower()):
        raise UserError(f"alias {alias!r}: use letters, digits, - and _, but not `latest` or `v1`")
    return AliasLog(root, model, alias)


def _candidate(model: str, candidate: str | None) -> ModelVersion:
    if candidate is not None:
        return find_version(model, candidate)
    return holder_of(model, FINALIST) or find_version(model, CHALLENGER)


def _holder(model: str, alias: str, last: Move | None) -> ModelVersion | None:
    """Who has to be beaten: by the history, or by MLflow where there is none yet; nobody when it was deleted."""
    if last is None:
        return holder_of(model, alias)
    try:
        return find_version(model, last.version)
    except UserError:
        logger.warning("version %s, which holds %s, was deleted: there is nothing to compare with", last.version, alias)
        return None


def _standing(root: str, version: ModelVersion, *, files: bool = False) -> Standing:
    try:
        evidence = evidence_of(version)
    except UserError as error:
        logger.warning("%s", error)
        evidence = None
    faults = tuple(faults_of(version)) if files else ()
    sweep = version.tags.get("sweep", "")
    settings = SweepStore(root, sweep).settings() if sweep else None
    plugins = tuple((settings or {}).get("plugins", ()))
    return Standing(
        version=version.version, evidence=evidence, name=version.name, sweep=sweep, plugins=plugins, faults=faults
    )


def _holders(moves: list[Move]) -> list[str]:
    """Who holds the alias after these moves, and before that, and so on: a rollback takes the last one off."""
    holders: list[str] = []
    for move in moves:
        if move.kind == ROLLBACK:
            holders.pop()
            continue
        if not holders and move.before:
            holders.append(move.before)
        holders.append(move.version)
    return holders


def _refusal(chosen: ModelVersion, alias: str, refused: list[Verdict]) -> str:
    listed = " | ".join(str(verdict) for verdict in refused)
    return f"version {chosen.version} may not become {alias}: {listed}"
