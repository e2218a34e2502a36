from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from a_reading import reading_of
from kirik.errors import SettingsError
from kirik.operating_points import OperatingPoints
from kirik.output.overlay import draw_marked, draw_overlay, font
from kirik.output.words import TEXTS
from kirik.radiograph import radiograph_from_array, read_radiograph
from kirik.reading.reading import Finding


def changed(path, reading) -> np.ndarray:
    """Where, as shares of width and height, the right panel differs from the left: [n, (y, x)]."""
    picture = np.asarray(draw_overlay(read_radiograph(path), reading)).astype(int)
    panel = 480  # a film of 96 × 64 pixels, drawn 720 high
    left = (picture.shape[1] - 2 * panel - 16) // 2
    one = picture[30:750, left : left + panel]
    other = picture[30:750, left + panel + 16 : left + 2 * panel + 16]
    return np.argwhere(np.abs(one - other).max(axis=2) > 8) / (720, panel)


def test_the_right_panel_differs_where_the_evidence_is_and_nowhere_else(save_radiograph):
    path = save_radiograph("film.png", 0.5)
    places = changed(path, reading_of(path))
    assert len(places)
    assert places.min(axis=0) == pytest.approx((0.47, 0.22), abs=0.06)
    assert places.max(axis=0) == pytest.approx((0.67, 0.50), abs=0.06)
    nothing = reading_of(path, findings=(), evidence=None)
    assert len(changed(path, nothing)) == 0


def test_a_box_in_a_turned_file_is_drawn_where_it_is_upright(save_radiograph):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored 64 rows × 96 columns, shown 96 × 64
    path = save_radiograph("turned.png", 0.5, shape=(64, 96), exif=exif)
    box = Finding(48, 64 - 32, 16, 16, 0.97)
    places = changed(path, reading_of(path, findings=(box,), evidence=None))
    assert places[:, 0].min() == pytest.approx(0.47, abs=0.06)
    assert places[:, 1].min() == pytest.approx(0.25, abs=0.03)
    assert places[:, 1].max() == pytest.approx(0.50, abs=0.03)


def test_each_language_has_all_words_and_its_own_caption(save_radiograph):
    assert set(TEXTS["en"]) == set(TEXTS["tr"])
    path = save_radiograph("film.png", 0.5)
    film, reading = read_radiograph(path), reading_of(path)
    english, turkish = (np.asarray(draw_overlay(film, reading, code)) for code in ("en", "tr"))
    assert english.shape == turkish.shape
    assert (english != turkish).any()
    with pytest.raises(SettingsError, match="'de'"):
        draw_overlay(film, reading, "de")


def test_the_caption_names_the_operating_points_where_there_are_some(save_radiograph):
    path = save_radiograph("film.png", 0.5)
    film, points = read_radiograph(path), OperatingPoints(0.1, 0.4)
    plain = draw_overlay(film, reading_of(path))
    assert draw_overlay(film, reading_of(path, points=points)).height > plain.height


def test_the_caption_says_where_no_place_stands_out():
    film = radiograph_from_array(np.full((96, 64), 0.5))

    def height(evidence, findings=()) -> int:
        reading = reading_of("film.png", findings=findings, evidence=evidence)
        return draw_overlay(film, reading).height

    faint, strong = (np.full((12, 8), level, np.float32) for level in (0.05, 0.5))
    without = height(None)
    assert height(strong) == height(faint, (Finding(16, 48, 16, 16, 0.05),)) == without
    assert height(faint) > without


def test_the_caption_rounds_no_probability_to_certainty():
    film = radiograph_from_array(np.full((96, 64), 0.5))
    nearly, less, one = (
        np.asarray(draw_overlay(film, reading_of("film.png", probability=p)))
        for p in (0.9997, 0.999, 1.0)
    )
    assert (nearly == less).all()
    assert (nearly != one).any()


def test_hardware_that_the_model_sees_is_told_in_the_caption():
    film = radiograph_from_array(np.full((96, 64), 0.5))
    heights = [
        draw_overlay(film, reading_of("film.png", **said)).height
        for said in ({}, {"attributes": {"hardware": 0.9}}, {"warnings": ("hardware",)})
    ]
    assert heights[0] < heights[1] == heights[2]


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (3, 3), (500, 500)])
def test_a_film_of_any_shape_is_drawn_with_its_whole_caption(save_radiograph, shape):
    path = save_radiograph("film.png", 0.5, shape=shape)
    classes = {f"a fracture of the {i}th kind": 0.05 for i in range(20)}
    reading = reading_of(path, probability=None, probabilities=classes, findings=())
    picture = draw_overlay(read_radiograph(path), reading)
    assert picture.width >= 640
    ink = np.asarray(picture).max(axis=2) > 60
    assert not ink[:, -8:].any()
    assert not ink[-8:].any()


@pytest.mark.parametrize("ground", [0.0, 0.5, 1.0])
def test_evidence_is_warm_and_has_a_yellow_contour_on_dark_and_on_bright(save_radiograph, ground):
    path = save_radiograph("film.png", ground)
    radiograph = read_radiograph(path)
    marked = draw_marked(radiograph, reading_of(path, findings=())).astype(int)
    red, green, blue = np.moveaxis(marked, 2, 0)
    yellow = (red > 200) & (green > 200) & (blue < 100)
    rows, columns = np.nonzero(yellow)
    assert (rows.min() / 720, rows.max() / 720) == pytest.approx((0.5, 0.67), abs=0.06)
    assert (columns.min() / 480, columns.max() / 480) == pytest.approx((0.25, 0.5), abs=0.06)
    middle = marked[420, 180]
    assert middle[0] - middle[2] > 80
    faint = reading_of(path, findings=(), evidence=np.full((12, 8), 0.08, np.float32))
    assert np.ptp(draw_marked(radiograph, faint), axis=2).max() == 0


@pytest.mark.parametrize(("decision", "score"), [("uncertain", 0.97), ("fracture", 0.2)])
def test_a_box_for_a_person_to_decide_and_a_faint_one_is_of_dashes(
    save_radiograph, decision, score
):
    radiograph = read_radiograph(save_radiograph("film.png", 0.5))

    def drawn(decision: str, score: float) -> np.ndarray:
        box = (Finding(16, 48, 16, 16, score),)
        reading = reading_of("film.png", decision=decision, findings=box, evidence=None)
        # The score stands above the box.
        marked = draw_marked(radiograph, reading)[48 * 720 // 96 - 8 :]
        return (marked == (0x56, 0xB4, 0xE9)).all(axis=2)

    solid, dashed = drawn("fracture", 0.97), drawn(decision, score)
    assert not (dashed & ~solid).any()
    assert 0.4 < dashed.sum() / solid.sum() < 0.75
    for axis in (0, 1):  # as far as the solid one on every side, and with gaps in each
        reach = [np.flatnonzero(one.any(axis=axis)) for one in (solid, dashed)]
        assert (reach[0][[0, -1]] == reach[1][[0, -1]]).all()


def has_blue_of(text: str, marked: np.ndarray, size: int = 14, rim: int = 2) -> bool:
    """Whether a label stands somewhere in the picture, whole and with nothing drawn into it."""
    label = Image.new("RGB", (150, 60), "#808080")
    style = {"font": font(size), "stroke_width": rim}
    ImageDraw.Draw(label).text((9, 9), text, "#56b4e9", stroke_fill="#000000", **style)
    left, top, right, bottom = ImageDraw.Draw(label).textbbox((9, 9), text, **style)
    wanted = np.asarray(label).astype(int)[top:bottom, left:right]
    wanted, found = (picture[..., 2] - picture[..., 0] > 40 for picture in (wanted, marked))
    height, width = np.subtract(found.shape, wanted.shape) + 1
    here = np.ones((height, width), bool)
    for (y, x), is_ink in np.ndenumerate(wanted):
        here &= found[y : y + height, x : x + width] == is_ink
    return here.any()


@pytest.mark.parametrize(
    "boxes",
    [
        [(16, 48, 16, 16), (15, 40, 16, 7)],  # the second above the first, where its score was
        [(16, 48, 16, 16), (17, 48, 16, 16), (18, 48, 16, 16)],
        [(0, 0, 64, 96), (0, 0, 9, 9), (55, 0, 9, 9), (55, 87, 9, 9)],
        [(63, 0, 1, 1), (62, 1, 1, 1), (0, 95, 1, 1), (63, 95, 1, 1)],
        [(30 + i % 4, 40 + i // 4, 8, 8) for i in range(8)],
    ],
)
def test_no_score_is_hidden_by_a_box_another_score_or_an_edge(boxes):
    film = radiograph_from_array(np.full((96, 64), 0.5))
    boxes = [Finding(*box, 0.97 - i / 100) for i, box in enumerate(boxes)]
    reading = reading_of("film.png", findings=tuple(boxes), evidence=None)
    marked = draw_marked(film, reading).astype(int)
    for box in boxes:
        assert has_blue_of(f"{box.score:.2f}", marked), box


def test_findings_are_numbered_in_larger_letters_where_a_table_numbers_them():
    film = radiograph_from_array(np.full((96, 64), 0.5))
    boxes = Finding(16, 48, 16, 16, 0.97), Finding(40, 20, 9, 9, 0.4)
    reading = reading_of("film.png", findings=boxes, evidence=None)
    marked = draw_marked(film, reading, "tr", numbered=True).astype(int)
    for label in ("1 · 0,97", "2 · 0,40"):
        assert has_blue_of(label, marked, 23, 3)


def test_pixels_that_are_no_squares_are_drawn_in_their_true_shape_with_their_boxes():
    film = replace(radiograph_from_array(np.full((300, 100), 90, np.uint8)), aspect=0.5)
    reading = reading_of(None, findings=(Finding(50, 150, 20, 60, 0.9),), evidence=None)
    marked = draw_marked(film, reading).astype(int)
    assert marked.shape == (720, 480, 3)
    blue = np.argwhere(marked[..., 2] - marked[..., 0] > 60)
    rows, columns = blue[blue[:, 0] > 360 - 8].T  # below its score
    assert rows.max() == pytest.approx(210 * 720 / 300, abs=5)
    assert columns.max() == pytest.approx(70 * 480 / 100, abs=5)
