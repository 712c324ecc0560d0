from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.rollout.world import World, spec_with, step_to
from vertex_deploy.rollout import session
from vertex_deploy.rollout.charts import Line, chart, nice
from vertex_deploy.rollout.machine import Ending, Phase
from vertex_deploy.rollout.report import render_report, report_data, write_report
from vertex_deploy.rollout.report_style import STYLE
from vertex_deploy.rollout.requests import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

VOID = {"meta", "line", "br"}


class Checker(HTMLParser):
    """Demands that tags match, and collects what would go to the network or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.suspicious: list[str] = []
        self.text = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
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


def test_every_gate_has_a_plot_and_every_reading_and_event_is_told() -> None:
    gates = [{"metric": "error_rate", "max": "1%"}, {"metric": "latency_p95", "max": "500ms"}]
    world = World(spec=spec_with(gates=gates), errors=0.3)
    world.run()
    store, record = world.store(), world.record()
    data = report_data(store, record)
    html = render_report(data)
    text, log = parsed(html).text, store.log(record.id)
    assert re.findall(r"https?://[^\s\"'<>]+", html) == []
    titles = re.findall(r'<svg [^>]*aria-label="([^"]*)"', html)
    for check in data["checks"]:
        assert [title for title in titles if check["gate"] in title], f"no plot of {check['gate']}: {titles}"
    explained = [reading["explanation"] for verdict in data["verdicts"] for reading in verdict["readings"]]
    assert len(explained) >= len(gates)
    assert [sentence for sentence in explained if sentence not in text] == []
    assert len(log) > 10
    rows = re.findall(r"<tr", html.split('class="events"')[1].split("</table>")[0])
    assert len(rows) == len(log) + 1
    assert [entry.text for entry in log if entry.text not in text] == []


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


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all strings, those of one kind (list items) once."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index in {0, len(value) - 1} if value else ():
            yield from leaves(value[index], (*path, index))
    elif isinstance(value, str):
        yield path


def test_no_string_of_a_report_can_become_markup(world: World) -> None:
    data = json.loads(json.dumps(report_data(world.store(), world.record()), default=str))
    data["split"].append({"seconds": 1.0, "split": {'"><script>': 100}})
    tags, tried = parsed(render_report(data)).tags, 0
    for path in leaves(data):
        spoiled = json.loads(json.dumps(data))
        held = spoiled
        for key in path[:-1]:
            held = held[key]
        held[path[-1]] = "'\"></title></style></script><script>alert(1)</script>"
        try:
            html = render_report(spoiled)
        except (KeyError, TypeError):
            continue  # a word of ours (an outcome, a unit), which chooses what is drawn
        found = parsed(html)
        assert found.suspicious == [], path
        assert found.tags <= tags, path
        tried += 1
    assert tried > 40


SCHEMES = re.findall(r":root\{([^}]*)\}", STYLE)
TEXT = ("ink", "soft", "good", "bad", "wait")
DRAWN = ("stable", "canary", "other")


def luminance(colour: str) -> float:
    """WCAG 2: relative luminance of #rgb or #rrggbb."""
    digits = colour.lstrip("#")
    parts = [digits[i : i + 2] for i in (0, 2, 4)] if len(digits) == 6 else [digit * 2 for digit in digits]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(p, 16) / 255 for p in parts)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_text_and_lines_can_be_told_from_the_paper(scheme: str) -> None:
    colours = dict(re.findall(r"--(\w+):(#\w+)", scheme))
    paper = luminance(colours["paper"])
    for name, least in [*((name, 4.5) for name in TEXT), *((name, 3.0) for name in DRAWN)]:
        light, dark = sorted((paper, luminance(colours[name])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, name


def test_versions_can_be_told_apart_without_colours(world: World) -> None:
    widths = {
        version: float(re.findall(rf"svg path\.{version}\{{[^}}]*stroke-width:([\d.]+)", STYLE)[0])
        for version in ("stable", "canary")
    }
    assert widths["canary"] >= 2 * widths["stable"]
    legend = {
        version: int(re.findall(rf"\.legend \.{version}:before\{{border-top-width:(\d+)px", STYLE)[0])
        for version in ("stable", "canary")
    }
    assert legend["canary"] >= 2 * legend["stable"]
    # Outcomes and events are words; a colour only repeats them.
    html = render_report(report_data(world.store(), world.record()))
    for row in re.findall(r'<tr class="(\w+)">(.*?)</tr>', html):
        assert row[0] in row[1]


def test_who_cannot_see_a_plot_is_told_where_its_lines_end(world: World) -> None:
    html = render_report(report_data(world.store(), world.record()))
    labels = re.findall(r'<svg [^>]*aria-label="([^"]*)"', html)
    assert labels[0] == "Traffic split; at the end: stable 100%, canary 0%"
    assert all("; at the end: " in label for label in labels)
    assert re.findall(r"<th>", html) == []


def test_the_page_forbids_itself_to_run_or_fetch_anything(world: World) -> None:
    html = render_report(report_data(world.store(), world.record()))
    assert (
        "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\""
        in html.partition("<style")[0]
    )


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


def test_every_change_of_a_verdict_is_kept_with_its_sentences(world: World) -> None:
    data = report_data(world.store(), world.record())
    outcomes = [change["outcome"] for change in data["changes"]]
    assert outcomes[-1] == "fail"
    assert all(a != b for a, b in pairwise(outcomes))
    html = render_report(data)
    text = parsed(html).text
    for change in data["changes"]:
        assert change["readings"][0]["explanation"] in text
    assert f"in {len(outcomes)} verdict" in html


def test_evidence_is_kept_for_every_look_and_drawn_against_what_it_needed(world: World) -> None:
    store, record = world.store(), world.record()
    data = report_data(store, record)
    (check,) = data["checks"]
    logged = [entry.data["verdict"] for entry in store.log(record.id) if "verdict" in entry.data]
    assert [look["evidence"] for look in check["looks"]] == [verdict["readings"][0]["evidence"] for verdict in logged]
    assert check["looks"][-1]["evidence"] >= check["evidence_needed"]
    assert f"fails at {check['evidence_needed']:.4g}" in parsed(render_report(data)).text


def test_a_look_that_found_nothing_new_is_a_verdict_too() -> None:
    world = World(silent=True)
    world.run()
    (last,) = report_data(world.store(), world.record())["verdicts"][-1:]
    assert last["readings"][0]["outcome"] == "insufficient"
    assert "not measured" in last["explanation"]


def test_rates_hold_all_that_was_counted_and_lie_in_their_bands(world: World) -> None:
    data = report_data(world.store(), world.record())
    for version in ("stable", "canary"):
        found = data["rates"]["error_rate"][version]
        counted = sum(item[version]["requests"] for item in data["intervals"] if item[version])
        assert sum(rate["requests"] for rate in found) == counted > 0
        assert all(rate["low"] <= rate["rate"] <= rate["high"] for rate in found)
    assert data["rates"]["error_rate"]["canary"][0]["rate"] == pytest.approx(0.3)


def test_percentiles_that_gates_are_on_are_plotted() -> None:
    gates = [{"metric": "latency_p99.9", "max": "600ms", "min_requests": 100}]
    world = World(spec=spec_with(gates=gates, alerts={"from_gates": False}))
    world.run()
    data = report_data(world.store(), world.record())
    assert list(data["intervals"][0]["stable"]["latency_ms"]) == ["p50", "p95", "p99", "p99.9"]
    text = parsed(render_report(data)).text
    assert "Latency p99.9" in text
    assert "limit 600 ms" in text


def test_two_gates_of_one_name_keep_their_evidence_apart() -> None:
    gates = [{"metric": "error_rate", "max": "1%"}, {"metric": "error_rate", "max": "90%"}]
    world = World(spec=spec_with(gates=gates), errors=0.3)
    world.run()
    strict, lax = report_data(world.store(), world.record())["checks"]
    assert strict["looks"][-1]["evidence"] > 100 > lax["looks"][-1]["evidence"]


def test_whatever_moved_traffic_or_stopped_it_is_marked_in_the_plots() -> None:
    world = World(spec=spec_with(keep_stable="5m"))
    controller = world.start()
    step_to(controller, Phase.KEEPING_STABLE)
    world.ask(Verb.ROLLBACK)
    controller.run()
    html = render_report(report_data(world.store(), world.record()))
    marks = [text.split(">", 1)[1] for text in html.split("</text>") if '<text class="mark"' in text]
    assert ["shift" in marks[0], marks[-2].endswith("100%"), marks[-1].endswith("rollback")] == [True, True, True]


def test_time_without_measurements_breaks_the_lines(world: World) -> None:
    data = report_data(world.store(), world.record())
    kept = [item for item in data["intervals"] if item["stable"] and item["canary"]]
    hole = {**kept[-1], "seconds": kept[-1]["seconds"] + 60}

    def strokes(intervals: list[dict[str, Any]]) -> int:
        html = render_report({**data, "intervals": intervals})
        (path,) = re.findall(r'<path class="canary" d="([^"]*)"', html.split("Latency p95<")[1])[:1]
        return int(path.count("M"))

    assert strokes([*kept, hole]) == strokes(kept) + 1


def test_a_controller_that_slept_until_another_was_done_leaves_the_others_report_alone() -> None:
    world = World()
    slept = world.start()
    slept.tick()
    done = world.start()
    assert done.run().ending is Ending.PROMOTED
    session.put_away(done._store, done)
    name = f"{done.record.id}/report.html"
    written = world.blobs.read(name)
    session.put_away(slept._store, slept)
    assert world.blobs.read(name) == written
    assert not slept.record.over
