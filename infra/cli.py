"""The command line: `seldtune COMMAND`. What the commands do is in `infra.commands`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from data.errors import GateError, UserError, WaitedInVain
from infra.commands import compare, decide, finals, kubernetes, models, plan, score, stack, submit, sweep, table1
from infra.commands.data import data_app
from infra.commands.recipe import recipe_app
from infra.console.output import EXIT_AWAY, EXIT_FAILED, EXIT_GATE, EXIT_REFUSED

log = logging.getLogger(f"seldtune.{__name__}")

app = typer.Typer(
    name="seldtune",
    help="Hyperparameter search for audio-visual sound event localisation and detection on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    stack.up,
    stack.status,
    stack.down,
    plan.plan,
    sweep.sweep,
    submit.submit,
    kubernetes.render,
    kubernetes.doctor,
    compare.compare,
    decide.decide,
    finals.finals,
    table1.table1,
    score.score,
    models.promote,
    models.rollback,
    models.history,
    models.predict,
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(models.weights_app, name="weights")
app.add_typer(recipe_app, name="recipe")


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
    logging.getLogger("seldtune").setLevel(logging.DEBUG if verbose else logging.INFO)


def main() -> None:
    """Console script.

    Exit codes: 0 done, 1 failed, 2 refused as asked wrongly, 3 refused by a gate, 75 a service was waited for in vain.
    """
    try:
        app()
    except WaitedInVain as error:
        sys.exit(_report(error, EXIT_AWAY))
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
