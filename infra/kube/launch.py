"""Create a run of a recurring sweep, from inside the cluster: `python -m infra.kube.launch rayjob.yaml`.

It talks to the API server with the pod's own service account. The exit code tells the CronJob: 0 when the run is there,
or one before it still runs; 1 otherwise, and it is tried again.
"""

from __future__ import annotations

import copy
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import requests

from data.errors import UserError
from infra.kube.documents import read_documents
from infra.kube.rayjob import SWEEP_LABEL

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"
ENDED = ("Complete", "Failed", "ValidationFailed")


def run_of(template: dict[str, Any], at: time.struct_time) -> dict[str, Any]:
    """The RayJob of the run that begins at this minute (UTC): job and sweep carry it in their names."""
    stamp, job = time.strftime("%y%m%d%H%M", at), copy.deepcopy(template)
    job["metadata"]["name"] += f"-{stamp}"
    words = shlex.split(job["spec"]["entrypoint"])
    words[words.index("--name") + 1] += f"-{stamp}"
    job["spec"]["entrypoint"] = shlex.join(words)
    return job


def launch(template: dict[str, Any], server: str, account: Path, at: time.struct_time) -> str:
    """Create the run unless one before it still runs; what was done, in words.

    Raises:
        requests.RequestException: the API server does not answer, or refuses.
    """
    namespace, sweep = template["metadata"]["namespace"], template["metadata"]["labels"][SWEEP_LABEL]
    url = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {(account / 'token').read_text().strip()}"
        session.verify = str(account / "ca.crt")
        answer = session.get(url, params={"labelSelector": f"{SWEEP_LABEL}={sweep}"}, timeout=30)
        answer.raise_for_status()
        for job in answer.json()["items"]:
            if job.get("status", {}).get("jobDeploymentStatus") not in ENDED:
                return f"{job['metadata']['name']} still runs: this run is left out"
        job = run_of(template, at)
        answer = session.post(url, json=job, timeout=30)
        if answer.status_code == requests.codes.conflict:
            return f"{job['metadata']['name']} is there already"
        if not answer.ok:
            raise requests.HTTPError(f"the API server refuses the RayJob: {answer.text}", response=answer)
    return f"{job['metadata']['name']} is created"


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: python -m infra.kube.launch FILE, got {sys.argv[1:]}", file=sys.stderr)
        return 2
    try:
        (template,) = read_documents(Path(sys.argv[1]).read_text(), sys.argv[1])
        print(launch(template, SERVER, ACCOUNT, time.gmtime()))
    except (UserError, OSError, requests.RequestException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
