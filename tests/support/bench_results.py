"""What the result of every benchmark promises."""

from __future__ import annotations

import json

from infra.bench import measure

PROMISED = {
    *("benchmark", "unit", "sides_ms", "ratio", "parameters", "repeats"),
    *("device", "threads", "torch", "commit", "date"),
}


def check_result(outcome: dict, name: str, peers: set[str]) -> None:
    assert outcome.keys() >= PROMISED
    assert outcome["benchmark"] == name
    assert outcome["sides_ms"].keys() == {measure.OURS, *peers}
    assert outcome["ratio"].keys() == peers
    for spread in (*outcome["sides_ms"].values(), *outcome["ratio"].values()):
        assert spread.keys() == {"median", "low", "high"}
    json.dumps(outcome)
