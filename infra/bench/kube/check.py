"""What checking a rendered sweep with KubeRay's own definitions costs, beside reading all of them with plain PyYAML.

The definitions are not part of this project: `--schemas` takes KubeRay's config/crd/bases. Both sides have to find the
same in a clean job and in one with a mistake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from infra.bench.measure import OURS, parser, result, show
from infra.kube.check import check_document
from infra.kube.conformance.plant import request
from infra.kube.rayjob import rayjob
from infra.kube.schemas import Schemas, schemas_from_folder, schemas_of

PEER = "PyYAML"


def plainly(folder: str) -> Schemas:
    """Every definition of a folder, read as PyYAML does by itself."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found.update(schemas_of(document))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--schemas", required=True, help="folder of KubeRay's CustomResourceDefinitions")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    sides: dict[str, Callable[[], Schemas]] = {
        OURS: lambda: schemas_from_folder(chosen.schemas, ["RayJob"]),
        PEER: lambda: plainly(chosen.schemas),
    }
    clean, wrong = rayjob(request("seldtune")), rayjob(request("seldtune"))
    wrong["spec"]["backoffLimits"] = 3
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(chosen.repeats):
        for side, read in sides.items():
            begin = time.process_time()
            schemas = read()
            assert check_document(clean, schemas) == []
            (found,) = check_document(wrong, schemas)
            times[side].append(1000 * (time.process_time() - begin))
            assert found.path == "spec.backoffLimits"
    megabytes = sum(path.stat().st_size for path in Path(chosen.schemas).glob("*.yaml")) / 1e6
    show(result("kube_check", "check, CPU", times, {"definitions_mb": round(megabytes, 2)}), chosen.save)


if __name__ == "__main__":
    main()
