"""Plots as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.monitoring.report.drawing import HEIGHT, WIDTH, Layer, areas, columns, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    return ET.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize(
    ("most", "found"),
    [
        *((0, [0, 1]), (5e-324, [0, 1]), (1, [0, 0.5, 1])),
        *((4, [0, 1, 2, 3, 4]), (7, [0, 2, 4, 6, 8]), (300, [0, 100, 200, 300])),
    ],
)
def test_ticks(most, found):
    assert ticks(most) == found


@given(st.floats(1e-6, 1e12))
def test_ticks_reach_the_top_and_are_few(most):
    marks = ticks(most)
    assert marks[-1] >= most * (1 - 1e-6)
    assert 2 <= len(marks) <= 6
    assert marks == sorted(marks)


values = st.lists(st.floats(0, 1e9), min_size=1, max_size=40)


@given(values)
def test_areas_stay_within_the_plot(heights):
    plot = parsed(areas([Layer("done", "done", heights), Layer("a < b", "failed", heights)], 60.0, 'a "title"'))
    polygons = plot.findall(f"{SVG}polygon")
    assert [p.get("class") for p in polygons] == ["done", "failed"]
    for polygon in polygons:
        for point in polygon.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert -0.1 <= y <= HEIGHT
    assert polygons[1].find(f"{SVG}title").text == "a < b"
    assert plot.get("aria-label") == 'a "title"'


def test_columns():
    layers = [Layer("fit", "app0", [1, 0, 3]), Layer("<b>", "app1", [0, 2, 1])]
    plot = parsed(columns(layers, ["1 s", "3 s", "10 s"], "t"))
    bars = plot.findall(f"{SVG}rect")
    assert [bar.find(f"{SVG}title").text for bar in bars] == [
        "fit, up to 1 s: 1", "<b>, up to 3 s: 2", "fit, up to 10 s: 3", "<b>, up to 10 s: 1",
    ]  # fmt: skip
    heights = [float(bar.get("height")) for bar in bars]
    assert heights[2] == pytest.approx(3 * heights[0], abs=0.2)


def test_nothing_to_draw():
    assert areas([], 1.0, "t") == ""
    assert areas([Layer("x", "x", [])], 1.0, "t") == ""
    assert columns([], [], "t") == ""
