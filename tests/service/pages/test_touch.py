"""Fingers on the film, as a touch screen tells them to Chromium."""

import re

import pytest

from .conftest import ON_PHONE
from .test_viewer import opened, study  # noqa: F401

pytestmark = ON_PHONE  # a desktop has no touch screen


@pytest.fixture
def fingers(opened):  # noqa: F811
    """Touches at places of the stage, in shares of its size: fingers(kind, *places)."""
    session = opened.page.context.new_cdp_session(opened.page)

    def touch(what: str, *places: tuple[float, float]) -> None:
        area = opened.page.locator("#stage").bounding_box()
        points = [
            {"x": area["x"] + x * area["width"], "y": area["y"] + y * area["height"], "id": number}
            for number, (x, y) in enumerate(places)
        ]
        session.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": points})
        opened.page.wait_for_timeout(40)

    opened.touch = touch
    return opened


def zoom(room) -> int:
    return int(re.sub(r"\D", "", room.page.locator("#corner-zoom").inner_text()))


def box(room) -> dict:
    """Of the first finding, on the stage."""
    line = room.page.locator("#marks .finding .line").first
    return {name: float(line.get_attribute(name)) for name in ("x", "y", "width", "height")}


def test_two_fingers_zoom_the_film_and_not_the_page(fingers):
    before = zoom(fingers)
    fingers.touch("touchStart", (0.45, 0.5), (0.55, 0.5))
    for step in range(1, 7):
        fingers.touch("touchMove", (0.45 - step * 0.05, 0.5), (0.55 + step * 0.05, 0.5))
    fingers.touch("touchEnd")
    assert zoom(fingers) > 3 * before
    assert fingers.page.evaluate("visualViewport.scale") == 1
    assert fingers.page.evaluate("scrollY") == 0
    fingers.touch("touchStart", (0.2, 0.5), (0.8, 0.5))
    for step in range(1, 7):
        fingers.touch("touchMove", (0.2 + step * 0.04, 0.5), (0.8 - step * 0.04, 0.5))
    fingers.touch("touchEnd")
    assert zoom(fingers) < 3 * before


def test_what_lies_between_the_fingers_stays_there(fingers):
    # Two fingers that only move apart keep the middle between them.
    def middle() -> list[float]:
        return fingers.page.evaluate(
            """() => {
              const line = document.querySelector("#marks .finding .line");
              const at = (name) => Number(line.getAttribute(name));
              return [at("x") + at("width") / 2, at("y") + at("height") / 2];
            }"""
        )

    area = fingers.page.locator("#stage").bounding_box()
    x, y = middle()
    place = (x / area["width"], y / area["height"])
    fingers.touch("touchStart", (place[0] - 0.05, place[1]), (place[0] + 0.05, place[1]))
    for step in range(1, 6):
        apart = 0.05 + step * 0.02
        fingers.touch("touchMove", (place[0] - apart, place[1]), (place[0] + apart, place[1]))
    fingers.touch("touchEnd")
    assert middle() == pytest.approx([x, y], abs=3)


def test_one_finger_moves_the_film_and_windows_when_told_so(fingers):
    before = box(fingers)
    swipe = [(0.5 + step * 0.03, 0.5 + step * 0.02) for step in range(6)]

    def go() -> None:
        fingers.touch("touchStart", swipe[0])
        for place in swipe[1:]:
            fingers.touch("touchMove", place)
        fingers.touch("touchEnd")

    go()
    area = fingers.page.locator("#stage").bounding_box()
    assert box(fingers)["x"] == pytest.approx(before["x"] + 0.15 * area["width"], abs=4)
    moved, window = box(fingers), fingers.page.locator("#corner-window").inner_text()
    fingers.page.locator("[role=radio][data-mode=window]").tap()
    go()
    assert box(fingers) == moved
    assert fingers.page.locator("#corner-window").inner_text() != window


def test_a_box_is_drawn_by_a_finger_and_the_second_one_draws_none(fingers):
    fingers.page.locator("#boxes [data-mode=box]").tap()
    fingers.page.wait_for_timeout(200)
    fingers.touch("touchStart", (0.3, 0.3))
    for step in range(1, 6):
        fingers.touch("touchMove", (0.3 + step * 0.05, 0.3 + step * 0.05))
    fingers.touch("touchEnd")
    assert fingers.page.locator("#boxes li").count() == 1
    before = zoom(fingers)
    fingers.touch("touchStart", (0.4, 0.6))
    fingers.touch("touchStart", (0.4, 0.6), (0.6, 0.6))
    for step in range(1, 6):
        fingers.touch("touchMove", (0.4 - step * 0.04, 0.6), (0.6 + step * 0.04, 0.6))
    fingers.touch("touchEnd")
    assert fingers.page.locator("#boxes li").count() == 1
    assert zoom(fingers) > before


def test_the_page_is_scrolled_by_a_finger_beside_the_film(fingers):
    """Not over it, but over the reading, which follows below on a phone."""
    page = fingers.page
    page.locator("#verdict").scroll_into_view_if_needed()
    session = page.context.new_cdp_session(page)
    area = page.locator("#verdict").bounding_box()
    start = {"x": area["x"] + 40, "y": min(area["y"] + 60, 700)}
    session.send("Input.synthesizeScrollGesture", start | {"yDistance": -300, "speed": 2000})
    fingers.until("scrollY > 150")
