"""What a user asks of a sweep, and what that comes to where the space has its say: name, data, budget, resources."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.errors import UserError
from data.fields import check_plain
from data.registry.plugins import Plugin, identities, loaded
from infra.console.arguments import parse_name
from infra.costs.feasible import check_parts
from infra.record.budget import Budget
from infra.record.groupings import what_differs
from infra.record.retries import Retries
from infra.search.objectives import SELD, check_objectives
from infra.search.proposals import Draws, SearchSettings, draw
from infra.search.samplers import DEFAULT, SAMPLERS, check_sampler
from infra.search.stoppers import StopperSettings, check_stopper
from infra.stack.places import data_place
from search_spaces.space import SearchSpace, check_grouping
from trainables.config import TrialConfig
from trainables.config.tree import override, parts_of, to_dict
from trainables.training.resources import TrialResources

SEEDS = 2**32


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the user asked for; `None` means: what the space is meant for.

    `sweep` and `plan` ask it the same, and each answer refuses what it cannot be.

    Raises:
        UserError: a field holds something of another type, or a seed that random numbers cannot start from.
    """

    space: SearchSpace
    name: str | None = None
    data: str | None = None
    trials: int | None = None
    budget_s: float | None = None
    gpu_hours: float | None = None
    cpu_hours: float | None = None
    """What trials hold (`infra.record.budget`); nothing: no limit."""
    least_gain: float | None = None
    """Of the best SELD by ten more trials, to begin any (`infra.record.budget`)."""
    retries: Retries = field(default_factory=Retries)
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    data_memory_bytes: int | None = None
    """For decoded data in Ray's object stores; nothing: a share of what they have."""
    sampler: str = DEFAULT
    stopper: str = "asha"
    by: str | None = None
    """What early stopping is fair to (`search_spaces.space.GROUPINGS`); nothing: the first in which trials differ."""
    against: tuple[str, ...] = ()
    """Objectives beside the score (`infra.search.objectives`)."""
    warm_start: tuple[str, ...] = ()
    """Sweeps whose results the sampler knows from the start."""
    seed: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrialConfig` that every trial takes, by dotted name."""
    plugins: tuple[Plugin, ...] = ()
    """Files of parts that were named for it; others that are loaded count where one of their parts is used."""

    def __post_init__(self) -> None:
        check_plain(self)
        if self.by is not None:
            check_grouping(self.by)
        if any(name.partition(".")[0] == "classes" for name in self.fixed):
            raise UserError(
                "classes are those of the data, and no setting of trials; `seldtune data ingest --classes` takes data "
                "with others in"
            )
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"seed = {self.seed}: has to be a whole number from 0 to {SEEDS - 1}")

    @property
    def objectives(self) -> tuple[str, ...]:
        return (SELD, *self.against)

    def sweep_name(self) -> str:
        """The name asked for, or the space's.

        Raises:
            UserError: it cannot be a folder's.
        """
        return parse_name(self.name or self.space.name)

    def data_uri(self, root: str) -> str:
        """The chunk store that the sweep reads."""
        return data_place(self.data, root) if self.data else f"{root}/data/{self.space.name}"

    def resources(self) -> TrialResources:
        """What one trial takes.

        Raises:
            UserError: it has no worker, or a worker no CPU.
        """
        cpus = self.space.cpus_per_worker if self.cpus_per_worker is None else self.cpus_per_worker
        gpus = self.space.gpus_per_worker if self.gpus_per_worker is None else self.gpus_per_worker
        if self.workers < 1 or cpus < 1 or gpus < 0:
            raise UserError(f"{self.workers} workers of {cpus} CPUs and {gpus:g} GPUs: workers and CPUs start at 1")
        return TrialResources(workers=self.workers, cpus_per_worker=cpus, gpus_per_worker=gpus)

    def budget(self) -> Budget:
        """The limits of it all; `Budget.check_hours` remains, which has to know what a trial takes.

        Raises:
            UserError: trials or time leave nothing to do.
        """
        budget = Budget(
            trials=self.space.trials if self.trials is None else self.trials,
            wall_s=self.space.budget_s if self.budget_s is None else self.budget_s,
            cpu_hours=self.cpu_hours,
            gpu_hours=self.gpu_hours,
            least_gain=self.least_gain,
        )
        budget.check()
        return budget

    def rule(self, configs: Sequence[TrialConfig]) -> StopperSettings:
        """What its stopper is made from, where trials are like these configs."""
        return StopperSettings(
            max_epochs=max(config.training.epochs for config in configs),
            grace_epochs=self.space.grace_epochs,
            reduction=self.space.reduction,
            seed=self.seed,
        )

    def variants_by(self, configs: Sequence[TrialConfig]) -> str:
        """What early stopping is fair to, where trials are like these configs."""
        return self.by or what_differs([to_dict(config) for config in configs])

    def draw(self, count: int | None = None) -> Draws:
        """Points of the space as its trials would take them (`infra.search.proposals.draw`)."""
        return draw(self.space, self.fixed, self.seed, count)

    def settle(self, root: str, draws: Draws | None = None) -> SettledRequest:
        """Everything that follows from the request and the root of storage; nothing is asked of any service.

        Args:
            draws: `draw()`, where that was done before.

        Raises:
            UserError: it cannot be carried out, whatever there is on storage and on the cluster.
        """
        name, resources = self.sweep_name(), self.resources()
        check_stopper(self.stopper)
        draws = draws or self.draw()
        unlearnt = check_sampler(self.sampler, self.space.name, draws.parameters)
        check_objectives(self.objectives)
        if self.against and SAMPLERS[self.sampler].choose is not None:
            raise UserError(
                f"sampler {self.sampler!r} looks for the best score alone, and --against {self.against[0]} is another "
                "objective; choose tpe, gp or nsga2"
            )
        budget = self.budget()
        budget.check_hours(resources)
        configs = draws.require_configs()
        check_batches(configs, resources.workers)
        check_parts(configs, resources.workers)
        search = SearchSettings(
            space=self.space,
            trials=budget.trials,
            fixed=self.fixed,
            seed=self.seed,
            sampler=self.sampler,
            objectives=self.objectives,
        )
        return SettledRequest(
            name=name,
            data_uri=self.data_uri(root),
            search=search,
            configs=configs,
            unlearnt=unlearnt,
            stopper=self.stopper,
            by=self.variants_by(configs),
            rule=self.rule(configs),
            warm_start=self.warm_start,
            resources=resources,
            budget=budget,
            retries=self.retries,
            concurrency=self.concurrency,
            data_memory_bytes=self.data_memory_bytes,
            plugins=self._plugins(configs),
        )

    def _plugins(self, configs: Sequence[TrialConfig]) -> tuple[Plugin, ...]:
        used = {
            ("search space", self.space.name),
            ("stopper", self.stopper),
            ("sampler", self.sampler),
            *(("objective", name) for name in self.objectives),
            *(part for config in configs for part in parts_of(config)),
        }
        return tuple(plugin for plugin in loaded() if plugin in self.plugins or plugin.parts & used)


@dataclass(frozen=True, kw_only=True)
class SettledRequest:
    """A request that has been found sound, with all that it left to its space said."""

    name: str
    data_uri: str
    search: SearchSettings
    configs: list[TrialConfig]
    """Samples of the space."""
    unlearnt: list[str]
    """Parameters that the sampler can only draw at random."""
    stopper: str
    by: str
    """What early stopping is fair to."""
    rule: StopperSettings
    """What the stopper is made from."""
    warm_start: tuple[str, ...]
    resources: TrialResources
    budget: Budget
    retries: Retries
    concurrency: int | None
    """Trials at a time that were asked for; `None`: as many as there is room for."""
    data_memory_bytes: int | None
    plugins: tuple[Plugin, ...] = ()
    """That its parts come from."""

    def fixing(self, fields: Mapping[str, Any]) -> SettledRequest:
        """The same with some fields of all configs settled, which its record, and so `lasting`, does not hold."""
        search = replace(self.search, fixed={**self.search.fixed, **fields})
        return replace(self, search=search, configs=[override(config, fields) for config in self.configs])

    def lasting(self, data_sha256: str) -> dict[str, Any]:
        """What must not change while the sweep lives, on data with this manifest."""
        search = self.search
        lasting = {
            "space": search.space.name,
            "space_identity": search.space.identity,
            "data": data_sha256,
            "seed": search.seed,
            "sampler": search.sampler,
            "stopper": self.stopper,
            "by": self.by,
            "against": list(search.objectives[1:]),
            "warm_start": list(self.warm_start),
            "fixed": dict(search.fixed),
            "workers": self.resources.workers,
            **({"plugins": identities(self.plugins)} if self.plugins else {}),
        }
        # As it is read back: JSON makes lists of the tuples that Python may give for fields.
        return json.loads(json.dumps(lasting))


def check_batches(configs: Sequence[TrialConfig], workers: int) -> None:
    """UserError unless so many workers can share the batches of every config."""
    for size in sorted({config.training.batch_size for config in configs}):
        if size % workers:
            raise UserError(
                f"training.batch_size = {size} cannot be shared by {workers} workers; choose a multiple, e.g. "
                f"--set training.batch_size={math.ceil(size / workers) * workers}"
            )
