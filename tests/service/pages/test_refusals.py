"""What was refused is said in the page's language: every stable word of the source has its own."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

import kirik
from kirik.service.pages.words import words_of

SOURCE = "\n".join(path.read_text("utf-8") for path in Path(kirik.__file__).parent.rglob("*.py"))
READING = "\n".join(
    path.read_text("utf-8")
    for path in Path(kirik.__file__).parent.rglob("*.py")
    if "service" not in path.parts
)


def found(pattern: str, text: str = SOURCE) -> set[str]:
    return set(re.findall(pattern, text))


@pytest.mark.parametrize("language", ["en", "tr"])
def test_every_stable_word_of_the_source_is_said_in_both_languages(language):
    said = {key for group in words_of(language).values() for key in group}
    reasons = found(r'reason="(\w+)"', READING) | {"gave_up", "too_many", "storage_full"}
    assert len(reasons) > 15
    assert {f"reason_{word}" for word in reasons} <= said
    assert {f"advice_{word}" for word in reasons} <= said
    codes = found(r'(?:Conflict|Invalid|NotAllowed)\([^()]*?, "(\w+)"\)')
    assert len(codes) > 8
    assert {f"problem_{word}" for word in codes} <= said
    own = found(r'Problem\(\d+, [^()]*?, "(\w+)"\)') - {"error"}
    assert {f"problem_{word}" for word in own} <= said
    statuses = found(r'reason, status = "(\w+)"') - {"refused"}
    assert {f"problem_{word}" for word in statuses} <= said
    actions = found(r'record\(\s*session,[^)]*?"([a-z]+\.[a-z_]+)"')
    assert len(actions) > 12
    assert {f"action_{word}" for word in actions} | {
        "action_study.read",
        "action_study.failed",
    } <= said


def test_no_turkish_text_was_left_in_english():
    english, turkish = words_of("en"), words_of("tr")
    alike = {
        f"{group}.{name}"
        for group, words in english.items()
        for name, text in words.items()
        if text == turkish[group][name] and len(text) > 6
    }
    assert {name.rpartition(".")[2] for name in alike} <= {"fact_sha256", "detail_sha256"}


def test_a_file_that_was_not_read_says_why_and_what_to_do_in_the_pages_language(
    room, films, tmp_path, kind
):
    damaged = tmp_path / f"{films['fracture'].stem}-cut.png"
    damaged.write_bytes(films["fracture"].read_bytes()[:2000])
    room.hand_in(damaged)
    [study] = room.wait_read(damaged.name)
    room.go(f"/studies/{study['id']}")
    room.page.locator("#verdict .problem", has_text=room.words["reason_truncated"]).wait_for()
    said = room.page.locator(".side").inner_text()
    if kind["language"] == "tr":
        assert room.words["advice_truncated"] in said
        assert study["error"] not in said
    else:
        assert study["error"][1:] in said
    assert room.page.locator("#review").is_hidden()


def test_a_file_that_was_refused_says_why_and_what_to_do_in_the_pages_language(
    room, tmp_path, kind
):
    note = tmp_path / "note.txt"
    note.write_text("no radiograph")
    room.go()
    room.page.set_input_files("#files", note)
    refused = room.page.locator("#tray li", has_text="note.txt")
    refused.locator(".decision.failed", has_text=room.words["reason_not_an_image"]).wait_for()
    said = refused.locator(".state .small").inner_text()
    assert said.startswith("Not an image; give" if kind["language"] == "en" else "JPEG, PNG")


def test_a_name_that_is_taken_is_told_in_the_pages_language(visit, serve, kind):
    room = visit(serve())
    page = room.page
    room.go("/admin#tokens")

    def make() -> None:
        page.click("[data-open=new-token]")
        page.fill("#token-name", "ct-1")
        page.click("#new-token [type=submit]")

    make()
    page.locator("#token-shown[open]").wait_for()
    page.click("#token-shown [data-close]")
    make()
    problem = page.locator("#new-token .problem:not(:empty)")
    problem.wait_for()
    if kind["language"] == "tr":
        assert problem.inner_text() == room.words["problem_name_taken"]
    else:
        assert "ct-1 is taken" in problem.inner_text()


def test_the_words_of_refusals_name_no_place_that_nobody_fills():
    for language in ("en", "tr"):
        text = (files("kirik.service.pages") / "words" / f"refusals-{language}.json").read_text(
            "utf-8"
        )
        assert not re.search(r"\{\w+\}", text)
