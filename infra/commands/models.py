"""`seldtune promote`, `rollback`, `history`, `predict`, `weights`: models after a sweep, and weights before one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data.names import some_of
from infra.commands.options import AmbisonicsOption
from infra.console.output import EXIT_GATE, JsonOption, say

weights_app = typer.Typer(help="Bring pre-trained weights in.", no_args_is_help=True)


@weights_app.command("import")
def weights_import(
    source: Annotated[
        str,
        typer.Argument(help="Of weights: a file, s3:// or https:// address, models:/<name>@<alias> or /<version>."),
    ],
    name: Annotated[str, typer.Option("--as", help="Name to keep them under.")],
    sha256: Annotated[str | None, typer.Option(help="What the file's SHA-256 has to be.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check weights and store them without pickle, with where they came from.

    Understood are torchvision's ResNets, I3D (rgb_imagenet.pt), the audio encoder and the models of AV-SELD, the DCASE
    audio baseline, and models that were trained here.
    Example: `seldtune weights import resnet50-11ad3fa6.pth --as resnet50`
    """
    from infra.api import models as api

    result = api.import_weights(source, name, sha256=sha256)
    told = f"{result['uri']}: {result['what']}, {result['parameters']:,} parameters in {result['entries']} entries"
    say(result, f"{told}\nuse it with --set {result['field']}={result['uri']}", as_json=as_json)


ModelArgument = Annotated[str, typer.Argument(help="Name in the registry.")]
AliasOption = Annotated[str, typer.Option("--to", help="Alias to move.")]


def promote(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    candidate: Annotated[
        str | None, typer.Option("--from", help="Version number or alias; the finalist if not given.")
    ] = None,
    alias: AliasOption = "champion",
    rules: Annotated[Path | None, typer.Option(help="YAML of rules, e.g. `margin: 0.01`.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each rule says, and change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Promote against the rules; written down.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move an alias to a model that finals have shown to be better. Refuses (exit code 3) by rules, naming each.

    It has to be better on the holder's test recordings beyond the paired 95 % interval, no class much worse, fast,
    small, trained with three seeds from a clean commit, and its files as they were registered.
    Example: `seldtune promote seld --reason "best of the quickstart finals"`
    """
    from infra.api import models as api

    judged = api.promote(model, reason, candidate=candidate, alias=alias, rules=rules, dry_run=dry_run, force=force)
    document = {"model": model, "alias": alias, "moved": not dry_run, "reason": reason, **judged.as_json()}
    told = [str(verdict) for verdict in judged.verdicts]
    version = judged.candidate.version
    if dry_run:
        told.append(f"version {version} {'may' if judged.passed else 'may not'} become {model}@{alias}")
    else:
        was = f" (was version {judged.move.before})" if judged.move.before else ""
        told.append(f"{model}@{alias} is version {version}{was}{', FORCED' if judged.move.against else ''}")
    say(document, "\n".join(told), as_json=as_json)
    if dry_run and not judged.passed:
        raise typer.Exit(EXIT_GATE)


def rollback(
    model: ModelArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
    alias: AliasOption = "champion",
    as_json: JsonOption = False,
) -> None:
    """Give an alias back to whoever held it before; again, and it goes one further back.

    Example: `seldtune rollback seld --reason "deaf to bells in the new room"`
    """
    from infra.api import models as api

    move = api.rollback(model, reason, alias=alias)
    text = f"{model}@{alias} is version {move.version} again (was version {move.before})"
    say({"model": model, "alias": alias, **move.as_json()}, text, as_json=as_json)


def history(
    model: ModelArgument,
    alias: Annotated[str, typer.Option("--of", help="Alias.")] = "champion",
    as_json: JsonOption = False,
) -> None:
    """Every move of an alias: when, by whom, from which version to which, why, and against which rules if forced.

    Example: `seldtune history seld`
    """
    from infra.api import models as api

    moves = api.history(model, alias=alias)
    text = "\n".join(map(str, moves))
    if not moves:
        there = ", ".join(f"{name} (version {version})" for name, version in api.aliases(model).items())
        text = f"{model}@{alias} was never moved; aliases of {model}: {there or 'none'}"
    say({"model": model, "alias": alias, "moves": [move.as_json() for move in moves]}, text, as_json=as_json)


def predict(
    wav: Annotated[Path, typer.Argument(help="First-order ambisonics W Y Z X, 24 kHz.")],
    video: Annotated[Path | None, typer.Argument(help="Equirectangular mp4 of the same scene.")] = None,
    model: Annotated[
        str, typer.Option(help="models:/<name>@<alias> or models:/<name>/<version>.")
    ] = "models:/seld@champion",
    truth: Annotated[Path | None, typer.Option(help="DCASE csv to draw and score against.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; the recording's own if not given.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="csv of object boxes, for a model that reads them.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="Accept another sample rate and convert it.")] = False,
    ambisonics: AmbisonicsOption = "ambix",
    classes: Annotated[
        str | None,
        typer.Option(help="As for `data ingest`: what the truth calls its classes; else it has the model's own."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Apply a registered model to a recording: a DCASE csv and a picture.

    Example: `seldtune predict --model models:/seld@champion clip.wav clip.mp4 --truth clip.csv`
    """
    from infra.api import models as api

    result = api.predict(
        wav,
        video,
        model=model,
        truth=truth,
        out=out,
        boxes=boxes,
        resample=resample,
        ambisonics=ambisonics,
        classes=classes,
    )
    say(result, _prediction_text(result), as_json=as_json)


def _prediction_text(result: dict[str, Any]) -> str:
    heard = some_of(result["classes"], 13) or "nothing"
    scored = " ".join(f"{name} {value:g}" for name, value in result["micro"].items())
    lines = [f"{result['seconds']} s, {result['rows']} rows: {heard}"]
    if scored:
        from trainables.scores.matching import axis_errors_text

        lines += [f"micro {scored}", axis_errors_text(result["axes"])]
    return "\n".join([*lines, result["csv"], result["picture"]])
