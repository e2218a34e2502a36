"""axe-core (MPL-2.0, for these tests alone) finds no serious or critical fault on any page."""

from importlib.resources import files

import pytest

from .conftest import DESKTOP


@pytest.fixture(scope="session")
def axe() -> str:
    pytest.importorskip("axe_playwright_python", reason="needs pip install axe-playwright-python")
    return (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def faults(room, axe: str) -> list[str]:
    room.page.evaluate(axe)
    found = room.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:120]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_no_page_keeps_anybody_out(room, kind, films, axe, tmp_path):
    damaged = tmp_path / f"{films['fracture'].stem}-cut.png"
    damaged.write_bytes(films["fracture"].read_bytes()[:2000])
    room.hand_in(*films.values(), damaged)
    [study, _] = room.wait_read(films["uncertain"].name, damaged.name)
    room.page.emulate_media(color_scheme="light" if kind is DESKTOP else "dark")
    pages = {
        "/": "#list .row",
        f"/studies/{study['id']}": "#marks .finding",
        "/agreement": ".tile",
        "/admin": "#panels:not([hidden])",
        "/admin#trail": "#trail tbody tr",
        "/admin#storage": "#storage .tile",
        "/about": "#facts dd",
        "/login": "#sign-in",
        "/nowhere": "h1",
    }
    for path, there in pages.items():
        room.go(path)
        if "#" in path:  # a mere change of the fragment loads nothing
            room.page.reload()
        room.page.locator(there).first.wait_for(state="attached")
        room.page.wait_for_timeout(100)
        assert faults(room, axe) == [], path
        wider = room.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, path


def test_the_help_and_the_menu_keep_nobody_out(room, films, axe):
    room.hand_in(films["fracture"])
    [study] = room.wait_read(films["fracture"].name)
    room.go(f"/studies/{study['id']}")
    room.page.locator("#marks .finding").first.wait_for(state="attached")
    room.page.click("#menu-button")
    assert faults(room, axe) == []
    room.page.keyboard.press("Escape")
    room.page.locator("[data-do=help]").click()
    assert faults(room, axe) == []
