"""The bar on the terminal: how far, how fast, how long, how many failed."""

import io

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


def test_the_number_of_files_may_become_known_on_the_way():
    console, out = Console(), io.StringIO()
    console.rich = RichConsole(file=out, force_terminal=True, width=120)
    with console.reading(1) as progress:
        progress(1, None)
        progress(2, 300)
    assert "2/300" in out.getvalue()
