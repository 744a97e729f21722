"""A model in training: its weights, its optimiser and its schedule, which another trial's may replace on the way.

Population-based training (Jaderberg et al., 2017) lets a trial that does badly go on with the weights of one that does
well (exploit) and with a rate and a schedule near that one's (explore). The trial keeps its number, its scores and its
best model; what it goes on with in place of its own is kept in its checkpoints and said in its reports.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from trainables.config import Adam, ConstantDecay, TrialConfig
from trainables.config.tree import fingerprint, from_dict, to_dict
from trainables.networks.model import SeldModel
from trainables.training.decision import TakeOver

EXCHANGED = ("optimiser", "schedule")
"""Parts of a config that may change while a trial runs; nothing of the model depends on them."""


def kinship(config: TrialConfig) -> str:
    """The same for trials that may take over from each other: they differ in nothing but optimiser and schedule."""
    return fingerprint(dataclasses.replace(config, optimiser=Adam(), schedule=ConstantDecay()))


class Learner:
    """What an epoch of training changes, and what a checkpoint has to hold of it.

    Args:
        config: the trial's own.
        steps_per_epoch: optimiser steps, for the schedule.
    """

    def __init__(self, config: TrialConfig, model: SeldModel, steps_per_epoch: int) -> None:
        self._own = config
        self._steps_per_epoch = steps_per_epoch
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.began_with: dict[str, Any] = {"files": [], "keys": []}
        """Weights from elsewhere: what is known of their files, and which of the model's entries came from there."""
        self._taken: list[nn.Parameter] = []
        self.taken_over: dict[str, Any] | None = None
        """The last `TakeOver`, and the trial's own `epoch` that it followed."""
        self._train_by(config)

    def _train_by(self, config: TrialConfig) -> None:
        self.config = config
        """What training goes by now: the trial's own, but for what was taken over."""
        self.optimiser = config.optimiser.build(self.parameters)
        self._schedule = config.schedule.multiplier(config.training.epochs, self._steps_per_epoch)

    def set_rate(self, step: int) -> None:
        """Give the optimiser its rate for a step, counted from 0 over all epochs."""
        multiplier = self._schedule(step)
        for group, rate in zip(self.optimiser.param_groups, self.config.optimiser.rates, strict=True):
            group["lr"] = rate * multiplier

    def begin_with(self, files: list[dict[str, Any]], keys: list[str]) -> None:
        """Train the named entries of the model as weights from elsewhere."""
        self.began_with = {"files": files, "keys": keys}
        ours = dict(self.model.named_parameters())
        self._taken = [ours[key] for key in keys if key in ours and ours[key].requires_grad]

    def step(self, epoch: int) -> None:
        """Let the optimiser step; weights from elsewhere go a share of the way."""
        training = self._own.training
        share = 0.0 if epoch <= training.taken_frozen_epochs else training.taken_rate
        held_back = [] if share == 1.0 else self._taken
        before = [weight.detach().clone() for weight in held_back]
        self.optimiser.step()
        with torch.no_grad():
            for weight, old in zip(held_back, before, strict=True):
                weight.lerp_(old, 1.0 - share)

    @property
    def rate(self) -> float:
        """Of the first group of weights."""
        return self.optimiser.param_groups[0]["lr"]

    def state(self) -> dict[str, Any]:
        """Tensors and plain values; they change with the next step."""
        return {
            "config": fingerprint(self._own),
            "kinship": kinship(self._own),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "taken_over": self.taken_over,
            "began_with": self.began_with,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the trial's own."""
        self.taken_over = state.get("taken_over")
        self.begin_with(**state.get("began_with", self.began_with))
        self._continue(state)

    def take_over(self, taking: TakeOver, epoch: int, state: dict[str, Any]) -> None:
        """Go on from a donor's state after the trial's own `epoch`.

        Raises:
            RuntimeError: the donor differs in more than may be taken over.
        """
        if state["kinship"] != kinship(self._own):
            raise RuntimeError(f"trial {taking.donor} differs in more than {' and '.join(EXCHANGED)}")
        self.taken_over = {**dataclasses.asdict(taking), "epoch": epoch}
        self._continue(state)

    def _continue(self, state: dict[str, Any]) -> None:
        if self.taken_over:
            self._train_by(from_dict({**to_dict(self._own), **self.taken_over["changes"]}))
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])

    def metrics(self) -> dict[str, float]:
        """What a report says of a take-over: whose, after which epoch, and every number that the trial now goes by."""
        if not self.taken_over:
            return {}
        numbers = {
            f"pbt/{part}.{name}": float(value)
            for part, fields in self.taken_over["changes"].items()
            for name, value in fields.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        return {"pbt/donor": self.taken_over["donor"], "pbt/epoch": self.taken_over["epoch"], **numbers}
