"""The picture of a replay."""

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from lorax_batch_scheduler.replay import compare_policies, parse_trace
from lorax_batch_scheduler.replay.plot import IN_TIME, LANE, MISSED, NAMED_JOBS, plot_report
from lorax_batch_scheduler.replay.plot_scale import MOST_TICKS, TimeScale
from lorax_batch_scheduler.replay.plot_svg import family_colour

from tests.unit.traces.small_trace import encoded, small_tree

SVG = "{http://www.w3.org/2000/svg}"


def draw(tree: dict[str, Any], *policies: str) -> ET.Element:
    report = compare_policies(parse_trace(encoded(tree)), policies or ("setup_aware_fair",))
    return ET.fromstring(plot_report(report))


def texts(picture: ET.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def filled(elements: Iterable[ET.Element], fill: str) -> list[ET.Element]:
    """Return what is drawn so outside the legend: it has a hint."""
    return [one for one in elements if one.get("fill") == fill and one.find(f"{SVG}title") is not None]


def test_servers_are_drawn_in_their_familys_colour_and_their_starts_hatched() -> None:
    picture = draw(small_tree())
    bars = list(picture.iter(f"{SVG}rect"))
    for number in range(2):
        assert filled(bars, family_colour(number))
    assert filled(bars, "url(#hatch)")
    assert picture.find(f".//{SVG}pattern[@id='hatch']") is not None


def test_slots_families_and_the_axis_are_named() -> None:
    said = texts(draw(small_tree()))
    assert {"small", "s0", "s1", "f", "g", "starting", "0:00:00", "j0", "j1"} <= set(said)
    assert "jobs end" not in said


def test_many_jobs_are_marked_on_one_line() -> None:
    tree = small_tree()
    tree["jobs"] += [tree["jobs"][1] | {"id": f"more-{number}"} for number in range(NAMED_JOBS)]
    said = set(texts(draw(tree)))
    assert "jobs end" in said
    assert "j0" not in said


def test_every_policy_has_a_panel() -> None:
    said = texts(draw(small_tree(), "setup_aware_fair", "ffd"))
    assert [text.split(":")[0] for text in said if " x the bound" in text] == ["setup_aware_fair", "ffd"]


def test_ends_and_deadlines_are_marked_and_missed_ones_stand_out() -> None:
    tree = small_tree()
    tree["jobs"][0]["deadline_s"] = 30
    tree["jobs"][1]["deadline_s"] = 100
    tree["jobs"][1]["arrival_s"] = 0
    marks = list(draw(tree).iter(f"{SVG}polygon"))
    hints = [title.text or "" for mark in filled(marks, MISSED) if (title := mark.find(f"{SVG}title")) is not None]
    assert any(hint.startswith("j0 (f)") for hint in hints)
    assert len(filled(marks, MISSED)) + len(filled(marks, IN_TIME)) == 2
    assert len(filled(marks, family_colour(0)) + filled(marks, family_colour(1))) == 2


def test_a_slot_that_is_away_shows() -> None:
    hints = [title.text for title in draw(small_tree()).iter(f"{SVG}title")]
    assert "s1 is away" in hints


@pytest.mark.parametrize("name", ["<script>&\"'", "a\u0000b\u001b[31m", "\ufffe", "x" * 400, "日本語 \u202e"])
def test_any_name_gives_a_picture_that_is_well_formed(name: str) -> None:
    tree = small_tree()
    tree["name"] = tree["families"][0]["id"] = tree["jobs"][0]["family"] = tree["slots"][0]["id"] = name
    tree["jobs"][0]["id"] = name
    assert draw(tree).tag == f"{SVG}svg"


def test_many_families_do_not_flood_the_legend() -> None:
    tree = small_tree()
    tree["families"] += [{"id": f"more-{number}", "model": "m"} for number in range(60)]
    said = texts(draw(tree))
    assert any("and 32 more families" in text for text in said)
    assert "more-50" not in said


def test_servers_that_share_a_slot_stand_below_each_other() -> None:
    tree = small_tree()
    tree["slots"] = tree["slots"][:1]
    tree["failures"] = []
    small = {"parameters": 10**9, "weight_bytes": 2 * 10**9, "kv_bytes_per_token": 32_768}
    tree["models"] = [{"name": "m", **small}]
    tree["jobs"][0]["rows"][0] |= {"count": 4_000}
    tree["jobs"][1]["drawn"] |= {"count": 4_000}
    report = compare_policies(parse_trace(encoded(tree)), ["setup_aware_fair"])
    stays = report.runs[0].outcome.stays
    picture = ET.fromstring(plot_report(report))
    spans = [
        (float(bar.get("x", 0)), float(bar.get("x", 0)) + float(bar.get("width", 0)), bar.get("y"))
        for number in range(2)
        for bar in filled(picture.iter(f"{SVG}rect"), family_colour(number))
        if bar.get("height") == str(LANE - 2)
    ]
    assert len(spans) == len(stays)
    for index, (begin, end, row) in enumerate(spans):
        for other_begin, other_end, other_row in spans[:index]:
            assert row != other_row or end <= other_begin + 0.6 or other_end <= begin + 0.6


@pytest.mark.parametrize("span_s", [1.0, 59.0, 3_601.0, 86_400.0, 40 * 86_400.0, 1e9])
def test_the_axis_has_some_ticks_and_not_too_many(span_s: float) -> None:
    ticks = TimeScale(left=0, width=100, span_s=span_s).ticks()
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert len({label for _, label in ticks}) == len(ticks)
