"""A review that was begun when its session ended: for the same person, and for nobody else."""

import httpx
import pytest

from .conftest import ON_PHONE
from .test_administration import PASSWORD, sign_in
from .test_patients import closed, enter, film, shut, signed_in  # noqa: F401

pytestmark = ON_PHONE
COMMENT = "long thought, ince hat"
DRAFTS = "Object.keys(sessionStorage).filter((key) => key.includes('draft')).length"


def sign_out_everywhere(room, name: str) -> None:
    """As a change of rights does."""
    own = {"X-Requested-With": "kirik"}
    with httpx.Client(base_url=f"{room.address}/api/v1", headers=own) as http:
        http.headers["X-CSRF-Token"] = signed_in(http)
        for patients in (False, True):
            answer = http.patch(f"/users/{name}", json={"patients": patients})
            answer.raise_for_status()


@pytest.fixture
def ended(shut):  # noqa: F811
    """A room at whose sign-in page somebody stands who was about to keep a review."""
    page = shut.page
    enter(shut, "uzman")
    page.locator("#list .row a").click()
    page.locator("#review form").wait_for()
    shut.until("!document.querySelector('.film.none')")
    page.locator(".pill.disagree").click()
    page.locator("#decisions .pill", has_text=shut.words["decide_unsure"]).click()
    page.fill("#comment", COMMENT)
    page.locator("#boxes [data-mode=box]").focus()
    page.keyboard.press("Enter")
    page.locator("#boxes li").wait_for()
    shut.study = page.url
    sign_out_everywhere(shut, "uzman")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.locator("#review [type=submit].main").click()
    page.wait_for_url("**/login?next=*")
    assert not asked  # nothing is lost by leaving
    return shut


def test_the_same_person_goes_on_with_it(ended):
    page = ended.page
    sign_in(ended, "uzman", PASSWORD)
    page.wait_for_url(ended.study)
    page.locator(".toast", has_text=ended.words["review_back"]).wait_for()
    assert page.locator("#comment").input_value() == COMMENT
    assert page.locator("[name=agrees][value=false]").is_checked()
    assert page.locator("[name=decision][value=unsure]").is_checked()
    assert page.locator("#boxes li").count() == 1
    page.locator("#review [type=submit].main").click()
    page.locator("#history li", has_text=COMMENT).wait_for()
    page.reload()
    page.locator("#history li", has_text=COMMENT).wait_for()
    page.locator("#review form").wait_for()
    assert page.locator("#comment").input_value() == ""
    assert page.evaluate(DRAFTS) == 0


def test_another_person_finds_nothing_of_it(ended):
    page = ended.page
    assert page.evaluate(DRAFTS) == 1
    sign_in(ended, "boss", PASSWORD)
    page.wait_for_url(ended.study)
    page.locator("#review form").wait_for()
    assert page.locator("#comment").input_value() == ""
    assert page.evaluate(DRAFTS) == 0


def test_signing_out_leaves_nothing_of_it(ended):
    page = ended.page
    sign_in(ended, "uzman", PASSWORD)
    page.wait_for_url(ended.study)
    ended.until(f"document.querySelector('#comment').value === {COMMENT!r}")
    page.click("#menu-button")
    page.click("#sign-out")
    page.wait_for_url("**/login")
    assert page.evaluate("sessionStorage.length") == 0
