"""What a screen reader is given: Chromium's accessibility tree, and what is said in passing."""

from itertools import pairwise

import pytest

from .test_viewer import opened, study  # noqa: F401

NEED_NAMES = {
    *("button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "slider", "tab"),
    *("spinbutton", "region", "navigation", "toolbar", "radiogroup", "dialog", "img"),
    *("tabpanel", "progressbar", "search", "tablist", "listbox"),
}


def tree(room) -> list[dict]:
    """Role, name, level and liveness of all that is told, in reading order."""
    session = room.page.context.new_cdp_session(room.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    by_id, told = {node["nodeId"]: node for node in nodes}, []

    def walk(node: dict) -> None:
        if not node.get("ignored"):
            facts = {one["name"]: one["value"].get("value") for one in node.get("properties", ())}
            name = node.get("name", {}).get("value", "")
            told.append({"role": node["role"].get("value"), "name": name.strip(), **facts})
        for child in node.get("childIds", ()):
            if child in by_id:
                walk(by_id[child])

    walk(nodes[0])
    return told


def named(told: list[dict], role: str) -> list[str]:
    return [node["name"] for node in told if node["role"] == role]


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/", "#list .row"),
        ("/studies/{id}", "#review form"),
        ("/agreement", ".tile"),
        ("/admin#accounts", "#panels:not([hidden])"),
        ("/admin#model", "#model dd"),
        ("/admin#trail", "#trail tbody tr"),
        ("/admin#storage", "#storage .tile"),
        ("/about", "#facts dd"),
        ("/login", "#sign-in"),
        ("/nowhere", "h1"),
    ],
)
def test_each_page_has_names_headings_and_landmarks(room, study, path, there):  # noqa: F811
    room.go(path.format(id=study["id"]))
    room.page.locator(there).first.wait_for()
    told = tree(room)
    assert [n for n in told if n["role"] in NEED_NAMES and not n["name"]] == []
    levels = [int(node["level"]) for node in told if node["role"] == "heading"]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    roles = [node["role"] for node in told]
    assert roles.count("main") == roles.count("banner") == 1
    assert named(told, "RootWebArea")[0].endswith("· kirik")


def test_a_row_of_the_list_is_one_sentence(room, study, kind):  # noqa: F811
    words = room.words
    room.go(f"/?q={study['name']}")
    room.page.locator("#list .row").wait_for()
    [row] = [name for name in named(tree(room), "link") if study["name"] in name]
    assert row.startswith(words["decision_fracture"])
    high = {"en": "0.700", "tr": "0,700"}[kind["language"]]
    for part in (words["probability"], words["means_fracture"].format(high=high)):
        assert part in row


def test_what_was_handed_in_is_told_with_its_decision(room, films):
    room.go()
    told = room.page.locator("#tray [data-read]")
    assert told.get_attribute("role") == "status"
    room.page.set_input_files("#files", films["fracture"])
    said = f"{films['fracture'].name}: {room.words['decision_fracture']}"
    room.page.locator("#tray [data-read]", has_text=said).wait_for(state="attached")


def test_what_a_key_did_to_the_film_is_told(opened):  # noqa: F811
    page, words = opened.page, opened.words
    live = [node for node in tree(opened) if node.get("live") == "polite"]
    assert len(live) >= 3  # the film's state, the verdict, what is said in passing
    page.locator("#stage").focus()
    for key, said in (("i", "inverted"), ("e", "evidence_off"), ("w", "mode_window")):
        page.keyboard.press(key)
        page.locator("#film-state", has_text=words[said]).wait_for(state="attached")
    stage = page.locator("#stage")
    text = page.locator(f"#{stage.get_attribute('aria-describedby')}").inner_text()
    assert words["decision_fracture"] in text


def test_the_tab_key_goes_through_the_page_in_its_order(opened):  # noqa: F811
    page = opened.page
    page.evaluate("document.activeElement.blur()")
    order = []
    for _ in range(60):
        page.keyboard.press("Tab")
        place = page.evaluate(
            """() => {
              const all = [...document.querySelectorAll("*")];
              const one = document.activeElement;
              const area = one.getBoundingClientRect();
              return [all.indexOf(one), one.tagName, area.width > 0 || one.type === "radio"];
            }"""
        )
        if place[1] == "BODY" or (order and place[0] <= order[-1]):
            break
        assert place[2], "the focus is on something that is not there"
        order.append(place[0])
    assert len(order) > 25
    odd = "[tabindex]:not([tabindex='0'], [tabindex='-1'])"
    assert page.locator(odd).count() == 0


def test_the_first_tab_leads_past_the_bar_and_dialogs_give_the_focus_back(opened):  # noqa: F811
    page = opened.page
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    help_ = page.locator("[data-do=help]")
    help_.focus()
    page.keyboard.press("Enter")
    page.locator("#help[open]").wait_for()
    assert "dialog" in [node["role"] for node in tree(opened)]
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.do") == "help"
