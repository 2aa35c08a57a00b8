"""The drawn numbers stand where they should."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.report.charts import (
    axis_for,
    difference_axis,
    difference_bar,
    interval_bar,
    spread_bars,
)

FLOATS = st.floats(-50, 50, allow_nan=False)


@given(st.lists(FLOATS, min_size=1, max_size=8))
def test_axes_hold_their_values(values):
    low, high = axis_for(values)
    assert low <= min(values) <= max(values) <= high
    low, high = difference_axis(values)
    assert low == -high
    assert high >= max(abs(value) for value in values)


def place(svg: str, name: str, attribute: str) -> float:
    (node,) = [node for node in ET.fromstring(svg) if node.get("class") == name]
    return float(node.get(attribute).rstrip("%"))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_interval_is_drawn_to_scale(first, second, mean):
    low, high = sorted((first, second))
    svg = interval_bar(mean, (low, high), (0.0, 1.0))
    assert place(svg, "mean", "cx") == pytest.approx(100 * mean, abs=0.051)
    assert place(svg, "interval", "x") == pytest.approx(100 * low, abs=0.051)
    assert place(svg, "interval", "width") == pytest.approx(max(100 * (high - low), 0.5), abs=0.051)


def test_a_difference_starts_at_zero():
    svg = difference_bar(-0.1, (-0.15, -0.05), (-0.2, 0.2), "worse")
    assert place(svg, "stem", "x") == 25
    assert place(svg, "stem", "width") == 25
    assert "mean -0.100, 95% interval -0.150 to -0.050" in svg


def test_no_interval_is_said_not_drawn():
    svg = interval_bar(0.5, None, (0.0, 1.0))
    assert "no interval" in svg
    assert 'class="interval"' not in svg


def test_the_spread_counts_every_value():
    svg = spread_bars([0.0, 0.01, 0.99, 1.0], (0.0, 1.0))
    bars = re.findall(r'class="bin" x="([\d.]+)%"', svg)
    assert [float(bar) for bar in bars] == [0.4, 95.4]
    assert "4 pictures, from 0.000 to 1.000" in svg
    assert "no picture measured" in spread_bars([], (0.0, 1.0))
