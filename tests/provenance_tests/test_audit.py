"""`make audit`: real pip-audit, against an advisory server of this test's own (OSV is not reachable from a test)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from audit import Accepted, Finding, accepted_in, bill_of_materials, judge, look_up, main

from data.errors import UserError

ROOT = Path(__file__).parents[2]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
DAY = datetime.date(2026, 11, 1)
ADVISORIES = {
    "mlflow": {
        "id": "GHSA-aaaa-bbbb-cccc",
        "aliases": ["CVE-2024-37052"],
        "summary": "Unpickles",
        "details": "A pickled model runs code when it is loaded.",
        "affected": [
            {
                "package": {"name": "mlflow", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.0"}]}],
            }
        ],
    }
}


@pytest.fixture
def osv() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            asked.append(f"{name}=={query['version']}")
            answer = json.dumps({"vulns": [ADVISORIES[name]]} if name in ADVISORIES else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("mlflow==3.17.2\nsix==1.17.0\n")
    return path


def project(tmp_path: Path, *entries: str) -> Path:
    path = tmp_path / "pyproject.toml"
    path.write_text("\n".join(["[tool.seldtune]", "accepted-vulnerabilities = [", *entries, "]"]))
    return path


def audit(pins: Path, file: Path, url: str) -> int:
    """The exit code."""
    files = {"--constraints": pins, "--pyproject": file, "--sbom": file.with_name("sbom.json")}
    return main([*(str(part) for pair in files.items() for part in pair), "--osv-url", url])


def test_every_pin_is_asked_about(osv: tuple[str, list[str]], pins: Path) -> None:
    url, asked = osv
    (found,) = look_up(pins, url)
    assert sorted(asked) == ["mlflow==3.17.2", "six==1.17.0"]
    assert (found.package, found.version, found.fixed_in) == ("mlflow", "3.17.2", ("9.0",))
    assert set(found.names) == {"GHSA-aaaa-bbbb-cccc", "CVE-2024-37052"}
    assert "Unpickles" in found.description


@pytest.mark.parametrize(
    ("package", "until", "code"), [("mlflow", "2999-01-01", 0), ("six", "2999-01-01", 1), ("mlflow", "2020-01-01", 1)]
)
def test_an_accepted_one_is_accepted_for_its_package_until_its_day(
    osv: tuple[str, list[str]],
    pins: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    package: str,
    until: str,
    code: int,
) -> None:
    entry = f'{{ package = "{package}", names = ["CVE-2024-37052"], reason = "nothing is unpickled", until = {until} }}'
    file = project(tmp_path, entry)
    assert (
        main(
            [
                "--constraints",
                str(pins),
                "--pyproject",
                str(file),
                "--osv-url",
                osv[0],
                "--sbom",
                str(tmp_path / "sbom.json"),
            ]
        )
        == code
    )
    said = capsys.readouterr().out
    assert ("nothing is unpickled" in said) == (code == 0)
    assert f"1 known vulnerabilities, {code} of them open" in said


def test_a_service_that_is_away_is_no_good_news(pins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:9/v1/query"
    assert (
        main(
            [
                "--constraints",
                str(pins),
                "--pyproject",
                str(project(tmp_path)),
                "--osv-url",
                url,
                "--sbom",
                str(tmp_path / "sbom.json"),
            ]
        )
        == 2
    )
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'sbom.json'} names what is installed\n"
    assert said.err.startswith(f"error: {url} gave no answer, so nothing is known: ")
    assert said.err.count("\n") == 1


def test_what_is_found_no_longer_is_said() -> None:
    old = Accepted("six", ("CVE-1",), "fine", DAY)
    other = Finding("mlflow", "3.17.2", ("PYSEC-1",), (), "Bad\nin detail")
    opened, report = judge([other], [old], DAY)
    assert opened == 1
    assert report.splitlines() == [
        "open     mlflow 3.17.2: PYSEC-1, no version without it",
        "    Bad",
        "gone     six: CVE-1 is found no longer; delete it from pyproject.toml",
        "1 known vulnerabilities, 1 of them open",
    ]


@pytest.mark.parametrize(
    "rest", ["until = 2999-01-01", 'reason = " ", until = 2999-01-01', 'reason = "r", until = "soon"']
)
def test_acceptance_wants_its_reason_and_its_day(tmp_path: Path, rest: str) -> None:
    with pytest.raises(UserError, match=r"CVE-1.* give it package, names, reason, until \(a date\)"):
        accepted_in(project(tmp_path, f'{{ package = "six", names = ["CVE-1"], {rest} }}'))


def test_what_is_accepted_here_is_of_pins_that_there_are() -> None:
    accepted = accepted_in(ROOT / "pyproject.toml")
    assert {one.package for one in accepted} <= set(PINS)


def test_the_bill_of_materials_names_what_is_installed() -> None:
    sbom = json.loads(bill_of_materials())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["name"] == "seldtune"
    listed = {component["name"].lower(): component for component in sbom["components"]}
    assert "seldtune" not in listed
    assert listed["ray"]["purl"] == f"pkg:pypi/ray@{PINS['ray']}"
    assert listed["torch"]["version"].split("+")[0] == PINS["torch"]
    assert listed["pytest"]["licenses"] == [{"license": {"id": "MIT"}}]
    (project,) = [one for one in sbom["dependencies"] if one["ref"].startswith("seldtune==")]
    assert len(project["dependsOn"]) == len(listed) > 100
