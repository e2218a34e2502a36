import pytest

from .test_viewer import drag


@pytest.fixture
def opened(room, films):
    room.hand_in(films["fracture"])
    [room.study] = room.wait_read(films["fracture"].name)
    room.go(f"/studies/{room.study['id']}")
    room.page.locator("#marks .finding").first.wait_for(state="attached")
    room.page.locator("#review form").wait_for()
    return room


def test_agreeing_needs_two_presses_and_is_kept(opened):
    page = opened.page
    page.keyboard.press("a")
    assert page.locator("[name=decision][value=fracture]").is_checked()
    page.keyboard.press("Control+Enter")
    kept = page.locator("#history li").first
    kept.wait_for()
    assert opened.words["agreed"] in kept.inner_text()
    opened.go(f"/?q={opened.study['name']}")
    page.locator("#list .tag.agreed").wait_for()


def test_disagreeing_with_a_drawn_box_and_a_comment_adds_to_the_history(opened):
    page = opened.page
    page.locator(".pill.disagree").click()
    assert page.locator("[name=decision][value=no_fracture]").is_checked()
    page.locator("[role=radio][data-mode=box]").click()
    page.locator("#stage").focus()
    page.keyboard.press("ArrowLeft")  # there is a margin of 60 pixels on the left now
    drag(opened, 40, 40, at=(0.01, 0.5))
    assert page.locator("#boxes li").count() == 0
    drag(opened, 60, 50, at=(0.4, 0.4))
    page.locator("#boxes li").wait_for()
    across = page.locator("#stage").bounding_box()["width"]
    drag(opened, -0.44 * across, 0, at=(0.45, 0.45))  # off the film: some of it stays on it
    page.locator("#review [type=submit].main").click()
    page.locator("#review .problem", has_text=opened.words["review_boxes"]).wait_for()
    page.locator("#decisions .pill", has_text=opened.words["decide_fracture"]).first.click()
    page.fill("#comment", "Epifiz hattı <b>değil</b>")
    page.locator("#review [type=submit].main").click()
    kept = page.locator("#history li").first
    kept.wait_for()
    said = kept.inner_text()
    assert opened.words["disagreed"] in said
    assert "Epifiz hattı <b>değil</b>" in said
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("a")
    page.locator("#review [type=submit].main").click()
    opened.until("document.querySelectorAll('#history li').length === 2")
    opened.go("/agreement")
    page.locator(".tile").first.wait_for()
    assert page.locator("#by-week svg").count()


def test_a_box_is_made_moved_and_removed_by_the_keyboard(opened):
    page = opened.page
    page.locator("#boxes [data-mode=box]").focus()
    page.keyboard.press("Enter")
    box = page.locator("#marks .own .line")
    box.wait_for(state="attached")
    x = float(box.get_attribute("x"))
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert float(box.get_attribute("x")) > x
    width = float(box.get_attribute("width"))
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_timeout(100)
    assert float(box.get_attribute("width")) > width
    page.keyboard.press("Delete")
    box.wait_for(state="detached")


def test_the_models_boxes_can_be_taken_over_and_corrected(opened):
    page = opened.page
    page.locator("#take").click()
    own = page.locator("#marks .own")
    own.first.wait_for(state="attached")
    assert own.count() == page.locator("#marks .finding").count()


def test_a_review_without_a_decision_is_asked_for_one(opened):
    opened.page.locator("#review [type=submit].main").click()
    opened.page.locator("#review .problem", has_text=opened.words["review_agree_first"]).wait_for()


def test_who_goes_by_the_keyboard_stays_among_the_boxes_and_hears_where_they_are(opened):
    page = opened.page
    draw = page.locator("#boxes [data-mode=box]")
    for _ in range(2):
        draw.focus()
        page.keyboard.press("Enter")
    picks = page.locator("#boxes .pick")
    assert opened.words["place_11"] in picks.nth(1).inner_text()
    page.keyboard.press("Enter")  # it is let go, and stays the one that keys are for
    for _ in range(80):
        page.keyboard.press("ArrowUp")
    assert opened.words["place_01"] in picks.nth(1).inner_text()
    page.keyboard.press("Delete")
    assert page.evaluate("document.activeElement === document.querySelector('#boxes .pick')")
    page.keyboard.press("Delete")
    assert page.evaluate("document.activeElement.dataset.mode") == "box"
