from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.rollout.world import World
from vertex_deploy.rollout.charts import Line, chart, nice
from vertex_deploy.rollout.report import render_report, report_data, write_report

VOID = {"meta", "line", "br"}


class Checker(HTMLParser):
    """Demands that tags match, and collects what would go to the network or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.suspicious: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.suspicious += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href"} or name.startswith("on")]
        if tag in {"script", "link", "iframe", "img", "object"}:
            self.suspicious.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def world() -> World:
    world = World(errors=0.3)
    world.run()
    return world


def test_the_report_is_one_file_that_reaches_for_nothing(world: World) -> None:
    html = render_report(report_data(world.store(), world.record()))
    found = parsed(html)
    assert found.suspicious == []
    assert "url(" not in html
    assert "@import" not in html


def test_the_report_tells_how_it_ended_and_why(world: World) -> None:
    found = parsed(render_report(report_data(world.store(), world.record()))).text
    assert "rolled back" in found
    assert world.record().reason in found
    assert "10%: fail" in found
    assert "gate failed" in found


def test_values_from_outside_are_escaped(world: World) -> None:
    nasty = "<script>alert(1)</script>"
    record = replace(world.record(), reason=nasty, name=nasty, endpoint=nasty)
    html = render_report(report_data(world.store(), record))
    assert nasty not in html
    assert nasty in parsed(html).text


def test_html_and_json_are_kept_beside_the_record(world: World) -> None:
    store, record = world.store(), world.record()
    assert write_report(store, record).endswith(f"{record.id}/report.html")
    data = json.loads(world.blobs.read(f"{record.id}/report.json")[0])
    assert data == json.loads(json.dumps(report_data(store, record), default=str))
    measured = data["intervals"][0]["canary"]
    assert measured["error_rate"] == measured["errors"] / measured["requests"]


def test_a_rollout_that_measured_nothing_has_a_report_too() -> None:
    world = World(first=True)
    world.run()
    assert "Nothing was measured." in parsed(render_report(report_data(world.store(), world.record()))).text


def test_a_gap_breaks_the_line_instead_of_being_bridged() -> None:
    points = [(0.0, 1.0), (1.0, None), (2.0, 1.0)]
    svg = chart("t", [Line(label="canary", colour="canary", points=points)], span=2, unit="")
    assert svg.split('d="')[1].split('"')[0].count("M") == 2


@pytest.mark.parametrize(("value", "end"), [(0.3, 0.5), (1.0, 1.0), (62.0, 100.0), (0.0, 1.0), (180.0, 200.0)])
def test_axes_end_at_round_numbers(value: float, end: float) -> None:
    assert nice(value) == pytest.approx(end)
