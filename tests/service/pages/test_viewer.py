import json

import numpy as np
import pytest
from PIL import Image

from dicom.helpers import content_of, dicom

from .conftest import ON_DESKTOP


@pytest.fixture
def study(room, kind, films, shown) -> dict:
    """Of a film of which the model says fracture."""
    language = kind["language"]
    if language not in shown:
        room.hand_in(films["fracture"])
        [shown[language]] = room.wait_read(films["fracture"].name)
    return shown[language]


@pytest.fixture
def opened(room, study):
    """The viewer of that film, with its findings drawn."""
    room.study = study
    room.go(f"/studies/{study['id']}")
    room.page.locator("#marks .finding").first.wait_for(state="attached")
    return room


PIXEL = """(pixel = document.querySelector("#canvas").getContext("2d").getImageData(
  document.querySelector("#canvas").width >> 1, document.querySelector("#canvas").height >> 1,
  1, 1).data)"""
"""JavaScript: the colour in the middle of the film, as `pixel`."""


def test_the_reading_is_said_in_words_with_what_it_is_not(opened):
    said = opened.page.locator(".side").inner_text()
    assert opened.words["decision_fracture"] in said
    comma = "0,700" if opened.words["fit"] == "Sığdır" else "0.700"
    assert opened.words["means_fracture"].format(high=comma) in said
    assert opened.words["disclaimer_reading"] in said
    assert opened.words["disclaimer"] in opened.page.locator(".film .strip").inner_text()
    spoken = opened.page.locator("#film-text", has_text=opened.words["decision_fracture"])
    spoken.wait_for(state="attached")


VERDICT = """async ([probability, points]) => {
  const { showVerdict } = await import("/static/js/viewer/verdict.js");
  const place = document.createElement("section");
  const decision = probability < points.low ? "no_fracture" : "uncertain";
  const reading = { decision, probability, points };
  showVerdict(place, { state: "read", decision }, reading);
  const ticks = [...place.querySelectorAll(".ticks i")].map((tick) => tick.textContent);
  return [place.querySelector(".chance b").textContent, place.textContent, ticks];
}"""
"""JavaScript: the number of a reading, all that is said of it, and what stands below its scale."""


def test_a_number_never_looks_like_the_point_that_it_lies_beside(opened, kind):
    def local(text: str) -> str:
        return text.replace(".", ",") if kind["language"] == "tr" else text

    points = {"low": 0.0328, "high": 0.2513}
    number, said, ticks = opened.page.evaluate(VERDICT, [0.0324, points])
    assert number == local("0.032")
    assert opened.words["means_no_fracture"].format(low=local("0.033")) in said
    assert ticks == [local("0.033"), local("0.251"), "1"]
    number, _, ticks = opened.page.evaluate(VERDICT, [0.00001, {"low": 0.4, "high": 0.45}])
    assert number == local("0.001")
    assert ticks == ["0", local("0.400 – 0.450"), "1"]


def test_the_evidence_is_laid_over_as_strongly_as_the_slider_says(opened):
    opened.page.keyboard.press("f")
    tinted = f"{PIXEL} && pixel[0] > pixel[2] + 60"
    plain = f"{PIXEL} && pixel[0] === pixel[2]"
    for value, expected in (("0", plain), ("100", tinted)):
        opened.page.locator("#opacity").fill(value)
        opened.until(expected)
    for expected in (plain, tinted):
        opened.page.locator("[data-do=evidence]").click()
        opened.until(expected)


SHAPE = """(() => {
  const canvas = document.querySelector("#canvas");
  const { width, height } = canvas;
  if (!width || !height) return 0; // it has not been laid out yet
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const bright = (x, y) => data[4 * (y * width + x)] > 100;
  const across = [...Array(width).keys()].filter((x) => bright(x, height >> 1)).length;
  const down = [...Array(height).keys()].filter((y) => bright(width >> 1, y)).length;
  return across / down;
})()"""
"""JavaScript: how wide the film is for its height."""


def test_pixels_that_are_no_squares_are_drawn_in_their_true_shape(room, films, tmp_path):
    pixels = np.asarray(Image.open(films["fracture"]))[:, ::4]  # 256 rows of 64 columns
    path = tmp_path / f"{films['fracture'].stem}.dcm"
    path.write_bytes(content_of(dicom(pixels, 8, PixelSpacing=[0.1, 0.2])))
    room.hand_in(path)
    [study] = room.wait_read(path.name)
    room.go(f"/studies/{study['id']}")
    room.until(f"Math.abs({SHAPE} - 0.5) < 0.02")
    room.page.locator("[data-do=rotate]").click()
    room.until(f"Math.abs({SHAPE} - 2) < 0.08")


DASHES = """async (dashed) => {
  const { Marks } = await import("/static/js/viewer/marks.js");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const box = { x: 10, y: 10, width: 20, height: 20 };
  const findings = [0.9, 0.2].map((score, place) => ({ ...box, score, number: place + 1 }));
  const view = { stage: { width: 100, height: 100 }, box: () => box };
  new Marks(svg).draw(view, { findings, dashed, own: [], draft: null, selected: -1 });
  return [...svg.querySelectorAll(".line")].map((line) => line.hasAttribute("stroke-dasharray"));
}"""
"""JavaScript: whether the lines of a strong and of a faint finding are dashed."""


def test_a_faint_finding_is_dashed_and_all_are_where_a_person_must_decide(opened):
    assert opened.page.evaluate(DASHES, False) == [False, True]
    assert opened.page.evaluate(DASHES, True) == [True, True]


def test_boxes_are_switched_together_and_one_by_one(opened):
    boxes = opened.page.locator("#marks .finding")
    count = boxes.count()
    assert count
    opened.page.locator("#found input").first.uncheck()
    opened.until(f"document.querySelectorAll('#marks .finding').length < {count}")
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("f")
    opened.until("!document.querySelector('#marks .finding')")
    opened.page.locator("[data-do=findings]").click()
    opened.until(f"document.querySelectorAll('#marks .finding').length === {count}")


def test_dragging_sets_window_and_level_and_moves_the_film(opened):
    opened.page.locator("[role=radio][data-mode=window]").click()
    before = opened.page.locator("#corner-window").inner_text()
    drag(opened, 60, 30)
    assert opened.page.locator("#corner-window").inner_text() != before
    opened.page.locator("[data-do=reset]").click()
    opened.page.wait_for_timeout(100)
    assert opened.page.locator("#corner-window").inner_text() == before
    opened.page.locator("[role=radio][data-mode=move]").click()
    edge = opened.page.locator("#marks .finding rect").first
    x = float(edge.get_attribute("x"))
    drag(opened, 40, 0)
    assert float(edge.get_attribute("x")) == pytest.approx(x + 40, abs=2)


def drag(room, dx: float, dy: float, at=(0.5, 0.5)) -> None:
    area = room.page.locator("#stage").bounding_box()
    x, y = area["x"] + area["width"] * at[0], area["y"] + area["height"] * at[1]
    room.page.mouse.move(x, y)
    room.page.mouse.down()
    room.page.mouse.move(x + dx, y + dy, steps=4)
    room.page.mouse.up()
    room.page.wait_for_timeout(100)


def test_every_tool_has_its_key(opened):
    page = opened.page
    page.keyboard.press("e")
    opened.until(f"{PIXEL} && pixel[0] === pixel[2] && pixel[0] > 150")
    page.keyboard.press("i")
    opened.until(f"{PIXEL} && pixel[0] < 105")
    page.keyboard.press("Shift+ArrowDown")
    page.locator("#corner-window", has_text="134").wait_for()
    page.keyboard.press("r")
    page.locator("#corner-zoom", has_text="90°").wait_for()
    page.keyboard.press("+")
    page.keyboard.press("z")
    opened.until("!document.querySelector('#corner-zoom').textContent.includes('90°')")
    page.locator("#corner-window", has_text="128").wait_for()
    page.keyboard.press("w")
    assert page.locator("[role=radio][data-mode=window]").get_attribute("aria-checked") == "true"
    page.keyboard.press("e")
    page.keyboard.press("?")
    page.locator("#help[open]").wait_for()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("m")  # switched off: nothing happens
    assert page.locator("[role=radio][data-mode=window]").get_attribute("aria-checked") == "true"


@ON_DESKTOP  # a phone has no wheel
def test_the_wheel_zooms_where_it_points(opened):
    opened.page.locator("#stage").hover()
    before = opened.page.locator("#corner-zoom").inner_text()
    opened.page.mouse.wheel(0, -300)
    opened.page.wait_for_timeout(150)
    assert opened.page.locator("#corner-zoom").inner_text() != before


def test_next_and_previous_follow_the_list(room, films):
    room.hand_in(*films.values())
    room.wait_read(*(path.name for path in films.values()))
    room.go("/?q=" + films["fracture"].name.split("-")[0])
    room.page.locator("#list .row").nth(2).wait_for()
    room.page.locator("#list .row a").first.click()
    room.page.locator("#verdict .decision.fracture").wait_for()
    room.page.locator("#next[href]").wait_for()
    room.page.keyboard.press("n")
    room.page.locator("#verdict .decision.uncertain").wait_for()
    room.page.locator("#previous[href]").wait_for()
    room.page.locator("#previous").click()
    room.page.locator("#verdict .decision.fracture").wait_for()


def test_report_picture_and_record_are_taken_away(opened, tmp_path):
    taken = {}
    for name in ("pdf", "png", "json"):
        with opened.page.expect_download() as waiting:
            opened.page.locator(f"#{name}").click()
        taken[name] = tmp_path / name
        waiting.value.save_as(taken[name])
    assert taken["pdf"].read_bytes().startswith(b"%PDF-")
    assert taken["png"].read_bytes().startswith(b"\x89PNG")
    [record] = json.loads(taken["json"].read_text())
    assert record["decision"] == "fracture"


def test_a_study_that_is_gone_is_said_so(room):
    room.go("/studies/" + "0" * 28)
    room.page.locator("h1", has_text=room.words["gone"]).wait_for()


def test_where_every_class_is_a_fracture_its_name_is_the_decision(room, films):
    room.hand_in(films["fracture"])
    [study] = room.wait_read(films["fracture"].name)

    def renamed(route) -> None:
        said = route.fetch().json()
        for one in (said, *said["readings"]):
            one |= {"decision": "spiral", "probability": None}
        route.fulfill(json=said)

    room.page.route(f"**/api/v1/studies/{study['id']}", renamed)
    room.go(f"/studies/{study['id']}")
    room.page.locator("#verdict .decision", has_text="spiral").wait_for()
    assert room.page.title().startswith("spiral · ")
    listed = [
        {"id": str(place), "state": "read", "decision": name, "probability": probability}
        for place, (name, probability) in enumerate(
            [("uncertain", 0.5), ("spiral", None), ("fracture", 0.9)]
        )
    ]
    order = "(all) => import('/static/js/reading.js').then((it) => all.sort(it.byUrgency))"
    found = room.page.evaluate(order, listed)
    assert [one["decision"] for one in found] == ["fracture", "spiral", "uncertain"]
