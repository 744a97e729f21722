"""Seldtune from Python: search, compare, promote and use models for sound event localisation and detection.

Each function does what a command does (`docs/python.md` shows them). What it needs is imported when it is first
used: this module alone imports nothing that takes time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.errors import GateError, UserError
    from data.stores.chunks import Store
    from infra.api.asked import SweepOptions, load_plugins
    from infra.api.datasets import (
        SceneOptions,
        embed,
        ingest,
        inspect,
        mix,
        open_store,
        synthesise,
        synthesise_tree,
        verify,
    )
    from infra.api.decisions import decide, plan_decision
    from infra.api.finals import finals, recipe, table1
    from infra.api.models import history, import_weights, load_model, predict, promote, rollback
    from infra.api.services import down
    from infra.api.sweeps import compare, plan, status, sweep, write_comparison
    from infra.comparison.compare import Comparison
    from infra.finals.decide import Decided
    from infra.finals.report import Finals
    from infra.models.aliases import Judged
    from infra.models.gate import Rules
    from infra.models.predict import RegisteredModel
    from infra.plan.plan import Plan
    from infra.search.samplers import SAMPLERS
    from infra.search.stoppers import STOPPERS
    from infra.stack.embedded import up
    from infra.stack.settings import Settings, load_settings
    from infra.sweep.conclude import Conclusion
    from search_spaces.presets import PRESETS, Pretrained
    from search_spaces.presets_text import describe_preset
    from search_spaces.registry import SPACES, find_space
    from search_spaces.space import SearchSpace
    from trainables.config import (
        AUDIO_ENCODERS,
        FUSIONS,
        OPTIMISERS,
        OUTPUTS,
        SCHEDULES,
        VISUAL_ENCODERS,
        TrialConfig,
    )
    from trainables.scores.folders import score_folders as score

    __version__: str

_HOMES = {
    "data.errors": ("GateError", "UserError"),
    "data.stores.chunks": ("Store",),
    "infra.api.asked": ("SweepOptions", "load_plugins"),
    "infra.api.datasets": (
        *("SceneOptions", "embed", "ingest", "inspect", "mix", "open_store", "synthesise", "synthesise_tree", "verify"),
    ),
    "infra.api.decisions": ("decide", "plan_decision"),
    "infra.api.finals": ("finals", "recipe", "table1"),
    "infra.api.models": ("history", "import_weights", "load_model", "predict", "promote", "rollback"),
    "infra.api.services": ("down",),
    "infra.api.sweeps": ("compare", "plan", "status", "sweep", "write_comparison"),
    "infra.comparison.compare": ("Comparison",),
    "infra.finals.decide": ("Decided",),
    "infra.finals.report": ("Finals",),
    "infra.models.aliases": ("Judged",),
    "infra.models.gate": ("Rules",),
    "infra.models.predict": ("RegisteredModel",),
    "infra.plan.plan": ("Plan",),
    "trainables.scores.folders": ("score_folders as score",),
    "infra.search.samplers": ("SAMPLERS",),
    "infra.search.stoppers": ("STOPPERS",),
    "infra.stack.embedded": ("up",),
    "infra.stack.settings": ("Settings", "load_settings"),
    "infra.sweep.conclude": ("Conclusion",),
    "search_spaces.presets": ("PRESETS", "Pretrained"),
    "search_spaces.presets_text": ("describe_preset",),
    "search_spaces.registry": ("SPACES", "find_space"),
    "search_spaces.space": ("SearchSpace",),
    "trainables.config": (
        *("AUDIO_ENCODERS", "FUSIONS", "OPTIMISERS", "OUTPUTS", "SCHEDULES", "VISUAL_ENCODERS", "TrialConfig"),
    ),
}
"""Module -> what it gives, as the imports above say it to type checkers."""
_GIVEN = {name.split(" as ")[-1]: (home, name.split(" as ")[0]) for home, names in _HOMES.items() for name in names}

__all__ = [
    "AUDIO_ENCODERS",
    "FUSIONS",
    "OPTIMISERS",
    "OUTPUTS",
    "PRESETS",
    "SAMPLERS",
    "SCHEDULES",
    "SPACES",
    "STOPPERS",
    "VISUAL_ENCODERS",
    "Comparison",
    "Conclusion",
    "Decided",
    "Finals",
    "GateError",
    "Judged",
    "Plan",
    "Pretrained",
    "RegisteredModel",
    "Rules",
    "SceneOptions",
    "SearchSpace",
    "Settings",
    "Store",
    "SweepOptions",
    "TrialConfig",
    "UserError",
    "__version__",
    "compare",
    "decide",
    "describe_preset",
    "down",
    "embed",
    "finals",
    "find_space",
    "history",
    "import_weights",
    "ingest",
    "inspect",
    "load_model",
    "load_plugins",
    "load_settings",
    "mix",
    "open_store",
    "plan",
    "plan_decision",
    "predict",
    "promote",
    "recipe",
    "rollback",
    "score",
    "status",
    "sweep",
    "synthesise",
    "synthesise_tree",
    "table1",
    "up",
    "verify",
    "write_comparison",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, looked up when it is first used.

    Raises:
        ImportError: another package or module stands in front of one of this project's.
        AttributeError: there is no such name.
    """
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("seldtune")
    elif name in _GIVEN:
        from importlib import import_module

        from seldtune.hiding import hidden

        if said := hidden():
            raise ImportError(said)
        home, given = _GIVEN[name]
        value = getattr(import_module(home), given)
    else:
        raise AttributeError(f"module 'seldtune' has no {name!r}; dir(seldtune) lists what there is")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
