"""What one trial may use of the cluster. Imports neither torch nor Ray."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrialResources:
    """What one trial may use."""

    workers: int = 1
    cpus_per_worker: int = 1
    gpus_per_worker: float = 0.0

    @property
    def alone(self) -> bool:
        """One worker, in the trial's own actor, and no worker group."""
        return self.workers == 1

    @property
    def of_worker(self) -> dict[str, float]:
        """What Ray is asked for, for one worker."""
        return {"CPU": self.cpus_per_worker, **({"GPU": self.gpus_per_worker} if self.gpus_per_worker else {})}
