"""What is taken away from the room, and what is taken out of it for good."""

import csv
import zipfile

import pytest

from .conftest import ON_DESKTOP


@pytest.fixture
def judged(room, films):
    """A room with a reading that was agreed to by the page, and its study."""
    room.hand_in(films["fracture"])
    [room.study] = room.wait_read(films["fracture"].name)
    room.go(f"/studies/{room.study['id']}")
    room.page.locator("#review form").wait_for()
    room.page.keyboard.press("a")
    room.page.keyboard.press("Control+Enter")
    room.page.locator("#history li").first.wait_for()
    return room


@ON_DESKTOP
def test_reviews_come_out_as_a_table_and_as_a_data_set(judged, tmp_path):
    page = judged.page
    judged.go("/agreement")
    page.locator(".tile").first.wait_for()
    taken = {}
    for kind in ("csv", "zip"):
        with page.expect_download() as waiting:
            page.locator(f".take a[href$='reviews.{kind}']").click()
        taken[kind] = tmp_path / f"reviews.{kind}"
        waiting.value.save_as(taken[kind])
    with taken["csv"].open() as file:
        assert judged.study["id"] in {row["study"] for row in csv.DictReader(file)}
    with zipfile.ZipFile(taken["zip"]) as archive:
        names = archive.namelist()
        assert {"radiographs.csv", "annotations.json"} <= set(names)
        assert f"images/{judged.study['id']}.png" in names


def test_an_overruled_reading_is_listed_and_leads_to_its_study(judged):
    page = judged.page
    page.locator(".pill.disagree").click()
    page.fill("#comment", f"overruled {judged.study['id'][-6:]}")
    page.locator("#review [type=submit].main").click()
    judged.until("document.querySelectorAll('#history li').length === 2")
    judged.go("/agreement")
    row = page.locator("#overruled li", has_text=judged.study["id"][-6:])
    row.locator("a").click()
    page.wait_for_url(f"**/studies/{judged.study['id']}*")


def test_a_deleted_study_is_gone_after_it_was_asked_twice(judged):
    page = judged.page
    page.locator("#delete").click()
    page.locator("#sure[open]").wait_for()
    page.locator("#sure [data-close]").click()
    assert page.locator("#verdict .decision.fracture").is_visible()
    page.locator("#delete").click()
    page.locator("#delete-now").click()
    page.locator("#list").wait_for(state="attached")
    judged.go(f"/studies/{judged.study['id']}")
    page.locator("h1", has_text=judged.words["gone"]).wait_for()


def test_zoom_fit_and_turning_have_their_buttons(judged):
    page = judged.page
    judged.until("!document.querySelector('.film.none')")
    corner = page.locator("#corner-zoom")
    before = corner.inner_text()
    page.locator("[data-do=in]").click()
    judged.until(f"document.querySelector('#corner-zoom').textContent !== {before!r}")
    page.locator("[data-do=fit]").click()
    judged.until(f"document.querySelector('#corner-zoom').textContent === {before!r}")
    page.locator("[data-do=out]").click()
    judged.until(f"document.querySelector('#corner-zoom').textContent !== {before!r}")
    page.locator("[data-do=rotate]").click()
    page.locator("#corner-zoom", has_text="90°").wait_for()
    page.locator("[data-do=auto]").click()
    judged.until("!document.querySelector('#corner-window').textContent.includes('255')")
    page.locator("[data-do=invert]").click()
    page.locator("[data-do=invert][aria-pressed=true]").wait_for()
    page.locator("[data-do=reset]").click()
    judged.until(f"document.querySelector('#corner-zoom').textContent === {before!r}")
