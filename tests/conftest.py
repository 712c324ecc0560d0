"""What all tests share: the order of their files, and the figures that they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIGURE = "figure"

# How long an example takes is the machine's, not the property's: Hypothesis would fail one that takes 200 ms.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say a line at the end of the run, also from a worker: counts and times are what people read some tests for."""
    return lambda line: record_property(FIGURE, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [line for report in reports for line in figures(report)]
    if lines:
        terminalreporter.section("figures")
        for line in sorted(lines):
            terminalreporter.write_line(line)


def figures(report: object) -> Iterator[str]:
    if isinstance(report, pytest.TestReport) and report.when == "call":
        yield from (str(value) for name, value in report.user_properties if name == FIGURE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is run against Local Vertex comes first: it waits for clocks, and what only computes fills the time."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/e2e/", "tests/docs/")))
