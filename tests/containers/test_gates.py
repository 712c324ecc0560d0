"""What ends a build after its images were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from containers.tools import __main__ as command
from containers.tools import gates
from containers.tools.process import ToolError
from containers.tools.store import ROOT
from tests.infra.discovery import document, findings

PINS = gates.locked((ROOT / "constraints.txt").read_text(encoding="utf-8"))


def occurrence(severity: str, name: str = "CVE-2026-1", *, fixed: bool = False) -> dict[str, object]:
    """As the On-Demand Scanning API gives it, cut to what is read."""
    found = {
        "effectiveSeverity": severity,
        "shortDescription": name,
        "fixAvailable": fixed,
        "packageIssue": [{"affectedPackage": "zlib"}],
    }
    return {"noteName": f"projects/goog-vulnz/notes/{name}", "kind": "VULNERABILITY", "vulnerability": found}


def sbom(**packages: str) -> dict[str, Any]:
    """SPDX 2.3 as syft writes it, cut to what is read."""
    entries = [
        {"name": name, "versionInfo": version, "externalRefs": [{"referenceLocator": f"pkg:pypi/{name}@{version}"}]}
        for name, version in packages.items()
    ]
    debian = {"name": "bash", "versionInfo": "5", "externalRefs": [{"referenceLocator": "pkg:deb/debian/bash@5"}]}
    return {"spdxVersion": "SPDX-2.3", "packages": [*entries, debian]}


def test_a_whole_report_is_judged_by_the_effective_severity() -> None:
    """Of every field that the API gives: what Debian says of zlib counts, not the CVSS score."""
    report = json.loads(Path(__file__).with_name("vulnerabilities.json").read_text(encoding="utf-8"))
    wrong = [line for found in report for line in findings(found, "ondemandscanning.v1", "Occurrence")]
    assert [line for line in wrong if not line.endswith("is output only")] == []
    with pytest.raises(ToolError, match=r"^r: 1 of severity HIGH or worse: CVE-2024-6345 \(HIGH, setuptools, fixed"):
        gates.vulnerabilities(report, "r", severity="HIGH")
    counts = gates.vulnerabilities(report, "r", severity="CRITICAL")
    assert counts == {"HIGH": 1, "MINIMAL": 1, "SEVERITY_UNSPECIFIED": 1}


@pytest.mark.parametrize("limit", gates.SEVERITIES[1:])
@pytest.mark.parametrize("level", gates.SEVERITIES)
def test_every_severity_is_held_against_every_limit(level: str, limit: str) -> None:
    if gates.SEVERITIES.index(level) < gates.SEVERITIES.index(limit):
        assert gates.vulnerabilities([occurrence(level)], "r", severity=limit) == {level: 1}
    else:
        with pytest.raises(ToolError, match=f"1 of severity {limit} or worse"):
            gates.vulnerabilities([occurrence(level)], "r", severity=limit)


def test_a_name_for_every_severity_of_the_api() -> None:
    known = document("ondemandscanning.v1")["schemas"]["VulnerabilityOccurrence"]["properties"]["effectiveSeverity"]
    assert tuple(known["enum"]) == gates.SEVERITIES


def test_what_is_less_severe_is_counted_and_passes() -> None:
    report = [occurrence("MEDIUM"), occurrence("MEDIUM"), occurrence("MINIMAL")]
    assert gates.vulnerabilities(report, "r", severity="HIGH") == {"MEDIUM": 2, "MINIMAL": 1}
    assert gates.vulnerabilities([], "r", severity="HIGH") == {}


@pytest.mark.parametrize("severity", ["HIGH", "CRITICAL"])
def test_the_severity_asked_for_and_worse_ends_the_build(severity: str) -> None:
    report = [occurrence("LOW"), occurrence(severity, "CVE-2026-7", fixed=True)]
    with pytest.raises(ToolError, match=rf"CVE-2026-7 \({severity}, zlib, fixed upstream\)"):
        gates.vulnerabilities(report, "r", severity="HIGH")


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({}, "not a list"),
        (["x"], "without a vulnerability"),
        ([occurrence("TERRIBLE")], "unknown severity"),
    ],
)
def test_a_report_of_another_form_has_not_passed(report: object, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        gates.vulnerabilities(report, "r", severity="HIGH")


def test_a_severity_that_is_none_is_refused() -> None:
    with pytest.raises(ToolError, match="MINIMAL, LOW, MEDIUM, HIGH, CRITICAL"):
        gates.vulnerabilities([], "r", severity="critical")


def test_python_packages_are_held_to_the_lock_whatever_their_spelling() -> None:
    packages = gates.python_packages(sbom(Google_Auth="2.0", torch="2.13.0+cpu", extra="1", old="1"), "s")
    assert packages == {"google-auth": "2.0", "torch": "2.13.0", "extra": "1", "old": "1"}
    pins = gates.locked("# a comment\ngoogle-auth==2.0\ntorch==2.13.0\nold==2\n")
    assert gates.unlocked(packages, pins, own="vertex-deploy") == ["extra 1, locked: not at all", "old 1, locked: 2"]


def test_what_a_package_carries_in_itself_is_held_by_that_package() -> None:
    """As syft writes of the `zipp` inside setuptools."""
    found = sbom(setuptools="84.2.1", zipp="3.23.0")
    site = "acquired package info from installed python package manifest file: /app/venv/lib/python3.11/site-packages"
    for package, where in zip(found["packages"], ("", "/setuptools/_vendor"), strict=False):
        package["sourceInfo"] = f"{site}{where}/{package['name']}-{package['versionInfo']}.dist-info/METADATA"
    assert gates.python_packages(found, "s") == {"setuptools": "84.2.1"}


def test_the_lock_names_what_torch_needs_and_pip_does_not_freeze() -> None:
    assert "setuptools" in PINS


def test_an_sbom_of_nothing_has_not_passed() -> None:
    with pytest.raises(ToolError, match="no packages"):
        gates.python_packages({"spdxVersion": "SPDX-2.3", "packages": []}, "s")
    with pytest.raises(ToolError, match="not an SPDX"):
        gates.python_packages([], "s")


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    for folder in ("scans", "sboms"):
        (tmp_path / folder).mkdir()
    (tmp_path / "scans/runner.json").write_text(json.dumps([occurrence("LOW")]))
    (tmp_path / "sboms/runner.json").write_text(json.dumps(sbom(pyyaml=PINS["pyyaml"])))
    return tmp_path


def gate(reports: Path, severity: str = "CRITICAL") -> int:
    folders = ["--scans", str(reports / "scans"), "--sboms", str(reports / "sboms")]
    return command.main(["gate", "--severity", severity, *folders])


def test_command_passes_what_is_in_order(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(reports) == 0
    assert "below: 1 LOW" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("sboms/runner.json", None, "no SBOM"),
        ("sboms/runner.json", json.dumps(sbom()), "runner: no Python package in it"),
        ("sboms/runner.json", json.dumps(sbom(pyyaml="0.1")), f"pyyaml 0.1, locked: {PINS['pyyaml']}"),
        ("scans/runner.json", "", "not JSON"),
        ("scans/other.json", "[]", "other: no SBOM"),
        ("scans/runner.json", json.dumps([occurrence("CRITICAL")]), "CVE-2026-1"),
    ],
)
def test_command_ends_the_build(
    reports: Path, name: str, content: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is None:
        (reports / name).unlink()
    else:
        (reports / name).write_text(content)
    assert gate(reports) == 1
    assert says in capsys.readouterr().err
