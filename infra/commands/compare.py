"""`seldtune compare`: which variant is better, and how sure that is."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.commands.options import PluginOption
from infra.console.output import JsonOption, print_json


def compare(
    sweeps: Annotated[list[str], typer.Argument(help="Names of sweeps; several are taken together.")],
    by: Annotated[
        str, typer.Option(help="What the main table compares: fusion, visual, audio, schedule or depth.")
    ] = "fusion",
    reference: Annotated[
        str | None, typer.Option(help="Variant to test the others against; audio_only or none if it is there.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Compare after so many epochs; as many as all trials have if not given.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="SELD to reach; what the best tenth reached if not given.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Folder or s3:// for the report; ./<sweep>-comparison if not given.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what sweeps tried: intervals, rank tests, costs and pictures, on one page that needs no network.

    The page is kept with each sweep's run in MLflow too. Example: `seldtune compare quickstart --by schedule`
    """
    from infra.api import sweeps as api

    comparison = api.compare(sweeps, by=by, reference=reference, target=target, epochs=epochs, plugins=plugin)
    written = api.write_comparison(comparison, out)
    if as_json:
        print_json({**comparison.as_json(), "page": written.page, "mlflow": written.mlflow})
        return
    from rich.console import Console

    from infra.comparison.tables import WIDTH, summary_lines, terminal_table

    console = Console(highlight=False, width=max(Console().width, WIDTH))
    console.print(terminal_table(comparison))
    for line in [*summary_lines(comparison), f"page      {written.page}", *(f"MLflow    {u}" for u in written.mlflow)]:
        typer.echo(line)
