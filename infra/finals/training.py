"""One training of a finalist, and what the test split says of it."""

from __future__ import annotations

from dataclasses import dataclass

from infra.record.trials import TrialRecord
from trainables.config.tree import classes_of
from trainables.scores.flat import flat_scores
from trainables.scores.kinds import KindCounts
from trainables.scores.metrics import SeldCounts
from trainables.training.reports import OBJECTIVE


@dataclass(frozen=True, kw_only=True)
class Training:
    """A finalist's config with one seed."""

    record: TrialRecord
    seed: int
    counts: list[SeldCounts]
    """Of each test recording."""
    kinds: list[KindCounts]
    """The same of its kinds of sources."""
    weights_sha256: str
    commit: str | None
    changed: bool

    @property
    def validation(self) -> float:
        """The objective at the epoch that was chosen by it."""
        assert self.record.best is not None
        return self.record.best[OBJECTIVE]

    def flat(self) -> dict[str, float]:
        """Test scores by average and name (`trainables.scores.flat.flat_scores`)."""
        return flat_scores(sum(self.counts, SeldCounts.zero()), classes_of(self.record.config))
