"""Test evidence of a wanted quality, for gates to judge."""

import numpy as np

from data.classes import STARSS23
from infra.models.evidence import Evidence, flat_counts
from trainables.evaluation.latency import Latency
from trainables.scores.kinds import DECOYED, KINDS, UNSEEN, KindCounts
from trainables.scores.metrics import SeldCounts

CLASSES = (0, 4, 8)
TRACKS = 20


def counts(quality, hard=0.0, by_class=None):
    """A recording in which each of three classes sounds 20 times, and that share of them is found, 10 degrees off."""
    found = np.zeros(len(STARSS23))
    reference = np.zeros(len(STARSS23))
    for index in CLASSES:
        reference[index] = TRACKS
        found[index] = TRACKS * np.clip((by_class or {}).get(index, quality) - hard, 0, 1)
    return SeldCounts(
        true_positive=found,
        far=np.zeros(len(STARSS23)),
        false_positive=np.zeros(len(STARSS23)),
        false_negative=reference - found,
        reference=reference,
        matched=found,
        error_sum_deg=10 * found,
        substitutions=0.0,
        deletions=float((reference - found).sum()),
        insertions=0.0,
    )


def kinds(quality, hard=0.0):
    """The same recording by kind: no event moves, half of them are unseen and found half as often."""
    events = np.array([TRACKS if kind not in ("moving", DECOYED) else 0 for kind in KINDS], dtype=np.float64)
    share = np.array([0.5 if kind == UNSEEN else 1.0 for kind in KINDS])
    return KindCounts(events, events * share * np.clip(quality - hard, 0, 1))


def evidence(quality=0.6, recordings=12, noise=0.02, seed=0, by_class=None, **fields):
    """Recordings are hard or easy alike for every model; `noise` is the model's own."""
    hard = np.linspace(0, 0.3, recordings)
    own = np.random.default_rng(seed).normal(0, noise, recordings)
    rows = [counts(quality, h + n, by_class) for h, n in zip(hard, own, strict=True)]
    defaults = {
        "sweep": "search",
        "finals": "search-finals",
        "trial": 0,
        "epoch": 3,
        "seed": 0,
        "seeds": (0, 1, 2),
        "data_sha256": "d" * 64,
        "test_sha256": "e" * 64,
        "weights_sha256": "f" * 64,
        "commit": "0123456789abcdef",
        "changed": False,
        "parameters": 700_000,
        "bytes": 2_800_000,
        "latency": Latency(window_s=3.0, ms=40.0, repeats=7, processor="a processor"),
    }
    return Evidence(counts=flat_counts(rows), **{**defaults, **fields})
