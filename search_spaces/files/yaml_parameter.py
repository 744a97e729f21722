"""One parameter of a YAML space: a field of `TrialConfig`, what it is sampled from, and where it is there at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.errors import UserError
from data.names import near
from search_spaces.space import Trial
from trainables.config import TrialConfig
from trainables.config.tree import REGISTRIES, field_value, leaves, to_dict

KEYS = ("choices", "low", "high", "log", "step", "when")
_OFF_STEP = 1e-6
MOST_STEPS = 1e12
"""In a range; Optuna counts them as decimals of 28 digits."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A field, or a group of fields, with its choices or its range."""

    name: str
    """Dotted, and what the sampler knows it by."""
    choices: dict[Any, Any] = field(default_factory=dict)
    """What each label stands for; empty where there is a range."""
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    """Only whole numbers of the range."""
    when: dict[str, list[Any]] = field(default_factory=dict)
    """By earlier parameter, the labels that this one is there with; all have to hold."""

    def is_there(self, drawn: Mapping[str, Any]) -> bool:
        return all(name in drawn and drawn[name] in labels for name, labels in self.when.items())

    def suggest(self, trial: Trial) -> Any:
        """A label, or a number of the range."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def fields(self, drawn: Any) -> dict[str, Any]:
        """What a label or number is, by dotted field."""
        return dict(leaves(self.choices[drawn] if self.choices else drawn, self.name))

    def point(self, said: Any, key: str) -> Any:
        """A value of a first point, as `suggest` would give it.

        Raises:
            UserError: it is outside the parameter, or between its steps, where Optuna would not take it back.
        """
        if self.choices:
            label = _label(said)
            for known in self.choices:
                if known == label and isinstance(known, bool) == isinstance(label, bool):
                    return known
            raise UserError(f"{key} = {said!r}: choose one of {', '.join(map(str, self.choices))}")
        if not is_number(said) or not self.low <= said <= self.high or (self.whole and said != int(said)):
            kind = "whole number" if self.whole else "number"
            raise UserError(f"{key} = {said!r}: has to be a {kind} from {self.low:g} to {self.high:g}")
        if self.step and abs((steps := (said - self.low) / self.step) - round(steps)) > _OFF_STEP:
            below = self.low + int(steps) * self.step
            near = " or ".join(f"{value:g}" for value in (below, below + self.step) if value <= self.high)
            raise UserError(f"{key} = {said!r} lies between two steps of {self.step:g}: write {near}")
        return int(said) if self.whole else float(said)


def read_parameter(name: str, how: Any, base: TrialConfig, earlier: Mapping[str, Parameter]) -> Parameter:
    """One entry of `parameters`, checked against the fields that there are.

    Raises:
        UserError: an unknown field or key, a value of the wrong type, or a range or condition that cannot be.
    """
    if not isinstance(how, Mapping):
        raise UserError(f"{name} = {how!r}: write {{choices: [...]}} or {{low: ..., high: ...}}")
    if "." not in name and (fields := [f"{part}.{name}" for part, of_part in to_dict(base).items() if name in of_part]):
        raise UserError(f"{name} is not a field of a trial (did you mean {' or '.join(fields)}?)")
    for key, below in how.items():
        if key not in KEYS:
            if isinstance(below, Mapping):
                raise UserError(f"{name}.{key}: a field of a part is one word with a dot; write {name}.{key}: {{...}}")
            raise UserError(f"{name}.{key} is not a key{near(key, KEYS)}; there are {', '.join(KEYS)}")
    if ("choices" in how) == ("low" in how or "high" in how):
        raise UserError(f"{name} needs either choices, or low and high; got {', '.join(map(str, how)) or 'nothing'}")
    when = _when(name, how.get("when"), earlier)
    entries = _entries(name, when, base, earlier)
    if "choices" in how:
        if {"log", "step"} & set(how):
            raise UserError(f"{name}: log and step go with low and high, not with choices")
        choices = _choices(name, how["choices"])
        for label, value in choices.items():
            for leaf, part in leaves(value, name):
                _checked(leaf, part, _named(name, value) or entries, f"choice {label!r}: " if label != value else "")
        return Parameter(name=name, choices=choices, when=when)
    return _range(name, how, when, entries)


def is_number(said: Any) -> bool:
    return isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said)


def _range(name: str, how: Mapping[str, Any], when: dict[str, list[Any]], entries: list[str]) -> Parameter:
    for key in ("low", "high", "step"):
        if (key != "step" or key in how) and not is_number(how.get(key)):
            raise UserError(f"{name}.{key} = {how.get(key)!r}: has to be a number")
    low, high, step = how["low"], how["high"], how.get("step")
    # A field that takes a fraction takes 0.5, one that counts does not; whole numbers fit either.
    trial = int(low) if low == int(low) else low
    whole = isinstance(_checked(name, trial, entries, ""), int)
    log = how.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{name}.log = {log!r}: has to be true or false")
    if not low < high:
        raise UserError(f"{name}: low = {low:g} has to be less than high = {high:g}")
    if log and low <= 0:
        raise UserError(f"{name}.low = {low:g}: has to be more than 0 where log is true")
    if step is not None and (log or not 0 < step <= high - low):
        raise UserError(f"{name}.step = {step!r}: has to be in (0, {high - low:g}], and goes not with log")
    if step is not None and (high - low) / step > MOST_STEPS:
        raise UserError(f"{name}.step = {step!r}: too small for a range of {high - low:g}; choose a larger one")
    if whole and any(value != int(value) for value in (low, high, step or 1)):
        raise UserError(f"{name} takes whole numbers; got low = {low!r}, high = {high!r}, step = {step!r}")
    return Parameter(name=name, low=low, high=high, log=log, step=step, whole=whole, when=when)


def _choices(name: str, said: Any) -> dict[Any, Any]:
    if isinstance(said, Mapping):
        choices = {_label(label): value for label, value in said.items()}
    elif isinstance(said, list):
        choices = {_label(value): value for value in said}
        if len(choices) < len(said):
            raise UserError(f"{name}.choices = {said!r}: each may be there once")
    else:
        choices = {}
    if not choices:
        raise UserError(f"{name}.choices = {said!r}: has to be a list of values, or a mapping of labels to them")
    return {label: part_fields(name, value) for label, value in choices.items()}


def part_fields(name: str, said: Any) -> Any:
    """What is said of a field; of a part, an entry's name alone stands for that entry with its defaults."""
    return {"name": said} if name in REGISTRIES and isinstance(said, str) else said


def _label(value: Any) -> Any:
    """What a choice is called: a list or a mapping by its text."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _when(name: str, said: Any, earlier: Mapping[str, Parameter]) -> dict[str, list[Any]]:
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise UserError(f"{name}.when = {said!r}: write {{<parameter>: <choice or list of choices>}}")
    conditions = {}
    for other, allowed in said.items():
        if other not in earlier or not earlier[other].choices:
            known = [field for field, parameter in earlier.items() if parameter.choices]
            raise UserError(
                f"{name}.when: {other} is no parameter with choices above this one{near(other, known)}; there "
                f"are {', '.join(known) or 'none'}"
            )
        labels = [_label(value) for value in (allowed if isinstance(allowed, list) else [allowed])]
        if not labels:
            raise UserError(f"{name}.when: {other} = []: name a choice, or several")
        for label in labels:
            if label not in earlier[other].choices:
                raise UserError(
                    f"{name}.when: {other} = {label!r} never is; its choices are "
                    f"{', '.join(map(str, earlier[other].choices))}"
                )
        conditions[str(other)] = labels
    return conditions


def _entries(
    name: str, when: Mapping[str, list[Any]], base: TrialConfig, earlier: Mapping[str, Parameter]
) -> list[str]:
    """The entries of its registry that the parameter's part can have when the parameter is there."""
    part = name.partition(".")[0]
    if part not in REGISTRIES:
        return []
    start = getattr(base, part).name
    selectors = [earlier[key] for key in (part, f"{part}.name") if key in earlier]
    entries: list[str] = [] if selectors else [start]
    for selector in selectors:
        labels = when.get(selector.name, list(selector.choices))
        entries += [selector.fields(label).get(f"{part}.name", start) for label in labels]
        if selector.when and selector.name not in when:
            entries.append(start)
    return list(dict.fromkeys(entries))


def _named(name: str, value: Any) -> list[str]:
    """The entry that a choice names, where it is a choice of a whole part."""
    entry = value.get("name") if isinstance(value, Mapping) and name in REGISTRIES else None
    return [entry] if isinstance(entry, str) else []


def _checked(leaf: str, value: Any, entries: list[str], where: str) -> Any:
    """The value as the field takes it, under each entry that there can be."""
    taken: dict[str | None, Any] = {}
    refused: dict[str | None, UserError] = {}
    candidates: list[str | None] = [*entries] or [None]
    for entry in candidates:
        try:
            taken[entry] = field_value(leaf, value, entry)
        except UserError as error:
            refused[entry] = error
    if not refused:
        return next(iter(taken.values()))
    only, why = next(iter(refused.items()))
    if taken:
        raise UserError(
            f"{where}{why}, and {leaf.partition('.')[0]} can be {only!r} here; add a `when` that leaves "
            f"{' or '.join(map(str, taken))}"
        )
    raise UserError(f"{where}{why}")
