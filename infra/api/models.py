"""Models after a sweep, and weights before one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.api.asked import text_of
from infra.api.services import settled
from infra.stack.settings import Settings

if TYPE_CHECKING:
    from infra.models.aliases import Judged
    from infra.models.gate import Rules
    from infra.models.history import Move
    from infra.models.predict import RegisteredModel

CHAMPION = "champion"
DEFAULT_MODEL = "models:/seld@champion"


def promote(
    model: str,
    reason: str = "",
    *,
    candidate: str | None = None,
    alias: str = CHAMPION,
    rules: Rules | Path | str | None = None,
    dry_run: bool = False,
    force: bool = False,
    settings: Settings | None = None,
) -> Judged:
    """Move an alias to a model that finals have shown to be better.

    Args:
        model: name in the registry.
        reason: why; kept in the history.
        candidate: a version number or another alias; the finalist if not given.
        alias: what is moved.
        rules: themselves, or a YAML file of them; those of `Rules` if not given.
        dry_run: say what each rule says, and change nothing.
        force: move it against the rules, which is written down.

    Raises:
        UserError: no such model or version, or an empty reason.
        GateError: rules refuse, each of which is named, or another promotion was quicker.
    """
    settings = settled(settings, ("s3", "mlflow"))
    from infra.models import aliases
    from infra.models.gate import Rules, read_rules

    read = rules if isinstance(rules, Rules) else read_rules(_path(text_of(rules, "rules")))
    said = text_of(reason, "reason") or ""
    return aliases.promote(settings.root, model, candidate, alias, said, rules=read, force=force, dry_run=dry_run)


def rollback(model: str, reason: str, *, alias: str = CHAMPION, settings: Settings | None = None) -> Move:
    """Give an alias back to whoever held it before; again, and it goes one further back.

    Raises:
        UserError: an empty reason, or nobody held it before.
        GateError: the former holder's files are not what they were, or another move was quicker.
    """
    settings = settled(settings, ("s3", "mlflow"))
    from infra.models import aliases

    return aliases.rollback(settings.root, model, alias, text_of(reason, "reason") or "")


def history(model: str, *, alias: str = CHAMPION, settings: Settings | None = None) -> list[Move]:
    """Every move of an alias, oldest first: when, by whom, to which version, why, and against which rules if forced.

    Raises:
        UserError: no such model.
    """
    settings = settled(settings, ("s3", "mlflow"))
    from infra.models import aliases

    return aliases.history(settings.root, model, alias)


def aliases(model: str, *, settings: Settings | None = None) -> dict[str, str]:
    """Each alias of a model, and the version that it points at.

    Raises:
        UserError: no such model.
    """
    settled(settings, ("mlflow",))
    from infra.models.register import aliases_of

    return aliases_of(model)


def predict(
    wav: Path | str,
    video: Path | str | None = None,
    *,
    model: str = DEFAULT_MODEL,
    truth: Path | str | None = None,
    out: Path | str | None = None,
    boxes: Path | str | None = None,
    resample: bool = False,
    ambisonics: Literal["ambix", "n3d", "fuma"] = "ambix",
    classes: Path | str | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Apply a registered model to a recording, and write a DCASE csv and a picture.

    Args:
        wav: first-order ambisonics W Y Z X, 24 kHz.
        video: equirectangular mp4 of the same scene.
        model: `models:/<name>@<alias>` or `models:/<name>/<version>`.
        truth: DCASE csv to draw and score against.
        out: folder for the results; the recording's own if not given.
        boxes: csv of object boxes, for a model that reads them.
        resample: accept another sample rate and convert it.
        ambisonics: order and scale of the channels: ambix, n3d or fuma; a file that says FuMa is read so anyway.
        classes: as `ingest` takes it: what the truth calls its classes; else it has the numbers of the model's.

    Returns:
        What was found and where it was written, ready for JSON: `model`, `seconds`, `rows`, `classes`, `csv`,
        `picture`, and `micro`, the scores against the truth.

    Raises:
        UserError: no such model, or a file that is not what it should be; nothing is written then.
    """
    from data.files.audio import check_ambisonics
    from data.files.class_map import read_class_map

    settled(settings, ("mlflow",))
    from infra.models.predict import predict_files

    given = check_ambisonics(ambisonics)
    class_map = None if classes is None else read_class_map(classes)
    return predict_files(
        model, Path(wav), _path(video), _path(truth), _path(out), resample, _path(boxes), given, class_map
    )


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def load_model(model: str = DEFAULT_MODEL, *, settings: Settings | None = None) -> RegisteredModel:
    """A model of the registry, to hear many recordings with.

    Args:
        model: `models:/<name>@<alias>` or `models:/<name>/<version>`.

    Raises:
        UserError: it is not there, or is no model of ours.
    """
    settled(settings, ("mlflow",))
    from infra.models.predict import load_registered

    return load_registered(model)


def import_weights(
    source: str, name: str, *, sha256: str | None = None, settings: Settings | None = None
) -> dict[str, Any]:
    """Check weights and store them without pickle as `<root>/weights/<name>.safetensors`.

    Args:
        source: a file, s3:// or https:// address, or a model that was trained here: `models:/<name>@<alias>`,
            `models:/<name>/<version>`, `runs:/<id of a trial's run>`.
        sha256: what the file's SHA-256 has to be.

    Returns:
        Where they are, what they are, and where they came from; ready for JSON.

    Raises:
        UserError: the file is missing, foreign or not the one expected, or the name is taken by other weights.
    """
    settings = settled(settings, ("s3",))
    from infra.models.import_weights import import_weights

    return import_weights(source, name, settings.root, sha256)
