"""The paper's recipe from end to end: synthetic scenes, an audio encoder that learns on them, and Table 1 from it.

Published figures were reached so, and are not reached without: every result says which data trained it, by hash and
hours. Each stage finds what an earlier call has finished, and goes on with what it has not.

Source: "Fusion of audio and visual embeddings for SELD" (ICASSP 2024), section 4: an audio encoder pre-trained on 30 h
of simulated scenes under channel swaps, then fine-tuned with each fusion.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from data.errors import UserError
from data.fields import check_plain
from data.names import check_name
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store
from data.stores.mix import check_mix, mix, parts_text
from infra.cluster.join import on_cluster
from infra.finals.held_out import best_bundle
from infra.finals.table1 import SystemScores, Table1Request, run_table1
from infra.stack.settings import Settings
from infra.sweep.data import find_store
from infra.sweep.outcome import SweepOutcome
from infra.sweep.run import run_sweep
from search_spaces.presets import find_preset
from search_spaces.table1 import ROWS, table1_space
from trainables.config import CnnConformer
from trainables.evaluation.bundle import WEIGHTS_NAME
from trainables.networks.pretrained import require_weights
from trainables.training.reports import OBJECTIVE

logger = logging.getLogger(f"seldtune.{__name__}")

PRETRAINED_PRESET = "audio_only"
_ADDED = "synthetic"
"""What the mixed store calls what was added."""
SYNTHETIC_CLIPS = {"paper": (1800, 120), "small": (24, 5)}
"""A minute each, to train and to validate on; the paper's encoder had about 30 h."""


@dataclass(frozen=True, kw_only=True)
class RecipeRequest:
    """What the user asked for."""

    table: Table1Request
    """What is to come of it. Its data is the target, on which systems are fine-tuned and scored; all that is made is
    called after its name; `pretrained` is of the visual encoders, and `fixed` holds in both trainings."""
    synthetic: str | None = None
    """The store that the audio encoder learns on; nothing: scenes are made, `<root>/data/<name>-synthetic`."""
    added_share: float = 0.0
    """Share of the fine-tuning's windows that are synthetic; 0: the target alone, as in the paper."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_name(self.table.name, "--name")
        if not 0 <= self.added_share < 1:
            raise UserError(f"--added-share {self.added_share:g}: has to be 0 or more, and less than 1")
        if self.table.size not in SYNTHETIC_CLIPS:
            raise UserError(f"size {self.table.size!r} is not known; choose one of {', '.join(SYNTHETIC_CLIPS)}")
        for preset in self.table.presets:
            config = find_preset(preset, self.table.size, self.table.faithful)
            if config.hears and not isinstance(config.audio, CnnConformer):
                raise UserError(
                    f"preset {preset!r} has another audio encoder than the one that learns first; choose from "
                    f"{', '.join(ROWS)}"
                )


def run_recipe(request: RecipeRequest, settings: Settings) -> list[SystemScores] | None:
    """All stages; nothing when interrupted: the same call goes on from there.

    Costs a training of the audio encoder, and then `run_table1`.

    Raises:
        UserError: the target or the synthetic store is none, or a sweep cannot run; see `run_table1`.
        RuntimeError: the audio encoder could not be trained.
    """
    table = request.table
    target = find_store(table.data, settings.root)
    require_weights(find_preset(name, table.size, table.faithful, table.pretrained) for name in table.presets)
    given = None if request.synthetic is None else find_store(request.synthetic, settings.root)
    if given is not None and request.added_share:
        check_mix(target, {_ADDED: given})
    _stage(1, "synthetic scenes")
    synthetic = given or _made(table, settings)
    _stage(2, f"the audio encoder learns on {parts_text(synthetic)}")
    space = table1_space([PRETRAINED_PRESET], table.size, table.faithful)
    with run_sweep(table.trainings(space, f"{table.name}-pretraining", synthetic.root), settings) as outcome:
        if not outcome.finished:
            return None
        weights, score = _encoder(outcome)
    _stage(3, "data to fine-tune on")
    tuned_on = _mixed(request, target, synthetic, settings)
    _stage(4, f"every system is fine-tuned on {parts_text(tuned_on)}")
    told = [
        f"audio encoder: {weights}, validation SELD {score:.3f} on {parts_text(synthetic)}",
        f"fine-tuning: {parts_text(tuned_on)}"
        + (f"; {request.added_share:g} of the windows from what was added" if request.added_share else ""),
    ]
    shares = {"training.added_share": request.added_share} if request.added_share else {}
    fine_tuning = replace(
        table,
        data=tuned_on.root,
        name=f"{table.name}-table1",
        pretrained=replace(table.pretrained, audio=weights),
        fixed={**table.fixed, **shares},
        trained_on=tuple(told),
    )
    return run_table1(fine_tuning, settings)


def _stage(number: int, what: str) -> None:
    logger.info("stage %d of 4: %s", number, what)


def _made(table: Table1Request, settings: Settings) -> Store:
    train, val = SYNTHETIC_CLIPS[table.size]
    # The encoder that learns on them only hears.
    made = SynthSettings(profile="standard", train_clips=train, val_clips=val, test_clips=0, with_video=False)
    return synthesise(made, f"{settings.root}/data/{table.name}-synthetic", run=on_cluster(settings))


def _encoder(outcome: SweepOutcome) -> tuple[str, float]:
    """URI of the pre-trained model's weights, and its score."""
    done = [record for record in outcome.records if record.best is not None and record.error is None]
    if not done:
        raise RuntimeError(f"the audio encoder could not be trained; {outcome.tracker.url} says why")
    assert done[0].best is not None
    return f"{best_bundle(outcome.sweep, done[0])}/{WEIGHTS_NAME}", done[0].best[OBJECTIVE]


def _mixed(request: RecipeRequest, target: Store, synthetic: Store, settings: Settings) -> Store:
    if not request.added_share:
        return target
    root = f"{settings.root}/data/{request.table.name}-mixed"
    return mix(root, target, {_ADDED: synthetic}, run=on_cluster(settings))
