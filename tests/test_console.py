"""The bar on the terminal: how far, how fast, how long, how many failed."""

import io
import re

import pytest
from rich.console import Console as RichConsole

from kirik.console import Console


def test_the_bar_has_rate_time_left_and_failures():
    console, out = Console(), io.StringIO()
    console.rich = RichConsole(file=out, force_terminal=True, width=120)
    with console.reading(20) as progress:
        for done in range(1, 11):
            progress(done, 20, done // 4)
    text = out.getvalue()
    for word in ("reading", "10/20", "/s", "0:00:0", "2 failed"):
        assert word in text
    assert "0 failed" not in text


@pytest.mark.parametrize("before", [0, 1000])
@pytest.mark.parametrize("seconds", [20, 0.1])
def test_rate_and_time_left_are_those_since_the_beginning(before, seconds):
    """Two batches of 16 readings, each of them at once; a further 28 are left."""
    clock, out, console = [5.0], io.StringIO(), Console()
    console.rich = RichConsole(
        file=out, force_terminal=True, width=120, get_time=lambda: clock[0], color_system=None
    )
    with console.reading(None) as progress:
        for done in range(before + 1, before + 33):
            clock[0] += seconds * (done % 16 == (before + 1) % 16)
            progress(done, before + 60, before=before)
    shown = re.findall(rf"{before + 32}/{before + 60} (\S+) (\S+)", out.getvalue())
    assert shown[-1] == {20: ("0.8/s", "0:00:35"), 0.1: ("160/s", "0:00:01")}[seconds]


@pytest.mark.parametrize("total", [1000, None])
def test_without_a_terminal_there_is_a_line_a_minute(total):
    clock, out, console = [5.0], io.StringIO(), Console()
    console.rich = RichConsole(file=out, width=120, get_time=lambda: clock[0], soft_wrap=True)
    with console.reading(None) as progress:
        for done in range(1, 151):
            clock[0] += 1
            progress(done, total, done // 50, before=0)
    left = [f", 0:{minutes} left" if total else "" for minutes in ("15:40", "14:40")]
    of = " of 1,000" if total else ""
    assert out.getvalue().splitlines() == [
        f"reading: 60{of}, 1/s{left[0]}, 1 failed",
        f"reading: 120{of}, 1/s{left[1]}, 2 failed",
    ]


def test_without_a_terminal_nothing_is_said_in_less_than_a_minute():
    console, out = Console(), io.StringIO()
    console.rich = RichConsole(file=out)
    with console.reading(20) as progress:
        progress(20, 20)
    assert out.getvalue() == ""


def test_the_number_of_files_may_become_known_on_the_way():
    console, out = Console(), io.StringIO()
    console.rich = RichConsole(file=out, force_terminal=True, width=120)
    with console.reading(1) as progress:
        progress(1, None)
        progress(2, 300)
    assert "2/300" in out.getvalue()
