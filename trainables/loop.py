"""The training loop: one optimiser step a batch, one evaluation, one checkpoint and one report an epoch.

Everything random follows from (seed, epoch, rank): the order of windows, their augmentation and dropout. A trial that
continues from a checkpoint therefore computes what it would have computed without the interruption. A trial that is
tried again because it diverged would diverge again, so the number of the attempt joins in from the second one on.

With several workers each takes its part of the same global batches, so that a step means the same whatever their
number. Gradients are averaged over the valid label frames of the whole batch. Batch normalisation is the exception:
each worker normalises by its own part of the batch, and the running averages of worker 0 are the ones kept
(`DistributedDataParallel`'s broadcast of buffers).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
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
from trainables.clock import ForwardClock
from trainables.config import MultiAccdoa, TrialConfig
from trainables.config_tree import fingerprint, to_dict
from trainables.decision import Decision, TakeOver
from trainables.evaluate import (
    AVERAGES,
    THRESHOLD_GRID,
    best_thresholds,
    counts_from_array,
    counts_to_array,
    evaluate,
    flat_scores,
)
from trainables.learner import Learner
from trainables.metrics import SCORE_NAMES
from trainables.model import SeldModel
from trainables.visual_encoders import seen_in
from trainables.weights import load_pretrained

logger = logging.getLogger(f"seldtune.{__name__}")

OBJECTIVE = "present/SELD"
"""What a trial is judged by, smaller is better: the SELD score over the classes present in the validation rooms."""

LATENCY = "latency_ms"
"""Milliseconds of forward passes for one window of the validation split, at the trial's batch size on its machine."""

REPORT_KEYS = (
    "epoch",
    "train_loss",
    "val_loss",
    "lr",
    "windows_per_s",
    "epoch_s",
    "best_epoch",
    LATENCY,
    *(f"{average}/{name}" for average in AVERAGES for name in SCORE_NAMES),
)
"""The numbers of every report."""

REPORT_GROUPS = ("class/", "system/", "pbt/")
"""What the names of a report's other numbers begin with: scores of the classes there are, what a worker used, and what
was taken over from another trial."""


def report_of(result: Mapping[str, Any]) -> dict[str, float]:
    """A trial's own report among what Tune adds to it."""
    return {key: value for key, value in result.items() if key in REPORT_KEYS or key.startswith(REPORT_GROUPS)}


class Session(Protocol):
    """The loop's view of the world around it: its place among workers, its data, and where reports go."""

    rank: int
    world_size: int
    device: torch.device

    def feed(self, split: str) -> Feed:
        """The windows and recordings of a split, held or streamed."""
        ...

    def report(self, metrics: dict[str, float]) -> Decision:
        """Hand over the metrics of an epoch and wait for what to do next, the same for all workers."""
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
    attempt: int = 0,
) -> None:
    """Train until the epochs are done or the session says stop; continue from the store's checkpoint when it has one.

    Args:
        feature_mean, feature_std: (7, 1, n_mels) over the training split, kept in the model.
        provenance: JSON facts (data hash, git commit, ...) kept with the best model.
        attempt: how often the trial failed by itself and was tried again; changes everything random that is to come.
    """
    torch.manual_seed(config.training.seed)
    model = SeldModel(config, torch.as_tensor(feature_mean), torch.as_tensor(feature_std))
    model.to(session.device)

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
        seed=_mixed_seed(config.training.seed, attempt) if attempt else config.training.seed,
        rank=session.rank,
        world_size=session.world_size,
        frame_rate_hz=config.inputs.frame_rate_hz,
    )
    learner = Learner(config, model, len(sampler))

    first_epoch, best, best_epoch = 1, math.inf, 0
    again = (attempt,) if attempt else ()

    def save(epoch: int, metrics: dict[str, float]) -> None:
        if session.rank == 0:
            progress = {"epoch": epoch, "best": best, "best_epoch": best_epoch, "metrics": metrics}
            store.save(epoch, {**learner.state(), **progress})

    def goes_on(epoch: int, metrics: dict[str, float]) -> bool:
        """Report, and do as told."""
        decision = session.report(metrics)
        if decision.take_over and _take_over(decision.take_over, epoch, learner, session, store):
            save(epoch, metrics)
        return decision.go_on

    state = store.latest()
    if state is None:
        load_pretrained(model, config)
    else:
        if state["config"] != fingerprint(config):
            raise RuntimeError(f"{store.uri} holds the checkpoint of another config; it is not this trial's folder")
        learner.load(state)
        best, best_epoch, first_epoch = state["best"], state["best_epoch"], state["epoch"] + 1
        logger.info("continuing after epoch %d", state["epoch"])
        # The report of that epoch may have been lost with the process that made it; twice does no harm.
        if not goes_on(state["epoch"], state["metrics"]):
            return

    wrapped: nn.Module = DistributedDataParallel(model) if session.world_size > 1 else model
    if config.training.compile:
        wrapped = torch.compile(wrapped)  # type: ignore[assignment]
    with closing(sampler):
        for epoch in range(first_epoch, config.training.epochs + 1):
            started = time.monotonic()
            torch.manual_seed(_mixed_seed(config.training.seed, epoch, session.rank, *again))
            loss = _train_epoch(session, wrapped, learner, sampler, epoch)
            train_seconds = time.monotonic() - started
            scored, val_loss, thresholds, example = _evaluate(model, config, session, validation)
            metrics = {
                "epoch": epoch,
                "train_loss": loss,
                "val_loss": val_loss,
                "lr": learner.rate,
                "windows_per_s": sampler.num_windows / train_seconds,
                "epoch_s": time.monotonic() - started,
                **scored,
                **learner.metrics(),
            }
            improved = metrics[OBJECTIVE] < best
            if improved:
                best, best_epoch = metrics[OBJECTIVE], epoch
            metrics["best_epoch"] = best_epoch
            if session.rank == 0 and improved:
                facts = {"epoch": epoch, "validation": metrics, "thresholds": thresholds.tolist(), **provenance}
                store.save_best(epoch, model, learner.config, facts, example)
            save(epoch, metrics)
            if session.rank == 0:
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
            if not goes_on(epoch, metrics):
                logger.info("stopped after epoch %d", epoch)
                return


def _take_over(taking: TakeOver, epoch: int, learner: Learner, session: Session, store: TrialStore) -> bool:
    """Go on from a donor's checkpoint after `epoch`, on all workers or on none; whether that was done now."""
    if learner.taken_over and learner.taken_over["epoch"] == epoch:
        return False  # told again after an interruption, and done before it
    state = store.sibling(taking.donor).at(taking.donor_epoch)
    if session.sum(np.array([float(state is None)]))[0]:
        logger.warning(
            "trial %d's checkpoint of epoch %d is gone; going on unchanged", taking.donor, taking.donor_epoch
        )
        return False
    assert state is not None
    learner.take_over(taking, epoch, state)
    logger.info("going on from trial %d as it was after epoch %d", taking.donor, taking.donor_epoch)
    return True


def _evaluate(
    model: SeldModel, config: TrialConfig, session: Session, validation: Feed
) -> tuple[dict[str, float], float, np.ndarray, dict[str, np.ndarray]]:
    """Scores and latency, and loss over the whole validation split, the thresholds (13,) to use the model with, and
    what this worker predicted for its first recording."""
    default = config.inference.threshold
    tried = (default, *(THRESHOLD_GRID if config.inference.tune_thresholds else ()))
    # Whole recordings go to one worker: the scores are counted by recording.
    rows = validation.recordings(config.visual.columns, session.rank, session.world_size)
    with closing(rows), ForwardClock(model) as clock:
        mine = evaluate(model, rows, tried, config.training.batch_size)
    counts = np.concatenate(list(map(counts_to_array, mine.counts)))
    total = session.sum(np.append(counts, [mine.loss_sum, mine.frames, clock.seconds]))
    counts, (loss_sum, frames, seconds) = total[:-3], total[-3:]
    at_default, *on_grid = [counts_from_array(part) for part in np.split(counts, len(tried))]
    scored = flat_scores(at_default) | {LATENCY: float(1000 * seconds / max(frames / config.inputs.window_labels, 1))}
    thresholds = best_thresholds(on_grid, default) if on_grid else np.full(NUM_CLASSES, default)
    return scored, float(loss_sum / max(frames, 1)), thresholds, mine.example


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


def _train_epoch(session: Session, model: nn.Module, learner: Learner, sampler: Windows, epoch: int) -> float:
    """One pass of `model`, the learner's as it was wrapped, over the epoch's windows; returns the mean loss."""
    config = learner.config
    model.train()
    augment = Augment(config.augment)
    loss_of = LOSSES[config.output.name]
    total = torch.zeros((), device=session.device)
    for index, batch in enumerate(sampler.epoch(epoch)):
        step = (epoch - 1) * len(sampler) + index
        learner.set_rate(step)
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
                f"{learner.rate:.2g}); lower optimiser.lr or training.clip_norm. "
                f"Config: {to_dict(config)}"
            )
        learner.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters, config.training.clip_norm)
        learner.optimiser.step()
        total += loss.detach()
    return float(session.sum(np.array([total.item()]))[0]) / session.world_size / len(sampler)
