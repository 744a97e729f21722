"""Whether a model may take an alias: rules over evidence, each a function without side effects.

A rule says what it got and what it needs, whether it passes or not, so that a refusal names everything that is wrong at
once. The comparison is paired and on the test recordings that both models were measured on; see `paired_difference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from data.errors import UserError
from data.files.yaml_files import read_mapping
from data.registry.plugins import options_for
from infra.models.evidence import BETTER, Evidence
from infra.models.register import option_of_model
from trainables.checks import check
from trainables.parts.controls import CLOSED
from trainables.scores.flat import AVERAGES
from trainables.scores.metrics import SCORE_NAMES, SELD_OF_SILENCE, Average
from trainables.scores.recordings import class_figures, paired_difference, table_of


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a model has to meet; a YAML file of the same names changes them."""

    average: Average = "present"
    """Of the SELD score that is compared: present, macro or micro."""
    margin: float = 0.0
    """The whole 95 % interval of the paired difference in SELD has to lie below minus this."""
    better_than_silence: bool = True
    """With no holder to beat, the whole 95 % interval of SELD has to lie below the 1 of a model that hears nothing."""
    class_drop: float = 0.1
    """No class's F may lie further below the holder's, as a share."""
    class_floor: float = 0.0
    """No class's F may lie below this, as a share; classes that the test split does not hold do not count. With 0 there
    is no such rule."""
    real_time_factor: float = 1.0
    """Time on one processor core over the length of what is heard; 1 just keeps up."""
    megabytes: float = 1000.0
    """Of weights."""
    seeds: int = 3
    """Trainings of the config that were tested."""
    clean_commit: bool = True
    """Trained from a commit, with nothing changed beside it."""
    controls: Sequence[str] = ()
    """Of `finals --control`: with its eyes, or ears, closed the model has to be worse, beyond the 95 % interval."""
    better_than: Sequence[str] = ()
    """Variants that its decision (`seldtune decide`) has to have found worse than the model's own."""

    def __post_init__(self) -> None:
        check(self.average in AVERAGES, "average", self.average, f"is not known; choose one of {', '.join(AVERAGES)}")
        for name in ("better_than_silence", "clean_commit"):
            value = getattr(self, name)
            check(isinstance(value, bool), name, value, "has to be true or false")
        for name in ("margin", "real_time_factor", "megabytes"):
            value = getattr(self, name)
            check(_is_number(value), name, value, "has to be a number, 0 or more")
        for name in ("class_drop", "class_floor"):
            value = getattr(self, name)
            check(_is_number(value) and value <= 1, name, value, "has to be a share, from 0 to 1")
        whole = _is_number(self.seeds) and isinstance(self.seeds, int)
        check(whole, "seeds", self.seeds, "has to be a whole number, 0 or more")
        listed = isinstance(self.controls, list | tuple) and all(control in CLOSED for control in self.controls)
        check(listed, "controls", self.controls, f"has to be a list of {', '.join(CLOSED)}")
        named = isinstance(self.better_than, list | tuple) and all(isinstance(name, str) for name in self.better_than)
        check(named, "better_than", self.better_than, "has to be a list of variants, such as audio_only")
        for name in ("controls", "better_than"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A version as the rules see it."""

    version: str
    evidence: Evidence | None
    """Nothing: it was never in finals."""
    name: str = ""
    """Of the model."""
    sweep: str = ""
    """Where it comes from."""
    plugins: tuple[str, ...] = ()
    """Names of those that the sweep was run with."""
    faults: tuple[str, ...] = ()
    """Of its files, as they lie in the registry."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one rule says."""

    rule: str
    passed: bool
    got: str
    needed: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'} {self.rule}: {self.got}; needed: {self.needed}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def judge(candidate: Standing, holder: Standing | None, rules: Rules) -> list[Verdict]:
    """Every rule's verdict, in a fixed order. Without a holder the comparison is with silence."""
    verdicts = [_files(candidate)]
    if candidate.evidence is None:
        verdicts.append(
            Verdict(
                rule="evidence",
                passed=False,
                got=f"version {candidate.version} was never tested",
                needed=f"run `seldtune finals {candidate.sweep or 'SWEEP'}{option_of_model(candidate.name)}"
                f"{options_for(candidate.plugins)}`",
            )
        )
        return verdicts
    floor = (_floor,) if rules.class_floor else ()
    alone: Sequence[Callable[[Evidence, Rules], Verdict]] = (_provenance, _seeds, *floor, _speed, _size)
    verdicts += [rule(candidate.evidence, rules) for rule in alone]
    verdicts += [_control(candidate.evidence, control) for control in rules.controls]
    verdicts += [_decided(candidate.evidence, variant) for variant in rules.better_than]
    if holder is not None:
        verdicts += _against(candidate.evidence, holder, rules)
    elif rules.better_than_silence:
        verdicts.append(_against_silence(candidate.evidence, rules))
    return verdicts


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if not verdict.passed]


def _files(candidate: Standing) -> Verdict:
    got = "; ".join(candidate.faults) or "complete, as registered, and the model loads and predicts"
    return Verdict(
        rule="files",
        passed=not candidate.faults,
        got=got,
        needed="safetensors and JSON as they were registered, and nothing pickled",
    )


def _provenance(evidence: Evidence, rules: Rules) -> Verdict:
    missing = [
        name
        for name, value in {
            "data hash": evidence.data_sha256,
            "test split's hash": evidence.test_sha256,
            "weights' hash": evidence.weights_sha256,
            "sweep": evidence.sweep,
            "commit": evidence.commit or not rules.clean_commit,
        }.items()
        if not value
    ]
    dirty = rules.clean_commit and evidence.changed
    told = [f"no {name}" for name in missing] + (["trained from a checkout with changes"] if dirty else [])
    return Verdict(
        rule="provenance",
        passed=not told,
        got=", ".join(told) or f"sweep {evidence.sweep}, commit {(evidence.commit or 'unknown')[:12]}",
        needed="data, weights, sweep and a commit without changes beside it"
        if rules.clean_commit
        else "data, weights and sweep",
    )


def _seeds(evidence: Evidence, rules: Rules) -> Verdict:
    got = len(set(evidence.seeds))
    return Verdict(rule="seeds", passed=got >= rules.seeds, got=f"{got} trainings", needed=f"{rules.seeds} or more")


def _floor(evidence: Evidence, rules: Rules) -> Verdict:
    of_class = {name: figures["F"] for name, figures in class_figures(evidence.total, evidence.classes).items()}
    worst = min(of_class, key=lambda name: of_class[name], default=None)
    return Verdict(
        rule="class floor",
        passed=worst is not None and of_class[worst] >= rules.class_floor,
        got="the test split holds no class" if worst is None else f"F {of_class[worst]:.3f} of {worst}, the lowest",
        needed=f"F {rules.class_floor:g} or more of every class",
    )


def _speed(evidence: Evidence, rules: Rules) -> Verdict:
    latency = evidence.latency
    return Verdict(
        rule="latency",
        passed=latency.real_time_factor <= rules.real_time_factor,
        got=f"{latency.ms:.0f} ms for {latency.window_s:g} s on one core of {latency.processor}",
        needed=f"{1000 * rules.real_time_factor * latency.window_s:.0f} ms or less",
    )


def _size(evidence: Evidence, rules: Rules) -> Verdict:
    return Verdict(
        rule="size",
        passed=evidence.bytes <= rules.megabytes * 1e6,
        got=f"{evidence.bytes / 1e6:.1f} MB, {evidence.parameters:,} parameters",
        needed=f"{rules.megabytes:g} MB or less",
    )


def _control(evidence: Evidence, control: str) -> Verdict:
    if control not in evidence.gains:
        got, low = f"its finals were without --control {control}", -math.inf
    else:
        gain, low, high = evidence.gains[control]
        got = f"SELD better by {gain:+.3f} than with its {control} closed, 95 % interval {low:+.3f} to {high:+.3f}"
    return Verdict(rule=f"{CLOSED[control]} input helps", passed=low > 0, got=got, needed="the interval above 0")


def _decided(evidence: Evidence, variant: str) -> Verdict:
    verdict = evidence.verdicts.get(variant)
    return Verdict(
        rule=f"better than {variant}",
        passed=verdict == BETTER,
        got=f"decided: {verdict}" if verdict else f"nothing decided against {variant}; `seldtune decide` does so",
        needed=f"a decision that it is {BETTER}",
    )


def _against(ours: Evidence, holder: Standing, rules: Rules) -> list[Verdict]:
    """The comparison with the holder of the alias."""
    theirs = holder.evidence
    same = theirs is not None and theirs.test_sha256 == ours.test_sha256 and len(theirs.counts) == len(ours.counts)
    told = "the same" if same else "another" if theirs is not None else "never tested"
    needed = "finals of both on one test split"
    got = f"holder (version {holder.version}): {told}"
    comparable = Verdict(rule="same test", passed=same, got=got, needed="the holder's test split")
    if theirs is None or not same:
        names = ("better than the holder", "no class worse")
        unknown = [Verdict(rule=name, passed=False, got="cannot be compared", needed=needed) for name in names]
        return [comparable, *unknown]
    return [comparable, _better(ours, theirs, rules), _no_class_worse(ours, theirs, rules)]


def _against_silence(ours: Evidence, rules: Rules) -> Verdict:
    values, bounds = table_of(ours.per_recording, rules.average)
    interval = bounds.get("SELD") if bounds else None
    bound = SELD_OF_SILENCE - rules.margin
    return Verdict(
        rule="better than silence",
        passed=interval is not None and interval[1] < bound,
        got=f"SELD {values['SELD']:.3f}, "
        + ("which has no interval" if interval is None else f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}"),
        needed=f"the interval below {bound:g}, from two test recordings or more",
    )


def _better(ours: Evidence, theirs: Evidence, rules: Rules) -> Verdict:
    needed = f"the interval below {-rules.margin:g}"
    values = f"SELD {ours.score(rules.average):.3f} against {theirs.score(rules.average):.3f}"
    if len(ours.counts) < 2:
        return Verdict(
            rule="better than the holder",
            passed=False,
            got=f"{values}, on one recording, which has no interval",
            needed=f"{needed}, from two test recordings or more",
        )
    spread = paired_difference(ours.per_recording, theirs.per_recording, rules.average)
    index = SCORE_NAMES.index("SELD")
    value, low, high = (float(array[index]) for array in (spread.value, spread.low, spread.high))
    return Verdict(
        rule="better than the holder",
        passed=high < -rules.margin,
        got=f"{values}: {value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}",
        needed=needed,
    )


def _no_class_worse(ours: Evidence, theirs: Evidence, rules: Rules) -> Verdict:
    before, now = (class_figures(side.total, side.classes) for side in (theirs, ours))
    drops = {name: before[name]["F"] - figures["F"] for name, figures in now.items()}
    worst = max(drops, key=lambda name: drops[name], default=None)
    return Verdict(
        rule="no class worse",
        passed=worst is None or drops[worst] <= rules.class_drop,
        got="no class to compare" if worst is None else f"F {-drops[worst]:+.3f} of {worst}, the most",
        needed=f"no class's F lower by more than {rules.class_drop:g}",
    )


def read_rules(file: Path | None) -> Rules:
    """The rules of a YAML file; what it leaves out, and all without a file, as `Rules` says.

    Raises:
        UserError: no YAML mapping, an unknown rule, or a value of another kind.
    """
    if file is None:
        return Rules()
    values = read_mapping(file, "rules, e.g. `margin: 0.01`")
    known = [field.name for field in fields(Rules)]
    for name in values:
        if name not in known:
            raise UserError(f"{file}: {name!r} is no rule; there are: {', '.join(known)}")
    try:
        return Rules(**values)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
