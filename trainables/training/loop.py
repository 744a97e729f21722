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
from contextlib import closing
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.errors import UserError
from data.feeding.contract import arrays_of
from data.feeding.feed import Feed
from data.feeding.windows import Sampling, Windows
from trainables.config import MultiAccdoa, TrialConfig
from trainables.config.tree import fingerprint, to_dict
from trainables.evaluation.evaluate import THRESHOLD_GRID, best_thresholds, evaluate
from trainables.inputs.augment import Augment
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained
from trainables.parts.visual.modules import seen_in
from trainables.scores.flat import counts_from_array, counts_to_array, flat_axis_errors, flat_scores
from trainables.training.checkpoint import TrialStore
from trainables.training.clock import ForwardClock
from trainables.training.decision import Decision, TakeOver
from trainables.training.learner import Learner
from trainables.training.reports import LATENCY, OBJECTIVE, Diverged

logger = logging.getLogger(f"seldtune.{__name__}")


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


def train_trial(
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
    training = Training(config, session, store, model, provenance, attempt)
    if training.resume():
        training.run()


class Training:
    """A trial on its way: what it trains with, how far it is, and its best epoch so far."""

    def __init__(
        self,
        config: TrialConfig,
        session: Session,
        store: TrialStore,
        model: SeldModel,
        provenance: dict[str, Any],
        attempt: int,
    ) -> None:
        self._config = config
        self._session = session
        self._store = store
        self._model = model
        self._provenance = provenance
        self._again = (attempt,) if attempt else ()
        training, self._validation = session.feed("train"), session.feed("val")
        _check_distances(config, training, self._validation)
        self._sampler = training.windows(
            config.columns,
            Sampling(
                batch_size=config.training.batch_size,
                window_labels=config.inputs.window_labels,
                hop_labels=config.inputs.train_hop_labels,
                epoch_windows=config.training.epoch_windows,
                added_share=config.training.added_share,
                swap=config.augment.channel_swaps,
                seed=_mixed_seed(config.training.seed, attempt) if attempt else config.training.seed,
                rank=session.rank,
                world_size=session.world_size,
                picture_rate_hz=config.inputs.frame_rate_hz,
            ),
            epochs=config.training.epochs,
        )
        self._learner = Learner(config, model, len(self._sampler))
        self._epoch = 0
        """The last one that is done."""
        self._best = math.inf
        """The smallest objective so far."""
        self._best_epoch = 0

    def resume(self) -> bool:
        """Begin, or continue from the store's checkpoint; whether there is more to train.

        Raises:
            RuntimeError: the checkpoint is another trial's.
        """
        state = self._store.latest()
        if state is None:
            taken = load_pretrained(self._model, self._config)
            keys = sorted({key for one in taken for key in one.keys})
            self._learner.begin_with([one.as_json() for one in taken], keys)
            return True
        if state["config"] != fingerprint(self._config):
            raise RuntimeError(
                f"{self._store.uri} holds the checkpoint of another config; it is not this trial's folder"
            )
        self._learner.load(state)
        self._epoch, self._best, self._best_epoch = state["epoch"], state["best"], state["best_epoch"]
        logger.info("continuing after epoch %d", self._epoch)
        # The report of that epoch may have been lost with the process that made it; twice does no harm.
        return self._report(state["metrics"])

    def run(self) -> None:
        """The epochs that are left, as long as reports are answered with going on."""
        session, config = self._session, self._config
        network: nn.Module = DistributedDataParallel(self._model) if session.world_size > 1 else self._model
        if config.training.compile:
            network = torch.compile(network)  # type: ignore[assignment]
        with closing(self._sampler):
            while self._epoch < config.training.epochs:
                self._epoch += 1
                metrics = self._one_epoch(network)
                self._save(metrics)
                if session.rank == 0:
                    self._log(metrics)
                if not self._report(metrics):
                    logger.info("stopped after epoch %d", self._epoch)
                    return

    def _one_epoch(self, network: nn.Module) -> dict[str, float]:
        """Train and evaluate; the report. The best model is kept."""
        session, config, epoch = self._session, self._config, self._epoch
        started = time.monotonic()
        torch.manual_seed(_mixed_seed(config.training.seed, epoch, session.rank, *self._again))
        loss = _train_epoch(session, network, self._learner, self._sampler, epoch)
        train_seconds = time.monotonic() - started
        scored, val_loss, thresholds, example = _evaluate(self._model, config, session, self._validation)
        metrics = {
            "epoch": epoch,
            "train_loss": loss,
            "val_loss": val_loss,
            "lr": self._learner.rate,
            "windows_per_s": self._sampler.num_windows / train_seconds,
            "epoch_s": time.monotonic() - started,
            **scored,
            **self._learner.metrics(),
        }
        improved = metrics[OBJECTIVE] < self._best
        if improved:
            self._best, self._best_epoch = metrics[OBJECTIVE], epoch
        metrics["best_epoch"] = self._best_epoch
        if session.rank == 0 and improved:
            facts = {"epoch": epoch, "validation": metrics, "thresholds": thresholds.tolist(), **self._provenance}
            if files := self._learner.began_with["files"]:
                facts["began_with"] = files
            self._store.save_best(epoch, self._model, self._learner.config, facts, example)
        return metrics

    def _save(self, metrics: dict[str, float]) -> None:
        if self._session.rank == 0:
            progress = {"epoch": self._epoch, "best": self._best, "best_epoch": self._best_epoch, "metrics": metrics}
            self._store.save(self._epoch, {**self._learner.state(), **progress})

    def _report(self, metrics: dict[str, float]) -> bool:
        """Report, and do as told; whether to go on."""
        decision = self._session.report(metrics)
        if decision.take_over and self._take_over(decision.take_over):
            self._save(metrics)
        return decision.go_on

    def _take_over(self, taking: TakeOver) -> bool:
        """Go on from a donor's checkpoint, on all workers or on none; whether that was done now."""
        done = self._learner.taken_over
        if done and done["epoch"] == self._epoch:
            return False  # told again after an interruption, and done before it
        state = self._store.sibling(taking.donor).at(taking.donor_epoch)
        if self._session.sum(np.array([float(state is None)]))[0]:
            logger.warning(
                "trial %d's checkpoint of epoch %d is gone; going on unchanged", taking.donor, taking.donor_epoch
            )
            return False
        assert state is not None
        self._learner.take_over(taking, self._epoch, state)
        logger.info("going on from trial %d as it was after epoch %d", taking.donor, taking.donor_epoch)
        return True

    def _log(self, metrics: dict[str, float]) -> None:
        logger.info(
            "epoch %d/%d | loss %.4f | val SELD %.3f F %.3f LE %.1f deg | %.0f windows/s | best %.3f at epoch %d",
            self._epoch,
            self._config.training.epochs,
            metrics["train_loss"],
            metrics[OBJECTIVE],
            metrics["present/F"],
            metrics["present/LE"],
            metrics["windows_per_s"],
            self._best,
            self._best_epoch,
        )


def _evaluate(
    model: SeldModel, config: TrialConfig, session: Session, validation: Feed
) -> tuple[dict[str, float], float, np.ndarray, dict[str, np.ndarray]]:
    """Scores and latency, and loss over the whole validation split, the thresholds (C,) to use the model with, and
    what this worker predicted for its first recording."""
    default = config.inference.threshold
    tried = (default, *(THRESHOLD_GRID if config.inference.tune_thresholds else ()))
    # Whole recordings go to one worker: the scores are counted by recording.
    rows = validation.recordings(config.columns, session.rank, session.world_size)
    with closing(rows), ForwardClock(model) as clock:
        mine = evaluate(model, rows, tried, config.training.batch_size)
    counts = np.concatenate(list(map(counts_to_array, mine.counts)))
    total = session.sum(np.append(counts, [*mine.axis_errors_deg, mine.loss_sum, mine.num_labels, clock.seconds]))
    counts, axes, (loss_sum, num_labels, seconds) = total[:-6], total[-6:-3], total[-3:]
    at_default, *on_grid = [counts_from_array(part) for part in np.split(counts, len(tried))]
    latency_ms = 1000 * seconds / max(num_labels / config.inputs.window_labels, 1)
    scored = flat_scores(at_default, config.classes) | flat_axis_errors(axes) | {LATENCY: float(latency_ms)}
    thresholds = best_thresholds(on_grid, default) if on_grid else np.full(len(config.classes), default)
    return scored, float(loss_sum / max(num_labels, 1)), thresholds, mine.example


def _mixed_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _check_distances(config: TrialConfig, *feeds: Feed) -> None:
    """UserError where the model is to learn distances, and an event has none."""
    if config.output.tells_distance:
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
    total = torch.zeros((), device=session.device)
    for index, batch in enumerate(sampler.epoch(epoch)):
        step = (epoch - 1) * len(sampler) + index
        learner.set_rate(step)
        features = torch.from_numpy(batch["features"]).to(session.device, non_blocking=True)
        arrays = arrays_of(batch)
        looked_at = {
            column: torch.from_numpy(arrays[column]).to(session.device, non_blocking=True)
            for column in config.columns
            if column in arrays
        }
        has_video = torch.from_numpy(batch["has_video"]).to(session.device)
        valid = torch.from_numpy(batch["valid"]).to(session.device)
        target = torch.from_numpy(batch["target"]).to(session.device)
        features, looked_at, mix = augment(features, looked_at, has_video)
        output = model(features, seen_in(looked_at, config.columns), has_video)
        loss = mix.loss(config.output.loss, output, target, valid)
        if session.world_size > 1:
            # Each worker's mean counts by its share of the batch's valid label frames; DDP then divides by the workers.
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
        learner.step(epoch)
        total += loss.detach()
    return float(session.sum(np.array([total.item()]))[0]) / session.world_size / len(sampler)
