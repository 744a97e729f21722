#!/usr/bin/env bash
# kubernetes-validate 1.37.0 against the schemas of Kubernetes 1.36
# Guess:    in strict mode a manifest that it passes is one that the API server takes: quantities, names and closed sets
#           of words are in the API's own schema.
# Seen:     they are not. Memory of "64GB", of "lots" and of -1, `restartPolicy: Sometimes`, a name with spaces and a
#           pod without containers pass; only fields and JSON types are checked.
# Matters:  "validated in CI" manifests that the server refuses, or takes for something else: "64m" of memory is 64
#           thousandths of a byte.
# Instead:  a check of quantities and names of one's own, or a dry run on a server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check kubernetes-validate==1.37.0
venv/bin/python - <<'PY'
import copy

import kubernetes_validate

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "trial"},
    "spec": {"containers": [{"name": "trial", "image": "trial", "resources": {"limits": {"memory": "64Gi"}}}]},
}


def passes(change) -> bool:
    pod = copy.deepcopy(POD)
    change(pod)
    try:
        kubernetes_validate.validate(pod, "1.36", strict=True)
    except kubernetes_validate.ValidationError:
        return False
    return True


def limits(pod: dict) -> dict:
    return pod["spec"]["containers"][0]["resources"]["limits"]


seen = {
    "as it should be": passes(lambda pod: None),
    "a field that is not there": passes(lambda pod: pod["spec"].update(restartpolicy="Never")),
    "memory: 64GB": passes(lambda pod: limits(pod).update(memory="64GB")),
    "memory: lots": passes(lambda pod: limits(pod).update(memory="lots")),
    "memory: -1": passes(lambda pod: limits(pod).update(memory=-1)),
    "restartPolicy: Sometimes": passes(lambda pod: pod["spec"].update(restartPolicy="Sometimes")),
    "name: My Trial": passes(lambda pod: pod["metadata"].update(name="My Trial")),
    "no containers": passes(lambda pod: pod["spec"].update(containers=[])),
}
for i, (name, result) in enumerate(seen.items()):
    print(f"{name}: guessed {'passes' if i == 0 else 'refused'}, seen {'passes' if result else 'refused'}")
stated = dict.fromkeys(seen, True) | {"a field that is not there": False}
assert seen == stated, f"changed: {seen}"
PY
