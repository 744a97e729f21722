"""The Secrets that k8s/secrets.sh prints, and what k8s/rotation.md says of those that no process here stands for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.commands.kubernetes import default_image, ray_version
from infra.kube.documents import under
from infra.kube.rayjob import SECRETS, SWEEP_LABEL, TOKEN_SECRET, JobRequest, rayjob
from infra.kube.recurring import recurring
from infra.kube.shapes import SHAPES

K8S = Path(__file__).parents[2] / "k8s"
SECRETS_OF_OPERATORS = {*SECRETS, TOKEN_SECRET, "mlflow-server", "mlflow-postgres"}
NEXT = "seldtune-mlflow-next"
"""There only while the account is rotated."""
SECOND_TOKEN = "seldtune-ray-token-2"


def made_secrets(*names: str, **environment: str) -> dict[str, dict[str, str]]:
    """Name -> what k8s/secrets.sh writes into each Secret."""
    clean = {"PATH": os.environ["PATH"], **environment}
    result = subprocess.run([str(K8S / "secrets.sh"), *names], env=clean, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    documents = [document for document in yaml.safe_load_all(result.stdout) if document]
    assert {document["metadata"]["namespace"] for document in documents} == {"seldtune"}
    return {document["metadata"]["name"]: document["stringData"] for document in documents}


def test_secrets_are_made_whole_and_new_each_time() -> None:
    made, again = made_secrets(), made_secrets()
    assert set(made) == SECRETS_OF_OPERATORS
    passwords = [v for s in (made, again) for keys in s.values() for v in keys.values() if len(v) > 8]
    assert len(passwords) == len(set(passwords)) == 2 * 6
    assert min(map(len, passwords)) == 48
    # Every key that a manifest asks for, and those that whole Secrets are read for.
    for path in K8S.rglob("*.yaml"):
        for name, key in re.findall(r"secretKeyRef: \{name: ([\w-]+), key: (\w+)\}", path.read_text()):
            assert key in made[name], (path, name, key)
    account = (K8S / "components" / "mlflow" / "account.yaml").read_text()
    of_next = re.findall(rf"secretKeyRef: \{{name: {NEXT}, key: (\w+), optional: true\}}", account)
    assert set(of_next) == set(made_secrets(NEXT, ACCOUNT="sweeps-2")[NEXT])
    comments = (K8S / "base" / "kustomization.yaml").read_text()
    for name, keys in made.items():
        assert re.search(rf"{name} +{', '.join(keys)}", comments), name


def test_secrets_may_be_ones_own_and_one_alone() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "a/b+c="}
    assert made_secrets("seldtune-storage", **keys) == {"seldtune-storage": keys}
    assert set(made_secrets("mlflow-postgres", "seldtune-mlflow")) == {"mlflow-postgres", "seldtune-mlflow"}


def test_secrets_of_a_rotation_are_made_by_name_alone() -> None:
    made = made_secrets("seldtune-ray-token-2", NEXT, "seldtune-storage-next", ACCOUNT="second")
    assert made["seldtune-ray-token-2"].keys() == made_secrets()[TOKEN_SECRET].keys()
    for name, (account, password) in {
        NEXT: ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
        "seldtune-storage-next": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    }.items():
        assert made[name].keys() == {account, password} == made_secrets()[name.removesuffix("-next")].keys()
        assert made[name][account] == "second"
        assert len(made[name][password]) == 48
    assert len(made) == 3


@pytest.mark.parametrize(
    ("names", "environment", "message"),
    [
        ([NEXT], {}, "ACCOUNT: name the account of seldtune-mlflow-next, other than the one that is there"),
        (["mlflow-postgres", "seldtune-storage-next"], {}, "ACCOUNT: name the account of seldtune-storage-next"),
        (["seldtune-ray-token-"], {}, "no Secret seldtune-ray-token-; there are: "),
        (["mlflow-servers"], {}, "no Secret mlflow-servers; there are: seldtune-storage "),
        ([], {"AWS_ACCESS_KEY_ID": "AKIA"}, "AWS_SECRET_ACCESS_KEY: set both AWS keys, or none"),
        ([], {"AWS_SECRET_ACCESS_KEY": "abc"}, "AWS_ACCESS_KEY_ID: set both AWS keys, or none"),
    ],
)
def test_no_half_a_secret_is_made(names: list[str], environment: dict[str, str], message: str) -> None:
    clean = {"PATH": os.environ["PATH"], **environment}
    result = subprocess.run([str(K8S / "secrets.sh"), *names], env=clean, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert not result.stdout


def of_token(language: str) -> list[str]:
    """Blocks of the page's section on Ray's token."""
    section = (K8S / "rotation.md").read_text().partition("## Ray's token\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def a_job() -> dict[str, Any]:
    return rayjob(
        JobRequest(
            sweep="quickstart",
            arguments=["sweep", "quickstart", "--name", "quickstart"],
            budget_s=600,
            overlay="gpu",
            shape=SHAPES["gpu"],
            image=default_image(cuda=True),
            ray_version=ray_version(),
        )
    )


def test_the_page_finds_whoever_names_the_token() -> None:
    job, text = a_job(), "\n".join(of_token("bash"))
    (cluster,) = yaml.safe_load_all((K8S / "components" / "laptops" / "raycluster.yaml").read_text())
    paths = dict(re.findall(r"kubectl get (ray\w+) .*TOKEN:\.([\w.]+)", text))
    assert under(job, paths["rayjob"]) == under(cluster, paths["raycluster"]) == TOKEN_SECRET
    # Recurring sweeps hold their RayJob as text.
    ((label, words),) = re.findall(r"kubectl get configmap -l (\S+) -o yaml \| grep '(.+)'", text)
    config_map, _ = recurring(job, "0 2 * * *", None)
    assert label == SWEEP_LABEL in config_map["metadata"]["labels"]
    assert re.search(words, config_map["data"]["rayjob.yaml"], re.MULTILINE)
    assert not re.search(words, config_map["data"]["rayjob.yaml"].replace(TOKEN_SECRET, SECOND_TOKEN), re.MULTILINE)
    assert f"k8s/secrets.sh {SECOND_TOKEN} | kubectl create -f -" in text
    assert f"kubectl delete secret {TOKEN_SECRET}\n" in text


def test_laptops_take_the_second_token_from_an_overlay_of_ones_own(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to build overlays with")
    shutil.copytree(K8S, tmp_path / "k8s")
    mine = tmp_path / "k8s" / "overlays" / "mine"
    mine.mkdir()
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../gpu]\npatches:\n"
    (patch,) = of_token("yaml")
    (mine / "kustomization.yaml").write_text(head + patch)
    result = subprocess.run(["kubectl", "kustomize", str(mine)], capture_output=True, text=True, check=True)
    (laptops,) = [one for one in yaml.safe_load_all(result.stdout) if one["kind"] == "RayCluster"]
    assert laptops["spec"]["authOptions"] == {"mode": "token", "secretName": SECOND_TOKEN}


def test_the_job_of_accounts_makes_room_for_the_next_apply() -> None:
    """A Job's pod cannot be changed: one that stays would make `kubectl apply` of another image fail."""
    (job,) = yaml.safe_load_all((K8S / "components" / "mlflow" / "account.yaml").read_text())
    assert job["spec"]["activeDeadlineSeconds"] <= 3600
    assert job["spec"]["ttlSecondsAfterFinished"] <= 300
    applies = re.findall(r"^.*kubectl apply -k .*$", "\n".join(all_commands()), re.MULTILINE)
    assert applies
    for line in applies:
        assert line.startswith("kubectl delete job mlflow-account --ignore-not-found && "), line


def all_commands() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", (K8S / "rotation.md").read_text(), re.MULTILINE | re.DOTALL)
