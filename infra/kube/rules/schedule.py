"""Schedules of CronJobs, as Kubernetes and KubeRay read them (robfig/cron's standard parser)."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from typing import Any

from infra.kube.documents import Violation, under
from infra.kube.rules.names import is_subdomain

LONGEST_CRON_JOB = 52

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 6, _DAYS),
)
"""Name, least, most, and what may be written for the numbers from the least on."""
_SHORTHAND = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every [0-9hms.]+")
_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


def cron_job_rules(document: dict[str, Any]) -> Iterator[Violation]:
    """What is wrong with a CronJob of Kubernetes' own, but for its pods."""
    spec, name = document["spec"], str(under(document, "metadata.name") or "")
    if document["apiVersion"] != "batch/v1":
        yield Violation("apiVersion", repr(document["apiVersion"]), "write batch/v1")
    if name and (not is_subdomain(name) or len(name) > LONGEST_CRON_JOB):
        yield Violation("metadata.name", repr(name), f"a-z, 0-9 and -, {LONGEST_CRON_JOB} characters at most")
    if spec.get("concurrencyPolicy", "Allow") not in ("Allow", "Forbid", "Replace"):
        yield Violation("spec.concurrencyPolicy", repr(spec["concurrencyPolicy"]), "Allow, Forbid or Replace")
    for field in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if not isinstance(spec.get(field, 0), int) or spec.get(field, 0) < 0:
            yield Violation(f"spec.{field}", f"{spec[field]}", "0 or more")
    backoff = under(spec, "jobTemplate.spec.backoffLimit")
    if backoff is not None and (not isinstance(backoff, int) or backoff < 0):
        yield Violation("spec.jobTemplate.spec.backoffLimit", f"{backoff}", "0 or more")
    yield from schedule_rules(spec)


def schedule_rules(spec: dict[str, Any]) -> Iterator[Violation]:
    """What is wrong with `spec.schedule` and `spec.timeZone`."""
    schedule, zone = str(spec.get("schedule") or ""), spec.get("timeZone")
    if "TZ" in schedule:
        yield Violation("spec.schedule", repr(schedule), "name the zone in spec.timeZone")
    elif wrong := _wrong(schedule):
        yield Violation("spec.schedule", f"{schedule!r}: {wrong}", "write minute hour day month weekday: 0 2 * * *")
    if zone is not None and zone not in zoneinfo.available_timezones():
        yield Violation("spec.timeZone", repr(zone), "name a zone of the IANA's, e.g. Europe/Berlin")


def _wrong(schedule: str) -> str | None:
    fields = schedule.split()
    if _SHORTHAND.fullmatch(schedule):
        return None
    if len(fields) != len(_FIELDS):
        return f"{len(fields)} fields"
    for text, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            found = _PART.fullmatch(part)
            numbers = [_number(word, least, names) for word in (found["first"], found["last"]) if word] if found else []
            if found is None or not all(number is not None and least <= number <= most for number in numbers):
                return f"{part!r} is no {name}"
            if len(numbers) == 2 and numbers[0] > numbers[1]:  # type: ignore[operator]
                return f"{part!r} runs backwards; write {found['first']}-{most},{least}-{found['last']}"
    return None


def _number(word: str, least: int, names: tuple[str, ...]) -> int | None:
    if word.isdecimal():
        return int(word)
    return least + names.index(word.lower()) if word.lower() in names else None
