import numpy as np
import pytest
from PIL import Image

from kirik.bundle import Evidence
from kirik.joining import average_bundles
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing
from kirik.radiograph import read_radiograph
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.peaks import MapPeak, fused

ALWAYS = OperatingPoints(low=0, high=0)
"""Whatever the film, it is a fracture: for tests of where, not of whether."""

BRIGHT = (20, 70, 30, 20)  # x, y, width, height in the upright radiograph


def film(rows: int, columns: int, *boxes) -> np.ndarray:
    """A dark film, bright enough in its boxes to be evidence."""
    pixels = np.full((rows, columns), 110, np.uint8)
    for x, y, width, height in boxes:
        pixels[y : y + height, x : x + width] = 255
    return pixels


def close(finding, box, within) -> bool:
    found = (finding.x, finding.y, finding.width, finding.height)
    return np.allclose(found, box, atol=within)


@pytest.mark.parametrize("shape", [(128, 128), (128, 96), (96, 128), (640, 320), (60, 32)])
def test_a_box_is_found_where_it_is_in_the_file(make_bundle, save_radiograph, shape):
    rows, columns = shape
    box = (columns // 4, rows // 2, columns // 2, rows // 4)
    path = save_radiograph("film.png", film(rows, columns, box))
    reading = load_model(make_bundle(operating_points=ALWAYS).path).read(path)
    cell = 8 * max(shape) / 64
    [finding] = reading.findings
    assert close(finding, box, within=cell)
    assert finding.score == pytest.approx(1, abs=0.05)
    x, y, width, height = box
    assert x - cell / 2 <= reading.peak.x <= x + width + cell / 2
    assert y - cell / 2 <= reading.peak.y <= y + height + cell / 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_in_the_pixels_of_the_file_as_stored(make_bundle, save_radiograph, orientation):
    """The stored film and its box are known; EXIF turns what is read, and not what is told."""
    stored = film(160, 120, BRIGHT)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_radiograph("turned.png", stored, exif=exif)
    reading = load_model(make_bundle(operating_points=ALWAYS).path).read(path)
    [finding] = reading.findings
    x, y, width, height = BRIGHT
    assert close(finding, BRIGHT, within=20)
    assert finding.x <= x + 2 <= x + width - 2 <= finding.x + finding.width
    assert finding.y <= y + 2 <= y + height - 2 <= finding.y + finding.height
    assert x - 10 <= reading.peak.x <= x + width + 10
    assert y - 10 <= reading.peak.y <= y + height + 10
    assert reading.evidence.shape == ((8, 6) if orientation <= 4 else (6, 8))


def test_two_fractures_give_two_boxes_the_surer_first(make_bundle, save_radiograph):
    pixels = film(128, 128, (16, 16, 32, 16), (80, 96, 16, 16))
    pixels[96:112, 80:96] = 200
    reading = load_model(make_bundle(operating_points=ALWAYS).path).read(
        save_radiograph("two.png", pixels)
    )
    assert [
        close(f, b, 0.01)
        for f, b in zip(reading.findings, [(16, 16, 32, 16), (80, 96, 16, 16)], strict=True)
    ] == [True, True]
    assert reading.findings[0].score > reading.findings[1].score
    assert (reading.peak.score, reading.peak.y) == (pytest.approx(1, abs=0.05), 24)


def test_cells_that_touch_at_a_corner_are_one_finding(make_bundle, save_radiograph):
    path = save_radiograph("corner.png", film(128, 128, (32, 32, 16, 16), (48, 48, 16, 16)))
    [finding] = load_model(make_bundle(operating_points=ALWAYS).path).read(path).findings
    assert close(finding, (32, 32, 32, 32), 0.01)


@pytest.mark.parametrize("shape", [(100, 37), (37, 100), (400, 33), (33, 400), (64, 64)])
def test_no_box_leaves_its_radiograph(make_bundle, save_radiograph, shape):
    path = save_radiograph("bright.png", film(*shape, (shape[1] // 4, 0, *shape[::-1])))
    reading = load_model(make_bundle(operating_points=ALWAYS).path).read(path)
    for finding in reading.findings:
        assert finding.x >= 0
        assert finding.y >= 0
        assert finding.x + finding.width <= shape[1]
        assert finding.y + finding.height <= shape[0]
    assert 0 <= reading.peak.x <= shape[1]
    assert 0 <= reading.peak.y <= shape[0]


def test_no_fracture_means_no_findings_but_the_map_stays(make_bundle, save_radiograph):
    pixels = np.zeros((128, 128), np.uint8)
    pixels[:16, :16] = 255
    reading = load_model(make_bundle().path).read(save_radiograph("dark.png", pixels))
    assert reading.decision == "no_fracture"
    assert reading.findings == ()
    assert reading.peak.score == pytest.approx(1, abs=0.05)
    assert reading.evidence[0, 0] == pytest.approx(1, abs=0.05)


def test_the_map_spans_the_radiograph_without_its_margin(make_bundle, save_radiograph):
    reading = load_model(make_bundle().path).read(save_radiograph("tall.png", 0.8, (128, 64)))
    assert reading.evidence.shape == (8, 4)
    assert reading.evidence.dtype == np.float32
    assert reading.evidence.min() == pytest.approx(0.8, abs=0.07)  # the margin would be 0


def test_a_model_without_a_map_reads_without_boxes(make_bundle, save_radiograph):
    reading = load_model(make_bundle(evidence=None).path).read(save_radiograph("a.png", 0.9))
    assert (reading.findings, reading.peak, reading.evidence) == ((), None, None)


def test_a_radiograph_that_was_decoded_smaller_is_told_in_the_pixels_of_its_file(
    make_bundle, save_radiograph
):
    path = save_radiograph("film.jpg", film(1280, 960, (320, 640, 320, 160)), quality=95)
    small = read_radiograph(path, at_least=200)
    assert small.pixels.shape < (1280, 960)
    classifier = load_model(make_bundle(operating_points=ALWAYS).path)
    [ours], [full] = classifier.read(small).findings, classifier.read(path).findings
    assert close(ours, (full.x, full.y, full.width, full.height), 1)
    assert close(ours, (320, 640, 320, 160), 40)


BOXES = Evidence(stride=8, threshold=0.5, boxes=True)


def test_a_finding_has_its_peaks_box_where_the_model_gives_boxes(make_bundle, save_radiograph):
    """The box reaches 16 pixels of the input from the cell's centre, whatever the cells around."""
    path = save_radiograph("film.png", film(128, 128, (64, 32, 16, 16)))
    reading = load_model(make_bundle(operating_points=ALWAYS, evidence=BOXES).path).read(path)
    [finding] = reading.findings
    assert close(finding, (72 - 32, 40 - 32, 64, 64), 1)
    assert finding.score == pytest.approx(1, abs=0.05)


def test_peaks_whose_boxes_overlap_are_one_finding_and_others_two(make_bundle, save_radiograph):
    classifier = load_model(make_bundle(operating_points=ALWAYS, evidence=BOXES).path)
    near = film(128, 128, (32, 32, 16, 16), (64, 32, 16, 16))
    far = film(128, 128, (16, 16, 16, 16), (96, 96, 16, 16))
    near[32:48, 64:80] = far[96:112, 96:112] = 220
    assert len(classifier.read(save_radiograph("near.png", near)).findings) == 1
    found = classifier.read(save_radiograph("far.png", far)).findings
    assert len(found) == 2
    assert found[0].score > found[1].score


@pytest.mark.parametrize("orientation", range(1, 9))
def test_such_boxes_are_in_the_pixels_of_the_file_as_stored(
    make_bundle, save_radiograph, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_radiograph("turned.png", film(160, 120, (40, 80, 20, 20)), exif=exif)
    reading = load_model(make_bundle(operating_points=ALWAYS, evidence=BOXES).path).read(path)
    [finding] = reading.findings
    centre = finding.x + finding.width / 2, finding.y + finding.height / 2
    assert centre == pytest.approx((50, 90), abs=12)
    assert finding.width == pytest.approx(80, abs=2)


def test_every_finding_can_be_asked_for_whatever_the_decision(make_bundle, save_radiograph):
    pixels = film(128, 128, (16, 16, 16, 16), (80, 80, 16, 16))
    pixels[80:96, 80:96] = 120
    bundle = make_bundle(operating_points=OperatingPoints(0.99, 0.99), evidence=BOXES)
    path = save_radiograph("a.png", pixels)
    assert load_model(bundle.path).read(path).findings == ()
    assert len(Classifier(bundle, findings_from=0.45).read(path).findings) == 2


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize(
    ("points", "decision"), [((0.5, 0.5), "fracture"), ((0.3, 0.99), "uncertain")]
)
def test_a_reading_that_does_not_dismiss_shows_at_least_its_strongest_finding(
    make_bundle, save_radiograph, boxes, points, decision
):
    pixels = np.full((128, 128), 130, np.uint8)
    pixels[64:80, 32:48], pixels[96:112, 96:112] = 190, 180
    evidence = Evidence(stride=8, threshold=0.9, boxes=boxes)
    bundle = make_bundle(operating_points=OperatingPoints(*points), evidence=evidence)
    reading = load_model(bundle.path).read(save_radiograph("a.png", pixels))
    assert reading.decision == decision
    [finding] = reading.findings
    assert finding.score == pytest.approx(190 / 255, abs=0.05)
    centre = finding.x + finding.width / 2, finding.y + finding.height / 2
    assert centre == pytest.approx((40, 72) if boxes else (64, 64), abs=8)


@pytest.mark.parametrize("grain", [(6, 12), (2, 16)])
def test_what_is_next_to_nothing_is_no_finding(make_bundle, save_radiograph, grain):
    points = OperatingPoints(low=1e-9, high=1e-8)
    pixels = np.zeros((128, 128), np.uint8)
    step, level = grain
    pixels[::step, ::step] = level
    classifier = load_model(make_bundle(operating_points=points, evidence=BOXES).path)
    reading = classifier.read(save_radiograph("dark.png", pixels))
    assert reading.decision == "fracture"
    assert reading.peak.score < 0.02
    assert reading.findings == ()


def test_an_averages_boxes_are_the_mean_of_its_members_findings(
    make_bundle, save_radiograph, tmp_path
):
    small = make_bundle("small", operating_points=ALWAYS, evidence=BOXES)
    large = make_bundle(
        "large",
        operating_points=ALWAYS,
        evidence=Evidence(stride=16, threshold=0.5, boxes=True),
        preprocessing=Preprocessing(size=128),
    )
    both = average_bundles([small.path, large.path], tmp_path / "both", "both")
    path = save_radiograph("film.png", film(128, 128, (64, 32, 16, 16)))
    [finding] = load_model(both.path).read(path).findings
    # 16 of 64 pixels, and 16 of 128: of a side of 128 that is 32 and 16, and 24 in the middle.
    assert close(finding, (72 - 24, 40 - 24, 48, 48), 1.5)


def peak(box, score) -> MapPeak:
    return MapPeak(0, 0, np.array(box, float), score)


def test_what_several_models_found_is_one_finding_where_it_overlaps():
    one = [peak((10, 10, 30, 30), 0.9), peak((100, 100, 120, 120), 0.4)]
    two = [peak((6, 10, 26, 30), 0.3), peak((200, 10, 220, 30), 0.8)]
    three = [peak((12, 10, 32, 30), 0.6), peak((14, 10, 34, 30), 0.5)]
    found = fused([one, two, three], (1, 1, 2))
    boxes, scores = zip(*found, strict=True)
    assert scores == pytest.approx([(0.9 + 0.3 + 2 * 0.6) / 4, 2 * 0.5 / 4, 0.8 / 4, 0.4 / 4])
    shift = (10 * 0.9 + 6 * 0.3 + 12 * 2 * 0.6) / (0.9 + 0.3 + 2 * 0.6)
    assert boxes[0] == pytest.approx([shift, 10, shift + 20, 30])
    # Of one model two are never one, and what only one model sees is what it saw, but fainter.
    assert boxes[1] == pytest.approx([14, 10, 34, 30])
    assert boxes[2] == pytest.approx([200, 10, 220, 30])
    assert boxes[3] == pytest.approx([100, 100, 120, 120])


def test_several_models_that_found_nothing_have_no_findings():
    assert fused([[], []], (1, 1)) == []


def test_an_average_of_averages_counts_each_models_findings_as_its_probability(
    make_bundle, save_radiograph, tmp_path
):
    wide = Evidence(stride=16, threshold=0.5, boxes=True)
    said = {"operating_points": ALWAYS, "evidence": wide, "preprocessing": Preprocessing(size=128)}
    large = make_bundle("large", **said)
    small = make_bundle("small", operating_points=ALWAYS, evidence=BOXES)
    inner = average_bundles([small.path, large.path], tmp_path / "inner", "inner", weights=(1, 3))
    outer = average_bundles([large.path, inner.path], tmp_path / "outer", "outer")
    path = save_radiograph("film.png", film(128, 128, (64, 32, 16, 16)))
    [finding] = load_model(outer.path).read(path).findings
    # Reaches of 16 (7 in 8 of the weight) and of 32 pixels (1 in 8), at the same evidence.
    assert finding.width == pytest.approx(2 * (16 * 7 + 32) / 8, abs=1.5)
