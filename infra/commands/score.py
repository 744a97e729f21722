"""`seldtune score`: DCASE scores of anybody's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.commands.options import ClassesOption
from infra.console.output import JsonOption, say


def score(
    reference: Annotated[Path, typer.Option(help="Folder of reference csv, searched through.")],
    prediction: Annotated[Path, typer.Option(help="Folder of predicted csv, of any system.")],
    average: Annotated[
        Literal["macro", "micro", "present"], typer.Option(help="Over classes; present: those there are.")
    ] = "macro",
    edition: Annotated[int, typer.Option(help="Rules of DCASE Task 3: 2023 or 2024.")] = 2023,
    form: Annotated[Literal["auto", "polar", "cartesian"], typer.Option(help="What predicted rows hold.")] = "auto",
    distance_unit: Annotated[Literal["auto", "m", "cm"], typer.Option(help="Of predicted distances.")] = "auto",
    recordings: Annotated[str, typer.Option(help="Only recordings of this pattern, e.g. 'fold4_*'.")] = "*",
    interval: Annotated[
        Literal["in-range", "jackknife"],
        typer.Option(help="Within what a score can be, or the challenge's own, which may not even hold the score."),
    ] = "in-range",
    classes: ClassesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score anybody's predictions by the rules of the DCASE challenge, with 95 % intervals.

    Rows are polar or Cartesian, in DCASE's forms.
    Example: `seldtune score --reference metadata_dev --prediction my_output --recordings 'fold4_*'`
    """
    from trainables.scores.folders import score_folders, score_text

    result = score_folders(reference, prediction, average, edition, form, distance_unit, recordings, interval, classes)
    say(result, score_text(result), as_json=as_json)
