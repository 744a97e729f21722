"""`make audit`: what is installed, as a bill of materials; and has any of it a known vulnerability that nobody judged?

sbom.json (CycloneDX) names every installed package with version, licence and purl, without asking anybody. Every pin of
constraints.txt is looked up in OSV by pip-audit. What is known and accepted stands in pyproject.toml, with its reason
and a date after which it is judged again. An advisory service that does not answer, or a package that could not be
looked up, is no good news: exit code 2. An open finding: exit code 1.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from data.errors import UserError

OSV = "https://api.osv.dev/v1/query"
FIELDS = ("package", "names", "reason", "until")


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of one pin."""

    package: str
    version: str
    names: tuple[str, ...]
    """Its id, then what else it is called (CVE, GHSA, PYSEC)."""
    fixed_in: tuple[str, ...]
    description: str

    def __str__(self) -> str:
        also = f" ({', '.join(self.names[1:])})" if self.names[1:] else ""
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no version without it"
        text = (self.description.strip().splitlines() or ["no description"])[0]
        return f"{self.package} {self.version}: {self.names[0]}{also}, {fix}\n    {text}"


@dataclass(frozen=True)
class Accepted:
    """Vulnerabilities that are known and do not matter here, until they are judged again."""

    package: str
    names: tuple[str, ...]
    reason: str
    until: datetime.date

    def covers(self, finding: Finding, today: datetime.date) -> bool:
        """Whether it is one of these, of this package, and the judgement still holds."""
        return self.package == finding.package and not set(self.names).isdisjoint(finding.names) and today <= self.until


def bill_of_materials() -> str:
    """CycloneDX 1.6 of what is installed beside this process, as JSON. All hangs on the project, without a tree."""
    licences, components = LicenseFactory(), {}
    for installed in importlib.metadata.distributions():
        name, version = installed.metadata["Name"], installed.version
        # Some have all of a licence's text in the second.
        said = [installed.metadata[field] for field in ("License-Expression", "License") if field in installed.metadata]
        licence = next(filter(None, said), "")
        components[name.lower()] = Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", name=name.lower().replace("_", "-"), version=version),
            licenses=[licences.make_from_string(licence)] if 0 < len(licence) < 100 else [],
        )
    project = components.pop("seldtune")
    project.type = ComponentType.APPLICATION
    bom = Bom(components=components.values())
    bom.metadata.component = project
    bom.register_dependency(project, components.values())
    return JsonV1Dot6(bom).output_as_string(indent=2)


def accepted_in(pyproject: Path) -> list[Accepted]:
    """`[[tool.seldtune.accepted-vulnerabilities]]`. UserError for an entry without package, names, reason or date."""
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    accepted = []
    for entry in document["tool"]["seldtune"]["accepted-vulnerabilities"]:
        if set(entry) != set(FIELDS) or not entry["reason"].strip() or not isinstance(entry["until"], datetime.date):
            raise UserError(f"{pyproject}: {entry} accepts a vulnerability: give it {', '.join(FIELDS)} (a date)")
        accepted.append(Accepted(**entry | {"names": tuple(entry["names"])}))
    return accepted


def look_up(constraints: Path, osv_url: str) -> list[Finding]:
    """All findings about the pins. UserError where the service did not answer for every one of them."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--osv-url", osv_url, "--format", "json", "--progress-spinner", "off"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (result.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        raise UserError(f"{osv_url} gave no answer, so nothing is known: {last}; run it where OSV is reached") from None
    if skipped := [d for d in dependencies if "skip_reason" in d]:
        raise UserError(f"{len(skipped)} pins were not looked up, the first: {skipped[0]['skip_reason']}")
    return [_finding(dependency, found) for dependency in dependencies for found in dependency["vulns"]]


def _finding(dependency: Mapping[str, Any], found: Mapping[str, Any]) -> Finding:
    return Finding(
        package=dependency["name"],
        version=dependency["version"],
        names=(found["id"], *sorted(found.get("aliases", ()))),
        fixed_in=tuple(found["fix_versions"]),
        description=found.get("description") or "",
    )


def judge(findings: Sequence[Finding], accepted: Sequence[Accepted], today: datetime.date) -> tuple[int, str]:
    """How many findings are open, and the whole report."""
    lines, opened = [], 0
    for finding in findings:
        reason = next((one for one in accepted if one.covers(finding, today)), None)
        opened += reason is None
        lines.append(f"{'open    ' if reason is None else 'accepted'} {finding}")
        if reason is not None:
            lines.append(f"    {reason.reason} (until {reason.until})")
    found = {(finding.package, name) for finding in findings for name in finding.names}
    for one in accepted:
        lines += [
            f"gone     {one.package}: {name} is found no longer; delete it from pyproject.toml"
            for name in one.names
            if (one.package, name) not in found
        ]
    lines.append(f"{len(findings)} known vulnerabilities, {opened} of them open")
    return opened, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="audit.py", description=__doc__)
    parser.add_argument("--constraints", type=Path, default=Path("constraints.txt"))
    parser.add_argument("--pyproject", type=Path, default=Path("pyproject.toml"))
    parser.add_argument("--sbom", type=Path, default=Path("sbom.json"))
    parser.add_argument("--osv-url", default=OSV, help="an OSV server of your own")
    options = parser.parse_args(arguments)
    options.sbom.write_text(bill_of_materials() + "\n", encoding="utf-8")
    print(f"{options.sbom} names what is installed")
    try:
        accepted = accepted_in(options.pyproject)
        opened, report = judge(look_up(options.constraints, options.osv_url), accepted, datetime.date.today())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report)
    return 1 if opened else 0


if __name__ == "__main__":
    sys.exit(main())
