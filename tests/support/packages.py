"""The packages of each folder, and what each imports of the others: what tests hold code and pages to."""

from __future__ import annotations

PACKAGES: dict[str, dict[str, set[str]]] = {
    "data": {
        ".": set(),
        "registry": {"."},
        "files": {"."},
        "stores": {"."},
        "feeding": {".", "files", "stores"},
        "agreement": {".", "stores"},
        "readers": {".", "agreement", "files", "registry", "stores"},
        "scenes": {".", "files", "stores"},
    },
    "trainables": {
        "checks": set(),
        "weights": set(),
        "layers": {"checks"},
        "inputs": {"checks", "weights"},
        "scores": set(),
        "parts": {"checks", "inputs", "layers", "scores", "weights"},
        "config": {"checks", "inputs", "layers", "parts"},
        "networks": {"config", "inputs", "layers", "parts", "weights"},
        "evaluation": {"config", "inputs", "networks", "parts", "scores"},
        "pyfunc_loader": {"evaluation"},
        "training": {"config", "evaluation", "inputs", "networks", "parts", "scores"},
    },
    "search_spaces": {},
    "infra": {
        "console": set(),
        "provenance": set(),
        "stack": set(),
        "cluster": {"provenance", "stack"},
        "record": {"cluster", "stack"},
        "kube": {"cluster", "provenance"},
        "datasets": {"cluster", "console", "record", "stack"},
        "tracking": {"provenance", "record"},
        "watch": {"cluster", "record"},
        "models": {"provenance", "record", "tracking"},
        "search": {"cluster", "record", "tracking"},
        "comparison": {"record", "search", "stack", "tracking"},
        "costs": {"record"},
        "sweep": {
            *("cluster", "comparison", "console", "costs", "models", "provenance", "record", "search", "stack"),
            *("tracking", "watch"),
        },
        "plan": {"cluster", "costs", "record", "search", "stack", "sweep", "tracking"},
        "finals": {"cluster", "comparison", "models", "record", "stack", "sweep", "tracking"},
        "drills": {"record", "stack", "tracking"},
        "bench": {"cluster", "finals", "kube", "record", "search", "stack", "sweep", "tracking"},
        "api": {
            *("cluster", "comparison", "console", "datasets", "finals", "models", "plan", "record", "stack", "sweep"),
            "watch",
        },
        "commands": {
            *("api", "cluster", "comparison", "console", "datasets", "finals", "kube", "plan", "provenance", "stack"),
            *("sweep", "watch"),
        },
        "cli": {"commands", "console"},
    },
    "seldtune": {},
}
"""What each package of a folder imports of the others, bottom up: a package stands below all that use it. A module that
lies in the folder itself stands for itself; those of `data` are "." together."""
