"""Create a run of a recurring sweep, from inside the cluster: `python -m infra.kube.launch rayjob.yaml`.

It talks to the API server with the pod's own service account. The exit code tells the CronJob: 0 when the run is there,
or one before it still runs; 1 otherwise, and it is tried again.
"""

from __future__ import annotations

import calendar
import copy
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import requests

from data.errors import UserError
from infra.kube.documents import read_documents, under
from infra.kube.rayjob import ENDED, KEEP_JOB_S, SWEEP_LABEL

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"


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

    Runs that ended longer than a week ago are deleted first: in a queue nothing else does, and they count in the quota.

    Raises:
        requests.RequestException: the API server does not answer, or refuses. It may be asked again: a quota that is
            being written to, say, is refused as a conflict, though no such run is there.
    """
    namespace, sweep = template["metadata"]["namespace"], template["metadata"]["labels"][SWEEP_LABEL]
    url = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {(account / 'token').read_text().strip()}"
        session.verify = str(account / "ca.crt")
        answer = session.get(url, params={"labelSelector": f"{SWEEP_LABEL}={sweep}"}, timeout=30)
        answer.raise_for_status()
        runs = answer.json()["items"]
        for job in runs:
            if under(job, "status.jobDeploymentStatus") not in ENDED:
                return f"{job['metadata']['name']} still runs: this run is left out"
        for job in runs:
            if _ended_before(job, calendar.timegm(at) - KEEP_JOB_S):
                answer = session.delete(f"{url}/{job['metadata']['name']}", timeout=30)
                if not answer.ok and answer.status_code != requests.codes.not_found:
                    print(f"warning: {job['metadata']['name']} stays: {answer.text}", file=sys.stderr)
        job = run_of(template, at)
        answer = session.post(url, json=job, timeout=30)
        if answer.status_code == requests.codes.conflict and answer.json().get("reason") == "AlreadyExists":
            return f"{job['metadata']['name']} is there already"
        if not answer.ok:
            raise requests.HTTPError(f"the API server refuses the RayJob: {answer.text}", response=answer)
    return f"{job['metadata']['name']} is created"


def _ended_before(job: dict[str, Any], seconds: float) -> bool:
    """Whether a run that ended did so before this time (Unix)."""
    text = under(job, "status.endTime") or under(job, "metadata.creationTimestamp")
    return bool(text) and calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) < seconds


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
