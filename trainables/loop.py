"""The training loop: one optimiser step a batch, one evaluation, one checkpoint and one report an epoch.

Everything random follows from (seed, epoch, rank): the order of windows, their augmentation and dropout. A trial that
continues from a checkpoint therefore computes what it would have computed without the interruption.

With several workers each takes its part of the same global batches, so that a step means the same whatever their
number. Gradients are averaged over the valid label frames of the whole batch. Batch normalisation is the exception:
each worker normalises by its own part of the batch, and the running averages of worker 0 are the ones kept
(`DistributedDataParallel`'s broadcast of buffers).
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import closing
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.classes import NUM_CLASSES
from data.errors import UserError
from data.feed import Feed
from data.windows import Windows
from trainables.accdoa import LOSSES, NUM_DIRECTION_AXES
from trainables.augment import Augment
from trainables.checkpoint import TrialStore
from trainables.config import AdamW, MultiAccdoa, TrialConfig
from trainables.config_tree import fingerprint, to_dict
from trainables.evaluate import (
    AVERAGES,
    THRESHOLD_GRID,
    best_thresholds,
    counts_from_array,
    counts_to_array,
    evaluate,
    flat_scores,
)
from trainables.metrics import SCORE_NAMES
from trainables.model import SeldModel
from trainables.schedules import make_schedule
from trainables.visual_encoders import seen_in
from trainables.weights import load_pretrained

logger = logging.getLogger(__name__)

OBJECTIVE = "present/SELD"
"""What a trial is judged by, smaller is better: the SELD score over the classes present in the validation rooms."""


REPORT_KEYS = (
    "epoch",
    "train_loss",
    "val_loss",
    "lr",
    "windows_per_s",
    "epoch_s",
    "best_epoch",
    *(f"{average}/{name}" for average in AVERAGES for name in SCORE_NAMES),
)
"""The numbers of one report."""


class Session(Protocol):
    """The loop's view of the world around it: its place among workers, its data, and where reports go."""

    rank: int
    world_size: int
    device: torch.device

    def feed(self, split: str) -> Feed:
        """The windows and recordings of a split, held or streamed."""
        ...

    def report(self, metrics: dict[str, float]) -> bool:
        """Hand over the metrics of an epoch; False means: stop here, gracefully."""
        ...

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum an array over all workers."""
        ...


class Diverged(RuntimeError):
    """The loss is no longer a number; the message holds the step and the learning rate."""


def train(
    config: TrialConfig,
    session: Session,
    store: TrialStore,
    feature_mean: np.ndarray,
    feature_std: np.ndarray,
    provenance: dict[str, Any],
) -> None:
    """Train until the epochs are done or the session says stop; continue from the store's checkpoint when it has one.

    Args:
        feature_mean, feature_std: (7, 1, n_mels) over the training split, kept in the model.
        provenance: JSON facts (data hash, git commit, ...) kept with the best model.
    """
    torch.manual_seed(config.training.seed)
    model = SeldModel(config, torch.as_tensor(feature_mean), torch.as_tensor(feature_std))
    model.to(session.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser_class = torch.optim.AdamW if isinstance(config.optimiser, AdamW) else torch.optim.Adam
    optimiser = optimiser_class(
        parameters, lr=config.optimiser.lr, weight_decay=config.optimiser.weight_decay, fused=True
    )

    training, validation = session.feed("train"), session.feed("val")
    _check_distances(config, training, validation)
    sampler = training.windows(
        config.visual.columns,
        epochs=config.training.epochs,
        batch_size=config.training.batch_size,
        window_frames=config.inputs.window_labels,
        hop_frames=config.inputs.train_hop_labels,
        epoch_windows=config.training.epoch_windows,
        swap=config.augment.channel_swaps,
        seed=config.training.seed,
        rank=session.rank,
        world_size=session.world_size,
        frame_rate_hz=config.inputs.frame_rate_hz,
    )
    schedule = make_schedule(config.schedule, config.training.epochs, len(sampler))

    first_epoch, best, best_epoch = 1, math.inf, 0
    state = store.latest()
    if state is None:
        load_pretrained(model, config)
    else:
        if state["config"] != fingerprint(config):
            raise RuntimeError(f"{store.uri} holds the checkpoint of another config; it is not this trial's folder")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        best, best_epoch, first_epoch = state["best"], state["best_epoch"], state["epoch"] + 1
        logger.info("continuing after epoch %d", state["epoch"])
        # The report of that epoch may have been lost with the process that made it; twice does no harm.
        if not session.report(state["metrics"]):
            return

    wrapped: nn.Module = DistributedDataParallel(model) if session.world_size > 1 else model
    if config.training.compile:
        wrapped = torch.compile(wrapped)  # type: ignore[assignment]
    with closing(sampler):
        for epoch in range(first_epoch, config.training.epochs + 1):
            started = time.monotonic()
            torch.manual_seed(_mixed_seed(config.training.seed, epoch, session.rank))
            loss = _train_epoch(config, session, wrapped, optimiser, parameters, sampler, schedule, epoch)
            train_seconds = time.monotonic() - started
            scored, val_loss, thresholds, example = _evaluate(model, config, session, validation)
            metrics = {
                "epoch": epoch,
                "train_loss": loss,
                "val_loss": val_loss,
                "lr": optimiser.param_groups[0]["lr"],
                "windows_per_s": sampler.num_windows / train_seconds,
                "epoch_s": time.monotonic() - started,
                **scored,
            }
            improved = metrics[OBJECTIVE] < best
            if improved:
                best, best_epoch = metrics[OBJECTIVE], epoch
            metrics["best_epoch"] = best_epoch
            if session.rank == 0:
                if improved:
                    facts = {"epoch": epoch, "validation": metrics, "thresholds": thresholds.tolist(), **provenance}
                    store.save_best(epoch, model, config, facts, example)
                store.save(
                    epoch,
                    {
                        "config": fingerprint(config),
                        "epoch": epoch,
                        "model": model.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "best": best,
                        "best_epoch": best_epoch,
                        "metrics": metrics,
                    },
                )
                logger.info(
                    "epoch %d/%d | loss %.4f | val SELD %.3f F %.3f LE %.1f deg | %.0f windows/s | "
                    "best %.3f at epoch %d",
                    epoch,
                    config.training.epochs,
                    loss,
                    metrics[OBJECTIVE],
                    metrics["present/F"],
                    metrics["present/LE"],
                    metrics["windows_per_s"],
                    best,
                    best_epoch,
                )
            if not session.report(metrics):
                logger.info("stopped after epoch %d", epoch)
                return


def _evaluate(
    model: SeldModel, config: TrialConfig, session: Session, validation: Feed
) -> tuple[dict[str, float], float, np.ndarray, dict[str, np.ndarray]]:
    """Scores and loss over the whole validation split, the thresholds (13,) to use the model with, and what this worker
    predicted for its first recording."""
    default = config.inference.threshold
    tried = (default, *(THRESHOLD_GRID if config.inference.tune_thresholds else ()))
    # Whole recordings go to one worker: the scores are counted by recording.
    rows = validation.recordings(config.visual.columns, session.rank, session.world_size)
    with closing(rows):
        mine = evaluate(model, rows, tried, config.training.batch_size)
    total = session.sum(np.concatenate([*map(counts_to_array, mine.counts), [mine.loss_sum, mine.frames]]))
    at_default, *on_grid = [counts_from_array(part) for part in np.split(total[:-2], len(tried))]
    scored = flat_scores(at_default)
    thresholds = best_thresholds(on_grid, default) if on_grid else np.full(NUM_CLASSES, default)
    return scored, float(total[-2] / max(total[-1], 1)), thresholds, mine.example


def _mixed_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _check_distances(config: TrialConfig, *feeds: Feed) -> None:
    """UserError where the model is to learn distances, and an event has none."""
    if config.output.axes > NUM_DIRECTION_AXES:
        unknown = [name for feed in feeds for name in feed.without_distance()]
        if unknown:
            raise UserError(
                f"output.name = {config.output.name!r} needs a distance for every event, but {len(unknown)} recordings "
                f"({', '.join(unknown[:3])}) have events without; choose output.name = {MultiAccdoa.name!r}"
            )


def _train_epoch(
    config: TrialConfig,
    session: Session,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    sampler: Windows,
    schedule: Any,
    epoch: int,
) -> float:
    """One pass over the epoch's windows; returns the mean loss."""
    model.train()
    augment = Augment(config.augment)
    loss_of = LOSSES[config.output.name]
    total = torch.zeros((), device=session.device)
    for index, batch in enumerate(sampler.epoch(epoch)):
        step = (epoch - 1) * len(sampler) + index
        for group in optimiser.param_groups:
            group["lr"] = config.optimiser.lr * schedule(step)
        features = torch.from_numpy(batch["features"]).to(session.device, non_blocking=True)
        looked_at = {
            column: torch.from_numpy(batch[column]).to(session.device, non_blocking=True)
            for column in config.visual.columns
            if column in batch
        }
        has_video = torch.from_numpy(batch["has_video"]).to(session.device)
        valid = torch.from_numpy(batch["valid"]).to(session.device)
        target = torch.from_numpy(batch["target"]).to(session.device)
        features, looked_at, mix = augment(features, looked_at, has_video)
        output = model(features, seen_in(looked_at, config.visual.columns), has_video)
        loss = mix.loss(loss_of, output, target, valid)
        if session.world_size > 1:
            # Each worker's mean counts by its share of the batch's valid frames; DDP then divides by the workers.
            share = float(valid.sum()) / float(session.sum(np.array([valid.sum().item()]))[0])
            loss = loss * share * session.world_size
        if not torch.isfinite(loss):
            raise Diverged(
                f"loss is {loss.item()} at step {step} (epoch {epoch}, learning rate "
                f"{optimiser.param_groups[0]['lr']:.2g}); lower optimiser.lr or training.clip_norm. "
                f"Config: {to_dict(config)}"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.training.clip_norm)
        optimiser.step()
        total += loss.detach()
    return float(session.sum(np.array([total.item()]))[0]) / session.world_size / len(sampler)
