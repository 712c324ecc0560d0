"""What ends a build after an image was made: known vulnerabilities, and packages that the lock does not name.

Both read reports that other tools wrote: `gcloud artifacts docker images list-vulnerabilities --format=json` (a list
of Occurrences, On-Demand Scanning API v1) and an SBOM in SPDX 2.3 (syft). A report that is not there or not of that
form is a failure: what was not looked at has not passed. No network, no third-party package.

Left out: exceptions for single vulnerabilities. Somebody who wants one raises the severity for a day, in the trigger.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from containers.tools.process import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Severity of the API (grafeas VulnerabilityOccurrence), from least to worst.
SEVERITIES = ("SEVERITY_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
OWN = "vertex-deploy"  # the project's distribution, which no lock names
VENDORED = "/_vendor/"  # in the path that syft found a package at
_SHOWN = 5
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)")


def read(path: Path) -> Any:
    """Parse a report.

    Raises:
        ToolError: not there, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}; without a report nothing has passed") from None
    except ValueError as error:
        raise ToolError(f"{path}: not JSON ({error}); without a report nothing has passed") from None


def vulnerabilities(report: Any, where: str, *, severity: str) -> Counter[str]:
    """Count a scan's findings by severity.

    Args:
        report: a list of Occurrences.
        where: name of the report, for messages.
        severity: findings of this severity or worse end the build.

    Returns:
        severity -> findings, those below the limit; an empty scan gives an empty count.

    Raises:
        ToolError: findings at or above the limit, an unknown severity, or not such a report.
    """
    if severity not in SEVERITIES[1:]:
        raise ToolError(f"--severity {severity}: write one of {', '.join(SEVERITIES[1:])}")
    if not isinstance(report, list):
        raise ToolError(f"{where}: not a list of occurrences; list-vulnerabilities --format=json writes one")
    counts: Counter[str] = Counter()
    worst: list[str] = []
    for occurrence in report:
        found = occurrence.get("vulnerability") if isinstance(occurrence, dict) else None
        if not isinstance(found, dict):
            raise ToolError(f"{where}: an occurrence without a vulnerability; list-vulnerabilities --format=json")
        level = found.get("effectiveSeverity", SEVERITIES[0])
        if level not in SEVERITIES:
            raise ToolError(f"{where}: unknown severity {level!r}; known: {', '.join(SEVERITIES)}")
        counts[level] += 1
        if SEVERITIES.index(level) >= SEVERITIES.index(severity):
            worst.append(f"{_name(occurrence)} ({level}, {_package(found)})")
    if worst:
        more = f" and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
        raise ToolError(f"{where}: {len(worst)} of severity {severity} or worse: {', '.join(worst[:_SHOWN])}{more}")
    return counts


def _name(occurrence: Mapping[str, Any]) -> str:
    short = occurrence["vulnerability"].get("shortDescription")
    return str(short or str(occurrence.get("noteName", "")).rpartition("/")[2] or "unnamed")


def _package(found: Mapping[str, Any]) -> str:
    """The first package that is affected, and whether a fixed one is there."""
    issues = found.get("packageIssue")
    name = issues[0].get("affectedPackage", "?") if isinstance(issues, list) and issues else "?"
    return f"{name}, fixed upstream" if found.get("fixAvailable") else f"{name}, no fix yet"


def locked(constraints: str) -> dict[str, str]:
    """Read a constraints file: normalised name -> version; lines that pin nothing are skipped."""
    pins = (_PIN.match(line) for line in constraints.splitlines())
    return {_normal(pin[1]): pin[2] for pin in pins if pin is not None}


def python_packages(sbom: Any, where: str) -> dict[str, str]:
    """Python packages of an SBOM: normalised name -> version, without the local part (`+cpu`).

    A copy that another package brings along in its folder `_vendor`, as setuptools does, is part of that package: the
    lock names the one that carries it.

    Args:
        sbom: SPDX 2.3, as JSON.
        where: its name, for messages.

    Raises:
        ToolError: not such a document, or one without a single package.
    """
    packages = sbom.get("packages") if isinstance(sbom, dict) else None
    if not isinstance(packages, list) or not str(sbom.get("spdxVersion", "")).startswith("SPDX-2"):
        raise ToolError(f"{where}: not an SPDX 2 document; syft --output spdx-json writes one")
    if not packages:
        raise ToolError(f"{where}: no packages in it; was the image read?")
    found: dict[str, str] = {}
    for package in packages:
        locators = [ref.get("referenceLocator", "") for ref in package.get("externalRefs", [])]
        vendored = VENDORED in str(package.get("sourceInfo", ""))
        if not vendored and any(str(locator).startswith("pkg:pypi/") for locator in locators):
            found[_normal(package["name"])] = str(package.get("versionInfo", "")).partition("+")[0]
    return found


def unlocked(packages: Mapping[str, str], pins: Mapping[str, str], *, own: str) -> list[str]:
    """Say of each package that is not as the lock has it what it should be; sorted.

    Args:
        packages: as `python_packages` gives them.
        pins: as `locked` gives them.
        own: the project's own distribution, which no lock names.
    """
    return [
        f"{name} {version}, locked: {pins.get(name, 'not at all')}"
        for name, version in sorted(packages.items())
        if name != own and pins.get(name, "").partition("+")[0] != version
    ]


def judge(
    scans: Mapping[str, Path], sboms: Mapping[str, Path], pins: Mapping[str, str], *, severity: str
) -> tuple[list[str], list[str]]:
    """Look at all reports of a build.

    Args:
        scans: image -> report of its vulnerabilities; of the images that are new.
        sboms: image -> SBOM; at least of those, and of one.
        pins: as `locked` gives them.
        severity: findings of this severity or worse end the build.

    Returns:
        a line for each report that is in order, and a line for each problem.
    """
    passed: list[str] = []
    failed = [f"{name}: no SBOM" for name in sorted(scans.keys() - sboms.keys())] if sboms else ["no SBOM at all"]
    for name, path in sorted(scans.items()):
        try:
            counts = vulnerabilities(read(path), name, severity=severity)
        except ToolError as error:
            failed.append(str(error))
        else:
            below = ", ".join(f"{counts[level]} {level}" for level in reversed(SEVERITIES) if counts[level])
            passed.append(f"{name}: no vulnerability of severity {severity} or worse; below: {below or 'none'}")
    for name, path in sorted(sboms.items()):
        try:
            packages = python_packages(read(path), name)
        except ToolError as error:
            failed.append(str(error))
        else:
            off = unlocked(packages, pins, own=OWN)
            if not packages:
                off = ["no Python package in it, and every image has some; was it read whole?"]
            failed += [f"{name}: {line}" for line in off]
            passed += [] if off else [f"{name}: {len(packages)} Python packages, all as constraints.txt has them"]
    return passed, failed


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
