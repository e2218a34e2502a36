"""Language and theme; and what needs no browser of it."""

import json
import re
from importlib.resources import files

import pytest
from starlette.requests import Request

from kirik.service.pages.choices import language_of
from kirik.service.pages.router import _own_path
from kirik.service.pages.words import words_of


def request(query: str = "", accept: str = "", cookie: str = "") -> Request:
    headers = [(b"accept-language", accept.encode()), (b"cookie", cookie.encode())]
    scope = {"type": "http", "query_string": query.encode(), "headers": headers, "path": "/"}
    return Request(scope)


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ({}, "en"),
        ({"accept": "tr-TR,tr;q=0.9,en;q=0.8"}, "tr"),
        ({"accept": "de,en;q=0.5,tr;q=0.9"}, "tr"),
        ({"accept": "tr;q=0,en"}, "en"),
        ({"accept": ";;q=x,,\x01"}, "en"),
        ({"accept": "tr", "cookie": "kirik_language=en"}, "en"),
        ({"accept": "en", "cookie": "kirik_language=en", "query": "language=tr"}, "tr"),
        ({"query": "language=xx"}, "en"),
    ],
)
def test_the_language_is_the_asked_for_the_remembered_or_the_browsers(asked, language):
    assert language_of(request(**asked)) == language


@pytest.mark.parametrize(
    "path",
    ["//evil.test", "/\\evil.test", "https://evil.test", "evil", "", "/a\nb", "/\t/evil.test"],
)
def test_signing_in_never_leads_to_another_host(path):
    assert _own_path(path) == "/"


def test_signing_in_leads_back_to_where_one_was():
    assert _own_path("/studies/1?frame=2") == "/studies/1?frame=2"


def test_both_languages_say_the_same_things_with_the_same_places():
    english, turkish = words_of("en"), words_of("tr")
    assert {g: set(w) for g, w in english.items()} == {g: set(w) for g, w in turkish.items()}
    for group, words in english.items():
        for name, text in words.items():
            places = re.findall(r"\{(\w+)\}", text)
            other = re.findall(r"\{(\w+)\}", turkish[group][name])
            assert sorted(places) == sorted(other), name


def test_no_page_loads_or_names_another_host():
    pages = files("kirik.service.pages")
    for folder in ("templates", "static/js", "static/css"):
        for file in (pages / folder).rglob("*"):
            if file.is_file():
                addresses = re.findall(r"https?://[^\s\"']+", file.read_text("utf-8"))
                assert {a for a in addresses if "w3.org" not in a} == set(), file


def test_the_language_is_switched_and_remembered(room, kind):
    room.go("/about")
    other = {"en": "tr", "tr": "en"}[kind["language"]]
    room.page.click("#menu-button")
    room.page.click(f"#menu a[hreflang={other}]")
    room.until(f"document.documentElement.lang === '{other}'")
    room.until("!location.search")
    room.go("/")
    assert room.page.evaluate("document.documentElement.lang") == other
    said = json.loads(room.page.locator("#words").inner_text())
    assert said["worklist"] == words_of(other)["said"]["worklist"]


def test_the_viewer_is_dark_unless_light_is_asked_for(room):
    room.page.emulate_media(color_scheme="light")
    for theme, dark in (("auto", True), ("light", False)):
        room.go(f"/studies/{'0' * 28}?theme={theme}")
        ground = room.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) is dark


def test_a_page_that_is_not_there_says_so_in_its_language(room):
    room.go("/nowhere")
    room.page.locator("h1", has_text=room.words["404_title"]).wait_for()
