"""What a sweep's variants come to against each other: better, worse, equivalent, or undecided, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import Any

from scipy import stats

from data.errors import UserError
from data.fields import check_plain
from infra.comparison.statistics import ALPHA
from infra.finals.looks import FIRST_SEEDS, POWER, Difference, Trained, level_of_look, seeds_for
from infra.finals.report import markdown_table
from infra.models.evidence import BETTER, EQUIVALENT, UNDECIDED, WORSE
from search_spaces.space import check_grouping
from trainables.checks import check

TOLD = (0.02, 0.05)
"""Differences whose seeds are told."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be decided, and how surely; none of it may change once trainings were looked at.

    Raises:
        UserError: it cannot be asked so.
    """

    by: str = "fusion"
    """Of `search_spaces.space.GROUPINGS`: what the variants differ in."""
    reference: str | None = None
    """The variant that each other one is set against; each against each if not given."""
    margin: float = 0.02
    """SELD within which a difference does not matter."""
    most_seeds: int = 8
    """Trainings of a variant at most."""
    alpha: float = ALPHA
    """Probability that any verdict of all is wrong."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_grouping(self.by)
        check(0 < self.margin < 1, "margin", self.margin, "has to be a SELD, above 0 and below 1")
        check(0 < self.alpha < 1, "alpha", self.alpha, "has to be a probability, such as 0.05")
        check(self.most_seeds >= FIRST_SEEDS, "seeds", self.most_seeds, f"has to be {FIRST_SEEDS} or more")

    def pairs(self, variants: Sequence[str]) -> list[tuple[str, str]]:
        """Which are set against each other, in order.

        Raises:
            UserError: there is nothing to decide between, or no such reference.
        """
        if len(variants) < 2:
            found = ", ".join(variants) or "none"
            raise UserError(
                f"nothing to decide by {self.by}: two variants or more with a model are needed, got {found}"
            )
        if self.reference is None:
            return list(combinations(variants, 2))
        if self.reference not in variants:
            raise UserError(f"reference {self.reference!r} has no model; choose one of {', '.join(variants)}")
        return [(variant, self.reference) for variant in variants if variant != self.reference]

    def level(self, pairs: int, seeds: int) -> float:
        """Of the look at each of so many pairs after so many seeds; after more than are asked for, of the last."""
        return level_of_look(self.alpha / pairs, self.most_seeds, min(seeds, self.most_seeds))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two variants, as far as they have been looked at; smaller scores are better."""

    first: str
    second: str
    difference: Difference | None
    """Of SELD, first minus second; None where one of them has too few trainings to compare."""
    level: float
    """Of this look."""
    last_level: float
    """Of the last look that there may be."""
    margin: float

    @property
    def interval(self) -> tuple[float, float]:
        """What the difference may be, whatever was looked at before: all intervals of a decision hold together."""
        if self.difference is None:
            return -math.inf, math.inf
        reach = self.difference.reach(self.level)
        return self.difference.value - reach, self.difference.value + reach

    @property
    def verdict(self) -> str:
        return self._verdict(*self.interval)

    @property
    def hopeless(self) -> bool:
        """However many seeds were added, the recordings alone would leave it open, as far as can be seen."""
        # The difference that two seeds show says too little of what others would.
        if self.difference is None or min(self.difference.seeds) <= FIRST_SEEDS:
            return False
        most = self.difference.of_endless_seeds
        reach = most.reach(self.last_level)
        return self._verdict(most.value - reach, most.value + reach) == UNDECIDED

    def _verdict(self, low: float, high: float) -> str:
        if high < 0:
            return BETTER
        if low > 0:
            return WORSE
        return EQUIVALENT if -self.margin < low and high < self.margin else UNDECIDED

    def recordings_for(self) -> int:
        """Test recordings of this kind, about, that would tell the difference seen, with seeds enough."""
        assert self.difference is not None
        value = abs(self.difference.value)
        told = max(value, self.margin - value)
        scale = stats.norm.isf(self.last_level / 2) ** 2
        wanted = math.ceil(self.difference.recordings * self.difference.of_recordings * scale / told**2)
        # The few that there are were too few, whatever a normal distribution says.
        return max(wanted, 2 * self.difference.recordings)

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.first} and {self.second}: undecided, for want of trainings that have a model"
        low, high = self.interval
        seeds = " and ".join(map(str, sorted(set(self.difference.seeds))))
        if self.verdict in (BETTER, WORSE):
            better, worse = (self.first, self.second) if high < 0 else (self.second, self.first)
            least, most = sorted((abs(low), abs(high)))
            told = f"SELD lower by {abs(self.difference.value):.3f}, {least:.3f} to {most:.3f}"
            return f"{better} is better than {worse}: {told}, {seeds} seeds"
        told = f"SELD {self.difference.value:+.3f}, {low:+.3f} to {high:+.3f}, {seeds} seeds"
        if self.verdict == EQUIVALENT:
            return f"{self.first} and {self.second} are equivalent within {self.margin:g}: {told}"
        return f"{self.first} against {self.second} is undecided: {told}; {self._what_would_tell()}"

    def _what_would_tell(self) -> str:
        assert self.difference is not None
        if self.hopeless:
            return (
                f"more seeds would not tell with {self.difference.recordings} test recordings, about "
                f"{self.recordings_for()} would"
            )
        return "more seeds may tell (--seeds, under another --name)"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """All pairs of a question after the last look."""

    sweep: str
    name: str
    """Of the sweep that trained them."""
    question: Question
    means: Mapping[str, float]
    """Variant -> mean test SELD of its trainings, the best first."""
    deviations: Mapping[str, float]
    """Variant -> standard deviation of it over seeds."""
    seeds: Mapping[str, int]
    recordings: int
    pairs: Sequence[Pair]
    trial: Mapping[str, int]
    """Variant -> the trial of the sweep whose config it is."""

    @classmethod
    def of(
        cls,
        sweep: str,
        name: str,
        question: Question,
        trained: Mapping[str, Trained],
        trial: Mapping[str, int],
        before: Decision | None = None,
    ) -> Decision:
        """Set every pair side by side; what has one training alone, or none, is compared with nothing.

        Args:
            before: the last look. A verdict that was given stands: the intervals of all looks hold together.
        """
        pairs = question.pairs(list(trained))
        last_level = question.level(len(pairs), question.most_seeds)
        given = {(p.first, p.second): p for p in before.pairs if p.verdict != UNDECIDED} if before else {}
        found = []
        for a, b in pairs:
            seeds = min(trained[a].seeds, trained[b].seeds)
            pair = Pair(
                first=a,
                second=b,
                difference=Difference.of(trained[a], trained[b]) if seeds >= FIRST_SEEDS else None,
                level=question.level(len(pairs), max(seeds, FIRST_SEEDS)),
                last_level=last_level,
                margin=question.margin,
            )
            found.append(given.get((a, b), pair))
        ordered = sorted((v for v in trained if trained[v].seeds), key=lambda v: float(trained[v].scores.mean()))
        return cls(
            sweep=sweep,
            name=name,
            question=question,
            means={v: float(trained[v].scores.mean()) for v in ordered},
            deviations={v: float(trained[v].scores.std(ddof=1)) if trained[v].seeds > 1 else 0.0 for v in ordered},
            seeds={v: trained[v].seeds for v in ordered},
            recordings=max((one.parts.shape[1] for one in trained.values() if one.seeds), default=0),
            pairs=found,
            trial=trial,
        )

    def open_variants(self) -> list[str]:
        """Those that another training of may still decide something."""
        going = [pair for pair in self.pairs if pair.difference and pair.verdict == UNDECIDED and not pair.hopeless]
        return [v for v in self.trial if any(v in (pair.first, pair.second) for pair in going)]

    def against(self, variant: str) -> dict[str, str]:
        """The other side of each of a variant's pairs -> what the variant is to it."""
        turned = {BETTER: WORSE, WORSE: BETTER}
        found = {}
        for pair in self.pairs:
            if pair.first == variant:
                found[pair.second] = pair.verdict
            elif pair.second == variant:
                found[pair.first] = turned.get(pair.verdict, pair.verdict)
        return found

    @cached_property
    def sentence(self) -> str:
        """The whole decision in one."""
        best = next(iter(self.means))
        beaten = [other for other, verdict in self.against(best).items() if verdict == BETTER]
        rest = [other for other in self.against(best) if other not in beaten]
        of = f"{best} has the lowest SELD" if not beaten else f"{best} is better than {_listed(beaten)}"
        if not rest:
            return f"{of}."
        equal = [other for other in rest if self.against(best)[other] == EQUIVALENT]
        left = [other for other in rest if other not in equal]
        parts = [of]
        if equal:
            parts.append(f"as good as {_listed(equal)} within {self.question.margin:g}")
        if left:
            parts.append(f"undecided against {_listed(left)}")
        return ", ".join(parts) + "."

    def as_json(self) -> dict[str, Any]:
        return {
            "sweep": self.sweep,
            "name": self.name,
            **asdict(self.question),
            "sentence": self.sentence,
            "recordings": self.recordings,
            "variants": [
                {
                    "variant": variant,
                    "trial": self.trial[variant],
                    "seeds": self.seeds[variant],
                    "mean": mean,
                    "deviation": self.deviations[variant],
                }
                for variant, mean in self.means.items()
            ],
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "verdict": pair.verdict,
                    "difference": None if pair.difference is None else pair.difference.value,
                    "low": None if pair.difference is None else pair.interval[0],
                    "high": None if pair.difference is None else pair.interval[1],
                    "of_recordings": None if pair.difference is None else pair.difference.of_recordings,
                    "of_seeds": None if pair.difference is None else pair.difference.of_seeds,
                    "said": str(pair),
                }
                for pair in self.pairs
            ],
            "seeds_for": self.seeds_for,
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        most = max(map(len, self.means))
        table = [
            f"{variant:<{most}}  SELD {mean:.3f} +- {self.deviations[variant]:.3f} over {self.seeds[variant]} seeds "
            f"(trial {self.trial[variant]})"
            for variant, mean in self.means.items()
        ]
        return [
            f"decided  {self.sentence}",
            *table,
            *map(str, self.pairs),
            f"sure     wrong with a probability of {self.question.alpha:g} at most, of all {len(self.pairs)} verdicts "
            f"and all looks after {FIRST_SEEDS} to {self.question.most_seeds} seeds together; "
            f"{self.recordings} test recordings",
            f"seeds    {seeds_text(self.seeds_for, self.recordings)}",
        ]

    @property
    def seeds_for(self) -> dict[str, int | None]:
        """Difference -> the seeds that would show it (`infra.finals.looks.seeds_for`)."""
        seen = [pair.difference for pair in self.pairs if pair.difference is not None]
        level = partial(self.question.level, len(self.pairs))
        return {f"{value:g}": seeds_for(value, seen, level) for value in TOLD} if seen else {}

    def markdown(self) -> str:
        """The report that is kept."""
        rows = [
            [name, str(self.trial[name]), str(self.seeds[name]), f"{mean:.3f}", f"{self.deviations[name]:.3f}"]
            for name, mean in self.means.items()
        ]
        table = markdown_table(("variant", "trial", "seeds", "test SELD", "deviation"), rows)
        said = "\n".join(f"- {pair}" for pair in self.pairs)
        return "\n\n".join([f"# {self.sentence}", table, said, "\n\n".join(self.lines()[-2:])]) + "\n"


def seeds_text(seeds: Mapping[str, int | None], recordings: int) -> str:
    """What differences take, in words."""
    told = [
        f"a difference of {value} takes {f'{n} seeds' if n else f'more than these {recordings} recordings'}"
        for value, n in seeds.items()
    ]
    return f"{', '.join(told)}, to be seen with a probability of {POWER:g}" if told else "their spread is not known yet"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
