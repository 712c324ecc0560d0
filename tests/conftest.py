"""What all tests share: which of them stay in one process when several run them, and the figures that they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIGURE = "figure"


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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `pytest -n 4 --dist loadgroup`: what shares a fixture (a Local Vertex, a compiled model) shares a worker.

    What is run against Local Vertex comes first: it waits for clocks, and what only computes fills the time.
    """
    items.sort(key=lambda item: not item.nodeid.startswith("tests/e2e/"))
    for item in items:
        if (group := group_of(item)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def group_of(item: pytest.Item) -> str | None:
    """The folder or module that a test shares a fixture with, or None."""
    assert isinstance(item, pytest.Function)
    # pytest has no public way to a test's fixtures other than their names.
    found = [definition for named in item._fixtureinfo.name2fixturedefs.values() for definition in named]
    ours = {definition.scope: definition.baseid for definition in found if definition.baseid.startswith("tests")}
    return ours.get("session") or (item.path.stem if {"module", "package"} & ours.keys() else None)
