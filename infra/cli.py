"""The command line: `seldtune COMMAND`. Thin: each command calls a Python function and prints what it returns.

Modules that take long to import are imported inside the commands, so that `seldtune --help` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data.errors import GateError, UserError
from infra.arguments import parse_assignments, parse_bytes, parse_duration_s
from infra.data_commands import data_app
from infra.output import JsonOption, print_json, say

if TYPE_CHECKING:
    from infra.conclude import Conclusion
    from infra.stack import StackStatus

log = logging.getLogger(__name__)

EXIT_FAILED, EXIT_REFUSED, EXIT_GATE, EXIT_INTERRUPTED = 1, 2, 3, 130
OWN_LOGGERS = ("data", "trainables", "search_spaces", "infra")

app = typer.Typer(
    name="seldtune",
    help="Hyperparameter search for audio-visual sound event localisation and detection on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data_app, name="data")
weights_app = typer.Typer(help="Bring pre-trained weights in.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@app.callback()
def configure(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback (or SELDTUNE_DEBUG=1).")] = False,
) -> None:
    """Options of every command; they stand before its name."""
    if debug:
        os.environ["SELDTUNE_DEBUG"] = "1"
    set_up_logging(verbose=verbose)


def set_up_logging(*, verbose: bool) -> None:
    """Log to stderr: our own modules from INFO on (DEBUG when verbose), others from WARNING on (INFO)."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    warnings.filterwarnings("default" if verbose else "ignore", module=r"optuna|ray|mlflow")
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


@app.command()
def up(as_json: JsonOption = False) -> None:
    """Start the embedded stack: S3, MLflow and Ray, as far as the environment does not give them.

    Running it again starts only what is missing. Example: `seldtune up`
    """
    from infra import stack

    _show(stack.up(), as_json=as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show what runs where, with URLs and memory.

    Example: `seldtune status --json`
    """
    from infra import stack

    _show(stack.status(), as_json=as_json)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Delete the stack's folder and all data as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop the embedded stack and keep its data; a service of the environment is left alone.

    Example: `seldtune down`
    """
    from infra import stack
    from infra.home import find_home

    home = find_home()
    if purge and home.is_dir() and not yes:
        if not sys.stdin.isatty():
            raise UserError(f"--purge would delete {home} with all data in it: say --yes as well")
        typer.confirm(f"Delete {home} with all runs, models and data in it?", abort=True, err=True)
    ended = stack.down()
    deleted = stack.purge() if purge else None
    if as_json:
        print_json({"processes_ended": ended, "home": str(home), "deleted": deleted is not None})
    else:
        typer.echo(f"{ended} processes ended" if ended else "nothing was running")
        if deleted:
            typer.echo(f"{home} deleted")


@app.command()
def sweep(
    space: Annotated[str, typer.Argument(help="Search space: quickstart or fusion.")],
    name: Annotated[str | None, typer.Option(help="Name of the sweep; an existing one is continued.")] = None,
    data: Annotated[str | None, typer.Option(help="Chunk store; <root>/data/<space> if not given.")] = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all.")] = None,
    budget: Annotated[str | None, typer.Option(help="Wall-clock time in all: 90s, 15m, 12h, 7d.")] = None,
    workers: Annotated[int, typer.Option(help="Ray Train workers of a trial; two or more train with DDP.")] = 1,
    cpus: Annotated[int | None, typer.Option(help="CPUs of a worker.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a worker.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit if not given.")] = None,
    data_memory: Annotated[
        str | None,
        typer.Option(envvar="SELDTUNE_DATA_MEMORY", help="For decoded data, e.g. 20GB; what does not fit is streamed."),
    ] = None,
    stopper: Annotated[str, typer.Option(help="Early stopping: asha or none.")] = "asha",
    seed: Annotated[int, typer.Option(help="Seed of the search and of every trial.")] = 0,
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field that every trial takes, e.g. training.epochs=4.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name in the registry for the best model.")] = "seld",
    as_json: JsonOption = False,
) -> None:
    """Search a space: run trials, compare them, and register the best model as challenger.

    The same command goes on after a crash or Ctrl-C. Example: `seldtune sweep quickstart --trials 10 --budget 10m`
    """
    from infra.settings import load_settings

    settings = load_settings()
    settings.export()
    from infra.conclude import conclude
    from infra.sweep import SweepRequest, run_sweep
    from search_spaces.registry import find_space

    request = SweepRequest(
        space=find_space(space),
        name=name,
        data=data,
        trials=trials,
        budget_s=None if budget is None else parse_duration_s(budget),
        workers=workers,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        concurrency=concurrency,
        data_memory_bytes=None if data_memory is None else parse_bytes(data_memory),
        stopper=stopper,
        seed=seed,
        fixed=parse_assignments(fix or []),
    )
    outcome = run_sweep(request, settings)
    if not outcome.finished:
        outcome.tracker.close("KILLED")
        raise typer.Exit(EXIT_INTERRUPTED)
    conclusion = conclude(outcome, model)
    if as_json:
        print_json(conclusion.as_json())
    else:
        _show_conclusion(conclusion)
    if conclusion.best is None:
        raise typer.Exit(EXIT_FAILED)


FaithfulOption = Annotated[bool, typer.Option("--faithful/--fixed", help="As the authors' code, or as their paper.")]
WeightsOption = Annotated[str | None, typer.Option(help="URI of pre-trained weights; random ones if not given.")]


@app.command()
def plan(
    preset: Annotated[str, typer.Option(help="A published system, e.g. resnet-av_conformer; `list` lists them.")],
    size: Annotated[str, typer.Option(help="paper, or small: minutes on a laptop.")] = "paper",
    faithful: FaithfulOption = False,
    fix: Annotated[list[str] | None, typer.Option("--set", help="A field to change, e.g. training.epochs=4.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the whole config of a published system, and how large it is.

    Example: `seldtune plan --preset resnet-av_conformer --faithful`
    """
    from infra.plan import describe_preset, plan_text
    from search_spaces.presets import PRESETS

    if preset == "list":
        say({"presets": list(PRESETS)}, "\n".join(PRESETS), as_json=as_json)
        return
    document = describe_preset(preset, size, faithful, parse_assignments(fix or []))
    say(document, plan_text(document), as_json=as_json)


@app.command()
def table1(
    data: Annotated[str, typer.Option(help="Chunk store: a folder or s3://bucket/path.")],
    name: Annotated[str, typer.Option(help="Name of the table; an existing one is continued.")] = "table1",
    only: Annotated[list[str] | None, typer.Option(help="A preset; repeat for several. All if not given.")] = None,
    size: Annotated[str, typer.Option(help="paper, or small: minutes on a laptop.")] = "paper",
    faithful: FaithfulOption = False,
    audio_weights: WeightsOption = None,
    resnet_weights: WeightsOption = None,
    i3d_weights: WeightsOption = None,
    detector_weights: WeightsOption = None,
    boxes: Annotated[str | None, typer.Option(help="Folder of csv with boxes, in place of a detector.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each system.")] = 1,
    cpus: Annotated[int | None, typer.Option(help="CPUs of a trial.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of a trial.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time; as many as fit if not given.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field that every system takes, e.g. training.epochs=4.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the published systems on a store and score them on its test split, in the form of the paper's Table 1.

    The same command goes on after a crash or Ctrl-C.
    Example: `seldtune table1 --data s3://seldtune/data/quickstart --size small`
    """
    from infra.settings import load_settings

    settings = load_settings()
    settings.export()
    from infra.table1 import Table1Request, default_presets, run_table1, terminal_table
    from search_spaces.presets import Pretrained

    pretrained = Pretrained(
        audio=audio_weights, resnet=resnet_weights, i3d=i3d_weights, detector=detector_weights, boxes=boxes
    )
    rows = run_table1(
        Table1Request(
            data=data,
            name=name,
            presets=only or default_presets(pretrained),
            size=size,
            faithful=faithful,
            pretrained=pretrained,
            seeds=seeds,
            cpus_per_worker=cpus,
            gpus_per_worker=gpus,
            concurrency=concurrency,
            fixed=parse_assignments(fix or []),
        ),
        settings,
    )
    if rows is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    from rich.console import Console

    console = Console(highlight=False, width=max(Console().width, 130))
    console.print(terminal_table(rows, f"{name} ({size} size, test split)"))


@app.command()
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
    as_json: JsonOption = False,
) -> None:
    """Score anybody's predictions by the rules of the DCASE challenge, with jackknife intervals.

    Rows are polar or Cartesian, in DCASE's forms.
    Example: `seldtune score --reference metadata_dev --prediction my_output --recordings 'fold4_*'`
    """
    from infra.score import score_folders, score_text

    result = score_folders(reference, prediction, average, edition, form, distance_unit, recordings)
    say(result, score_text(result), as_json=as_json)


@weights_app.command("import")
def weights_import(
    source: Annotated[str, typer.Argument(help="A file, s3:// or https:// address of published weights.")],
    name: Annotated[str, typer.Option("--as", help="Name to keep them under.")],
    sha256: Annotated[str | None, typer.Option(help="What the file's SHA-256 has to be.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check published weights and store them without pickle, with where they came from.

    Understood are torchvision's ResNets, I3D (rgb_imagenet.pt), the audio encoder and the models of AV-SELD, and the
    DCASE audio baseline. Example: `seldtune weights import resnet50-11ad3fa6.pth --as resnet50`
    """
    from infra.settings import load_settings
    from infra.weights import import_weights

    settings = load_settings(need=("s3",))
    settings.export()
    result = import_weights(source, name, settings.root, sha256)
    told = f"{result['uri']}: {result['what']}, {result['parameters']:,} parameters in {result['entries']} entries"
    say(result, f"{told}\nuse it with --set {result['field']}={result['uri']}", as_json=as_json)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Name in the registry.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the version.")],
    candidate: Annotated[str, typer.Option("--from", help="Version number or alias to promote.")] = "challenger",
    alias: Annotated[str, typer.Option("--to", help="Alias to move.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Promote against the gate; written down.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move an alias to a better model, with the reason. Refuses (exit code 3) one that did not score better.

    Example: `seldtune promote seld --reason "best of the quickstart sweep"`
    """
    from infra.settings import load_settings

    load_settings(need=("mlflow",)).export()
    from infra import registry

    chosen, before = registry.promote(model, candidate, alias, reason, force)
    document = {"model": model, "alias": alias, "version": chosen.version, "before": before, "reason": reason}
    was = f" (was version {before})" if before else ""
    say(document, f"{model}@{alias} is version {chosen.version}{was}", as_json=as_json)


@app.command()
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
    as_json: JsonOption = False,
) -> None:
    """Apply a registered model to a recording: a DCASE csv and a picture.

    Example: `seldtune predict --model models:/seld@champion clip.wav clip.mp4 --truth clip.csv`
    """
    from infra.settings import load_settings

    load_settings(need=("mlflow",)).export()
    from infra.predict import predict_files

    result = predict_files(model, wav, video, truth, out, resample, boxes)
    say(result, _prediction_text(result), as_json=as_json)


def _show(state: StackStatus, *, as_json: bool) -> None:
    """`status` as a table for people, or as JSON."""
    if as_json:
        print_json(state.as_json())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("service", "state", "url"):
        table.add_column(heading, overflow="fold")
    table.add_column("pid", justify="right")
    table.add_column("MiB", justify="right")
    table.add_column("from")
    for one in state.services:
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / 2**20:.0f}"
        table.add_row(one.service, one.state, one.url or "", str(one.pid or ""), memory, one.source)
    console = Console(highlight=False)
    console.print(table)
    # Plain lines: a path broken at the screen's edge could not be copied.
    typer.echo(f"root     {state.root}")
    if state.ray_address:
        typer.echo(f"Ray      ray.init(address={state.ray_address!r})")
    if state.ray_token_file:
        typer.echo(f"token    {state.ray_token_file} holds what the Ray dashboard asks for")
    if state.home:
        typer.echo(f"home     {state.home}")
        typer.echo(f"logs     {state.home}/logs")
    if any(one.state == "stopped" for one in state.services):
        typer.echo("Not everything runs here: `seldtune up` starts what is missing.")


def _prediction_text(result: dict[str, Any]) -> str:
    heard = ", ".join(result["classes"]) or "nothing"
    scored = " ".join(f"{name} {value:g}" for name, value in result["micro"].items())
    lines = [f"{result['seconds']} s, {result['rows']} rows: {heard}"]
    lines += [f"micro {scored}"] if scored else []
    return "\n".join([*lines, result["csv"], result["picture"]])


def _show_conclusion(conclusion: Conclusion) -> None:
    """What a sweep found, on one screen."""
    from rich.console import Console

    from infra.report import terminal_table

    console = Console(highlight=False, width=max(Console().width, 118))
    console.print(terminal_table(conclusion.rows, f"Sweep {conclusion.name} (validation, classes present)"))
    for line in conclusion.lines():
        typer.echo(line)


def main() -> None:
    """Console script. Exit codes: 0 done, 1 failed, 2 refused as asked wrongly, 3 refused by a gate."""
    try:
        app()
    except UserError as error:
        sys.exit(_report(error, EXIT_REFUSED))
    except GateError as error:
        sys.exit(_report(error, EXIT_GATE))
    except Exception as error:
        code = _report(error, EXIT_FAILED)
        if not _debugging():
            sys.stderr.write("(`seldtune --debug ...` or SELDTUNE_DEBUG=1 shows the traceback)\n")
        sys.exit(code)


def _debugging() -> bool:
    return os.environ.get("SELDTUNE_DEBUG", "") not in ("", "0")


def _report(error: Exception, code: int) -> int:
    """Print an error to stderr: one line for what users can mend, the traceback before it when debugging."""
    if _debugging():
        log.error("traceback", exc_info=error)
    text = str(error) or type(error).__name__
    if code != EXIT_FAILED:
        text = " ".join(text.split())
    elif not isinstance(error, RuntimeError):
        text = f"{type(error).__name__}: {text}"
    sys.stderr.write(f"error: {text}\n")
    return code


if __name__ == "__main__":
    main()
