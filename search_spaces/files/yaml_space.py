"""A space of a user's own as a YAML file: a config to start from, and the fields of it that are varied.

name: schedules
base: {preset: resnet-gru, size: small, training: {epochs: 12}}
parameters:
  schedule.name: {choices: [cosine, one_cycle]}
  schedule.rise_fraction: {low: 0.1, high: 0.5, when: {schedule.name: one_cycle}}
  optimiser.lr: {low: 1e-4, high: 3e-3, log: true}
  fusion:
    choices:
      small: {layers: 1, hidden: 32}
      large: {layers: 2, hidden: 96}
first:
  - {schedule.name: cosine, optimiser.lr: 1e-3}
trials: 20
budget: 2h
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from data.durations import parse_duration_s
from data.errors import UserError
from data.files.yaml_files import read_yaml
from data.names import near
from data.registry.user_code import hash_text
from search_spaces.files.yaml_parameter import Parameter, is_number, part_fields, read_parameter
from search_spaces.presets import PRESETS, find_preset
from search_spaces.space import SearchSpace, Trial
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, lasting, override

NUMBERS: dict[str, Any] = {
    "trials": 20,
    "grace_epochs": 3,
    "reduction": 3,
    "cpus_per_worker": 1,
    "gpus_per_worker": 0.0,
}
"""Fields of `SearchSpace` that a file may set, with what they are otherwise."""
KEYS = ("name", "summary", "base", "parameters", "first", "budget", *NUMBERS)
BUDGET = "12h"


def yaml_space(path: str) -> SearchSpace:
    """The space that a YAML file says.

    Each field of `TrialConfig` under `parameters` is sampled from `choices`, or from `low` to `high` (`log`, `step`);
    whole numbers where the field is one. A choice may stand for several fields: `choices` is then a mapping of labels
    to them. A part's choice may be the name of an entry alone, as in `fusion: {choices: [gru, cmaf]}`. With `when`, a
    parameter is there only where the ones named have the choices named.

    Raises:
        UserError: no such file, no YAML, or something in it that cannot be; with file, key and what was got.
    """
    try:
        document = _document(path)
        base = _base(document["base"])
        parameters = tuple(_parameters(document["parameters"], base))
        first = tuple(_first(document.get("first"), {parameter.name: parameter for parameter in parameters}))
        numbers = _numbers(document)
        # Budgets and resources may change from one start to the next.
        decides = {
            "base": lasting(base),
            "parameters": [asdict(parameter) for parameter in parameters],
            "first": first,
            "stopping": [numbers["grace_epochs"], numbers["reduction"]],
        }
        return SearchSpace(
            name=document["name"],
            summary=document.get("summary", ""),
            suggest=partial(_suggest, base, parameters),
            first=first,
            sets_seed=any(parameter.name == "training.seed" for parameter in parameters),
            budget_s=parse_duration_s(str(document.get("budget", BUDGET))),
            identity=hash_text(json.dumps(decides)),
            decides=_by_name(decides),
            **numbers,
        )
    except UserError as error:
        raise UserError(f"search space {path!r}: {error}") from error


def _by_name(decides: Mapping[str, Any]) -> dict[str, Any]:
    """The same for comparing it with another: each parameter by its name, and of it what is said."""
    parameters = {}
    for one in decides["parameters"]:
        said = {key: value for key, value in one.items() if key != "name" and value not in ({}, None, False)}
        choices = said.get("choices", {})
        if all(label == value for label, value in choices.items()):
            said |= {"choices": list(choices)} if choices else {}
        parameters[one["name"]] = said
    return {**decides, "parameters": parameters, "first": dict(enumerate(decides["first"]))}


def _suggest(base: TrialConfig, parameters: Sequence[Parameter], trial: Trial) -> TrialConfig:
    drawn: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.is_there(drawn):
            drawn[parameter.name] = parameter.suggest(trial)
            fields |= parameter.fields(drawn[parameter.name])
    return override(base, fields)


def _document(path: str) -> dict[str, Any]:
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UserError(f"has to hold {', '.join(KEYS)}; got {document!r}")
    for key in document:
        if key not in KEYS:
            raise UserError(f"{key} is not a key{near(key, KEYS)}; there are {', '.join(KEYS)}")
    for key in ("name", "base", "parameters"):
        if not document.get(key):
            raise UserError(f"{key} is missing")
    for key in ("name", "summary"):
        if not isinstance(document.get(key, ""), str):
            raise UserError(f"{key} = {document[key]!r}: has to be text")
    return document


def _base(said: Any) -> TrialConfig:
    """A preset by name, one with some fields changed, or a config's own fields."""
    if isinstance(said, str):
        said = {"preset": said}
    if not isinstance(said, Mapping):
        raise UserError(f"base = {said!r}: name a preset, or fields of a trial")
    fields = {str(name): part_fields(name, value) for name, value in said.items()}
    try:
        if "preset" not in fields:
            return from_dict(fields)
        preset, size = str(fields.pop("preset")), str(fields.pop("size", "paper"))
        if preset not in PRESETS:
            raise UserError(
                f"preset {preset!r} is not known; choose one of {', '.join(PRESETS)}. A base is one config: "
                "a space can only be built on in a Python file"
            )
        faithful = fields.pop("faithful", False)
        if not isinstance(faithful, bool):
            raise UserError(f"faithful = {faithful!r}: has to be true or false")
        return override(find_preset(preset, size, faithful), fields)
    except UserError as error:
        raise UserError(f"base: {error}") from error


def _parameters(said: Any, base: TrialConfig) -> Iterator[Parameter]:
    if not isinstance(said, Mapping):
        raise UserError(f"parameters = {said!r}: write a field of a trial and how it varies, for each")
    earlier: dict[str, Parameter] = {}
    for field, how in said.items():
        try:
            earlier[field] = read_parameter(str(field), how, base, earlier)
        except UserError as error:
            raise UserError(f"parameters: {error}") from error
        yield earlier[field]


def _first(said: Any, parameters: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    if said is None:
        return
    if not isinstance(said, list) or not all(isinstance(point, Mapping) for point in said):
        raise UserError(f"first = {said!r}: has to be a list of points, each a mapping of parameters to values")
    for index, point in enumerate(said):
        checked = {}
        for field, value in point.items():
            if field not in parameters:
                raise UserError(
                    f"first[{index}]: {field} is not a parameter{near(field, parameters)}; there are "
                    f"{', '.join(parameters)}"
                )
            checked[field] = parameters[field].point(value, f"first[{index}].{field}")
        for field in checked:
            for other, labels in parameters[field].when.items():
                if other in checked and checked[other] not in labels:
                    raise UserError(
                        f"first[{index}].{field}: is not there with {other} = {checked[other]!r}; leave it out"
                    )
        yield checked


def _numbers(document: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `NUMBERS`, whole where the default is: from 1 on, and GPUs from 0 on."""
    numbers = {}
    for key, default in NUMBERS.items():
        said, whole = document.get(key, default), isinstance(default, int)
        if not is_number(said) or said < int(whole) or (whole and said != int(said)):
            rule = "whole number from 1 on" if whole else "number from 0 on"
            raise UserError(f"{key} = {said!r}: has to be a {rule}")
        numbers[key] = type(default)(said)
    return numbers
