"""`seldtune plan`: what a sweep or a published system would be, before anything is paid for."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from typing import Annotated

import typer

from data.errors import UserError
from infra.commands.options import FaithfulOption, SweepOptions, with_sweep_options
from infra.console.arguments import parse_assignments
from infra.console.output import EXIT_REFUSED, JsonOption, print_json, say


@functools.partial(with_sweep_options, space="")
def plan(
    options: SweepOptions,
    preset: Annotated[
        str | None, typer.Option(help="A published system in place of a space, e.g. resnet-gru; `list` lists them.")
    ] = None,
    size: Annotated[str, typer.Option(help="Of a published system: paper, or small: minutes on a laptop.")] = "paper",
    faithful: FaithfulOption = False,
    samples: Annotated[int, typer.Option(min=1, help="Configs that are drawn from the space.")] = 64,
    calibrate: Annotated[
        bool, typer.Option(help="Measure the cluster's speed where it is not known; else assume one.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Tell what a sweep would take and whether it can run, or print a published system's config.

    Exit code 2 where it cannot run as asked. Example: `seldtune plan fusion --gpus 1 --trials 32`
    """
    if preset is not None:
        _plan_preset(preset, size, faithful, options, as_json)
        return
    if size != "paper" or faithful:
        raise UserError("--size and --faithful are of a published system: give --preset, not a search space")
    if not options.space:
        raise UserError("nothing to plan: name a search space, or a published system with --preset")
    from rich.console import Console

    from infra.api import sweeps as api

    found = api.plan(options.space, samples=samples, calibrate=calibrate, **options.besides_space())
    if as_json:
        print_json(found.as_json())
    else:
        from infra.plan.screen import show_plan

        show_plan(found, Console(highlight=False, width=max(Console().width, 118)))
    if found.refused:
        raise typer.Exit(EXIT_REFUSED)


def _plan_preset(preset: str, size: str, faithful: bool, options: SweepOptions, as_json: bool) -> None:
    from data.registry.plugins import load_plugins
    from search_spaces.presets import PRESETS
    from search_spaces.presets_text import describe_preset, plan_text

    # The memory for data may be said by the environment, for whatever is called.
    words = dataclasses.replace(options, fix=None, plugin=None, data_memory=None).arguments()
    of_sweeps = [word for word in words if word]
    if of_sweeps:
        raise UserError(
            f"--preset {preset} is one config, not a sweep: leave out {shlex.join(of_sweeps)}; only --size, "
            "--faithful, --set and --plugin go with it"
        )
    load_plugins(options.plugin or ())
    if preset == "list":
        say({"presets": list(PRESETS)}, "\n".join(PRESETS), as_json=as_json)
        return
    document = describe_preset(preset, size, faithful, parse_assignments(options.fix or ()))
    say(document, plan_text(document), as_json=as_json)
