"""The image: its recipe is sound, and its steps work in a plain folder for a user who may nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

import pytest

from infra.commands.kubernetes import default_image, ray_version
from infra.kube.rayjob import USER_ID
from infra.provenance.secrets import looks_secret

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "infra" / "image"
NOBODY = 65534


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's, one line each."""
    text = re.sub(r"^\s*#.*\n", "", (IMAGE / "Containerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [(line.split(None, 1)[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


def test_the_recipe_names_what_is_there_and_no_secret() -> None:
    ignored = (ROOT / ".dockerignore").read_text()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{Path(source).parts[0]}\n" in ignored, f"{source} does not reach the engine"
        if name in ("ARG", "ENV", "LABEL"):
            for key, value in re.findall(r'([\w.]+)=("[^"]*"|\S*)', rest):
                assert not (value and looks_secret(key, value)), key
        if name == "FROM":
            assert "latest" not in rest
            assert ":" in rest or rest.split()[0] == "cpu"
    targets = [rest.rpartition(" ")[2] for name, rest in instructions() if name == "FROM"]
    assert targets == ["build", "cpu", "cuda"]
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == [f"{USER_ID}:{USER_ID}"]


def test_its_versions_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', next(rest for name, rest in instructions() if name == "LABEL")))
    assert labels["io.ray.version"] == ray_version()
    assert f"ray=={ray_version()}\n" in (ROOT / "constraints.txt").read_text()
    assert labels["org.opencontainers.image.version"] == project["version"]
    text = (IMAGE / "Containerfile").read_text()
    assert default_image(cuda=True) in text
    assert default_image(cuda=False) in text


@pytest.mark.slow
def test_its_steps_work_for_a_user_without_rights_or_environment(tmp_path: Path) -> None:
    """With the dependencies of this interpreter in place of gigabytes of downloads; all else is as in the image."""
    folder = tmp_path / "tree"
    folder.mkdir()
    user: list[str] = []
    if os.getuid() == 0:
        # Where tests run as root, their folders are root's alone.
        for parent in (tmp_path, *tmp_path.relative_to(tempfile.gettempdir()).parents[:-1]):
            (tempfile.gettempdir() / parent).chmod(0o755)
        os.chown(folder, NOBODY, NOBODY)
        # It may read what it likes, for the interpreter may lie in root's home, and write where anybody may.
        reads = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reads]
        if shutil.which("setpriv") is None:
            pytest.fail("setpriv (util-linux) is needed to become another user")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)

    def run(*command: str, code: int = 0) -> str:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(elsewhere)}
        if command[0] == "sh":
            base = sysconfig.get_path("purelib")
            environment |= {"BASE_PACKAGES": base, "PYTHON": os.path.realpath(sys.executable)}
        result = subprocess.run(
            [*user, *command], env=environment, cwd=elsewhere, capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == code, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    install = str(IMAGE / "install.sh")
    run("sh", install, "dependencies", str(folder))
    run("sh", install, "project", str(folder))
    where = run(str(folder / "bin" / "python"), "-c", "import infra, data; print(infra.__file__, data.__file__)")
    assert where.count(str(folder)) == 2, f"not the tree's own: {where}"
    # What a RayJob names, in that tree alone.
    assert "Search a space" in run(str(folder / "bin" / "seldtune"), "sweep", "--help")
    said = run(str(folder / "bin" / "seldtune"), "sweep", "quickstart", "--name", "quickstart", code=2)
    assert "MLFLOW_TRACKING_URI" in said
    assert list(folder.rglob("infra/comparison/page/comparison.css")), "files that are no code were left behind"
    assert "choose dependencies or project" in run("sh", install, "nothing", str(folder), code=2)
