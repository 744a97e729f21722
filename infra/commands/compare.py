"""`seldtune compare`: which variant is better, and how sure that is."""

from __future__ import annotations

from typing import Annotated

import typer

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
    as_json: JsonOption = False,
) -> None:
    """Compare what sweeps tried: intervals, rank tests, costs and pictures, on one page that needs no network.

    The page is kept with each sweep's run in MLflow too. Example: `seldtune compare quickstart --by schedule`
    """
    from infra.stack.settings import load_settings

    settings = load_settings(need=("s3",))
    settings.export()
    from infra.comparison.compare import compare as compare_sweeps
    from infra.comparison.report import load_sweeps, log_comparison, report_files, write_files
    from infra.comparison.tables import WIDTH, summary_lines, terminal_table

    loaded = load_sweeps(settings.root, sweeps)
    comparison = compare_sweeps(loaded, by=by, reference=reference, target=target, epochs=epochs)
    files = report_files(comparison)
    page = write_files(files, out or f"{'-'.join(sweeps)}-comparison")
    logged = log_comparison(comparison, files, settings.mlflow_tracking_uri)
    if as_json:
        print_json({**comparison.as_json(), "page": page, "mlflow": logged})
        return
    from rich.console import Console

    console = Console(highlight=False, width=max(Console().width, WIDTH))
    console.print(terminal_table(comparison))
    for line in [*summary_lines(comparison), f"page      {page}", *(f"MLflow    {url}" for url in logged)]:
        typer.echo(line)
