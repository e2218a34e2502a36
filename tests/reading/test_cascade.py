"""A cascade: what its two networks say, computed by hand, and where it looks."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from brightness import GAIN
from kirik.bundle import Evidence, Manifest, Scope, load_bundle, write_bundle
from kirik.errors import BundleError
from kirik.joining import average_bundles, cascade_bundles, member_files
from kirik.preprocessing import Preprocessing
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.network import Network
from kirik.reading.patches import close_up_squares, looked_at, middle_box, pasted, window
from kirik.reading.peaks import box_at, peaks, put_box

PATCH = 32
"""Side of a patch; the cascade's input is four times as wide, its map has 16 × 16 cells."""


@pytest.fixture
def closer(make_bundle):
    return make_bundle(
        "closer",
        preprocessing=Preprocessing(size=PATCH),
        evidence=Evidence(stride=8, threshold=0.5, boxes=True),
    )


@pytest.fixture
def cascade(make_bundle, closer, tmp_path):
    overview = make_bundle("overview", attributes=("hardware",))
    return cascade_bundles(overview, closer, tmp_path / "cascade", "both", looks=3)


def spot(row: int, column: int, size: int = 512) -> np.ndarray:
    """A dark film, uint8, with a bright square of an eighth of its side, centred there."""
    pixels = np.full((size, size), 40, np.uint8)
    half = size // 16
    pixels[row - half : row + half, column - half : column + half] = 250
    return pixels


def test_the_probability_pools_the_whole_radiograph_and_its_most_suspicious_patch(cascade):
    pixels = spot(160, 352)
    reading = load_model(cascade.path).read(pixels)
    whole = pixels.mean() / 255 - 0.5
    # A patch is a quarter of the side, and the bright square, half as wide, lies whole within it.
    patch = (0.25 * 250 + 0.75 * 40) / 255 - 0.5
    expected = 1 / (1 + np.exp(-GAIN * (whole + patch)))
    assert reading.probability == pytest.approx(expected, rel=0.06)
    assert reading.model == "both"
    assert reading.attributes["hardware"] == pytest.approx(pixels.mean() / 255, abs=0.01)


@pytest.mark.parametrize("most", [0, 1])
def test_where_the_system_gives_few_threads_its_networks_are_opened_in_turn(
    cascade, few_threads, most
):
    expected = load_model(cascade.path).read(spot(160, 352)).probability
    few_threads(lambda thread: thread.name.startswith("kirik-open"), most)
    assert load_model(cascade.path).read(spot(160, 352)).probability == expected


def test_a_second_network_that_cannot_be_run_is_named(make_bundle, closer, tmp_path):
    broken = make_bundle(
        "broken",
        graph=b"no graph",
        preprocessing=closer.manifest.preprocessing,
        evidence=closer.manifest.evidence,
    )
    both = cascade_bundles(make_bundle("overview"), broken, tmp_path / "both", "both", looks=3)
    with pytest.raises(BundleError, match="not a graph that kirik can run") as told:
        load_model(both.path)
    assert str(both.members[1].path / "model.onnx") in str(told.value)


def test_a_cascade_without_a_gate_refuses_nothing_though_its_overview_would(
    make_bundle, closer, tmp_path
):
    overview = make_bundle("overview", scope=Scope(threshold=1e-9, accepted=0.99))
    gated = cascade_bundles(overview, closer, tmp_path / "gated", "gated", looks=3)
    assert load_model(gated.path).read(spot(160, 352)).decision == "out_of_scope"
    manifest = gated.manifest.model_copy(update={"scope": None})
    write_bundle(tmp_path / "open", manifest, member_files(manifest, gated.members))
    assert load_model(tmp_path / "open").read(spot(160, 352)).probability is not None


def test_a_calibrated_cascade_is_less_sure(cascade, tmp_path):
    softer = cascade_bundles(
        *cascade.members, tmp_path / "softer", "softer", looks=3, temperature=2.5
    )
    plain, soft = (load_model(b.path).read(spot(256, 256)).probability for b in (cascade, softer))
    odds = [np.log(p / (1 - p)) for p in (plain, soft)]
    assert odds[0] / odds[1] == pytest.approx(2.5, rel=1e-3)


def test_the_overviews_word_can_count_less(cascade, tmp_path):
    pixels = spot(160, 352)
    said = []
    for weight in (1, 0.5):
        one = cascade_bundles(
            *cascade.members, tmp_path / f"{weight}", "one", looks=3, overview_weight=weight
        )
        said.append(load_model(one.path).read(pixels).probability)
    odds = [np.log(p / (1 - p)) for p in said]
    whole = GAIN * (pixels.mean() / 255 - 0.5)
    assert odds[0] - odds[1] == pytest.approx(whole / 2, rel=0.02)


def test_a_bias_is_added_after_the_temperature(cascade):
    pixels = spot(160, 352)
    manifest = cascade.manifest.model_copy(update={"temperature": 2.0, "bias": (-0.25, 0.5)})
    biased = write_bundle(cascade.path.with_name("biased"), manifest, cascade.files)
    plain, other = (load_model(b.path).read(pixels).probability for b in (cascade, biased))
    odds = [np.log(p / (1 - p)) for p in (plain, other)]
    assert odds[1] == pytest.approx(odds[0] / 2 + 0.75, abs=1e-6)


def film(level: int) -> np.ndarray:
    """A film, uint8, of one level but for a small bright square."""
    pixels = spot(160, 352)
    pixels[pixels == 40] = level
    return pixels


def overview_says(pixels: np.ndarray) -> float:
    return 1 / (1 + np.exp(-GAIN * (pixels.mean() / 255 - 0.5)))


@pytest.fixture
def sparing(cascade, tmp_path):
    return cascade_bundles(*cascade.members, tmp_path / "spare", "spare", looks=3, looks_from=0.05)


def test_nobody_looks_closer_where_the_overview_finds_a_fracture_improbable(sparing):
    pixels = film(40)
    whole = overview_says(pixels)
    assert whole < 0.05
    reading = Classifier(sparing, findings_from=0.05).read(pixels)
    odds = whole / (1 - whole) * 0.01 / 0.99
    assert reading.probability == pytest.approx(odds / (1 + odds), rel=0.06)
    assert reading.findings == ()
    assert 0 < reading.evidence.max() < 0.05
    assert abs(reading.peak.x - 352) <= 48
    assert abs(reading.peak.y - 160) <= 48


def test_where_the_overview_suspects_one_sparing_changes_nothing(cascade, sparing):
    pixels = film(100)
    assert overview_says(pixels) > 0.1
    always, mostly = (load_model(bundle.path).read(pixels) for bundle in (cascade, sparing))
    assert always.probability == mostly.probability
    assert np.array_equal(always.evidence, mostly.evidence)


def test_what_is_seen_closer_sets_in_gradually(cascade, tmp_path):
    pixels = film(90)
    whole = overview_says(pixels)
    said = []
    for start in (1.001, 0.999, 0.75, 0.501, 0.499, 0):
        spared = cascade_bundles(
            *cascade.members, tmp_path / f"{start}", "s", looks=3, looks_from=start * whole
        )
        said.append(load_model(spared.path).read(pixels))
    probabilities = [reading.probability for reading in said]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] == pytest.approx(probabilities[1], rel=0.02)
    assert probabilities[3] == pytest.approx(probabilities[4], rel=0.02)
    assert probabilities[4] == probabilities[5]
    assert probabilities[5] > 2 * probabilities[0]
    heights = [float(reading.evidence.max()) for reading in said]
    assert heights[0] == pytest.approx(heights[1], abs=0.05)
    assert heights[0] < 0.05
    assert heights[1:] == sorted(heights[1:])


def test_close_ups_set_in_with_what_is_seen_closer(cascade, tmp_path):
    pixels = film(90)
    whole, said = overview_says(pixels), []
    for start in (1.001, 0.999, 0.97, 0.75, 0.501):
        spared = cascade_bundles(
            *cascade.members,
            tmp_path / f"{start}",
            "s",
            looks=3,
            looks_from=start * whole,
            close_ups=2,
        )
        said.append(odds(load_model(spared.path).read(pixels)))
    assert said[0] == pytest.approx(said[1], abs=0.02)
    assert said[1] == pytest.approx(said[2], abs=0.3)
    assert said == sorted(said)
    assert said[-1] > said[0] + 0.5


def test_spared_or_not_a_radiograph_is_read_as_if_alone(sparing, save_radiograph):
    films = [save_radiograph(f"{i}.png", film(level)) for i, level in enumerate((20, 100, 60, 120))]
    classifier = load_model(sparing.path)
    alone = [classifier.read(one) for one in films]
    many = list(classifier.read_many(films, batch_size=4))
    assert [r.probability for r in many] == [r.probability for r in alone]
    assert all(np.array_equal(a.evidence, b.evidence) for a, b in zip(many, alone, strict=True))


def test_a_small_radiograph_is_enlarged_where_somebody_looks_closer(
    make_bundle, tmp_path, save_radiograph, monkeypatch
):
    overview = make_bundle("overview", attributes=("hardware",))
    patch = Preprocessing(size=2 * PATCH)
    closer = make_bundle(
        "closer", preprocessing=patch, evidence=Evidence(stride=8, threshold=0.5, boxes=True)
    )
    both = cascade_bundles(overview, closer, tmp_path / "both", "both", looks=3, looks_from=0.05)
    own = both.manifest.preprocessing
    small = [np.ascontiguousarray(film(level)[::2, ::2][:, :200]) for level in (20, 100, 120)]
    large = [film(level) for level in (20, 100)]
    films = [save_radiograph(f"{i}.png", one) for i, one in enumerate([*small, *large])]
    classifier = Classifier(both)
    prepared = [next(classifier.frames(one)) for one in films]
    shapes = [one.inputs[own].shape for one in prepared]
    assert shapes == [(256, 200)] * 3 + [(own.size, own.size)] * 2

    at_once = Classifier(both)
    at_once._wanted = replace(at_once._wanted, later=frozenset())
    expected = [at_once.read(one) for one in films]
    enlarged = []
    of_levels = Preprocessing.of_levels
    monkeypatch.setattr(
        Preprocessing, "of_levels", lambda *given: enlarged.append(1) or of_levels(*given)
    )
    found = classifier.judge(prepared)
    assert len(enlarged) == 2
    for one, wanted in zip(found, expected, strict=True):
        assert one.probability == wanted.probability
        assert np.array_equal(one.evidence, wanted.evidence)
        assert one.findings == wanted.findings


@pytest.mark.parametrize("place", [(160, 352), (40, 40), (470, 256)])
def test_the_finding_lies_where_the_second_network_saw_it(cascade, place):
    reading = Classifier(cascade, findings_from=0.3).read(spot(*place))
    best = reading.findings[0]
    assert best.x <= place[1] <= best.x + best.width
    assert best.y <= place[0] <= best.y + best.height
    # Each cell's box reaches 16 pixels of the 128 wide input: 64 of the film's.
    assert (best.width, best.height) == pytest.approx((128, 128), abs=64)
    assert abs(reading.peak.x - place[1]) <= 48
    assert abs(reading.peak.y - place[0]) <= 48


def with_close_ups(cascade, tmp_path, count: int):
    name = f"{count}-close-ups"
    return cascade_bundles(*cascade.members, tmp_path / name, name, looks=3, close_ups=count)


def test_a_finding_seen_close_up_has_the_mean_of_both_boxes(cascade, tmp_path):
    pixels = np.maximum(spot(120, 384), spot(376, 128) // 250 * 220 + 30)
    plain = Classifier(cascade, findings_from=0.3).read(pixels)
    assert [f.width for f in plain.findings] == pytest.approx([128, 128], abs=2)
    # The square around a box of 128 pixels is two patches wide, at most, of 128 pixels each: in it
    # a box reaches twice as far.
    for count, widths in ((1, [192, 128]), (2, [192, 192]), (9, [192, 192])):
        reading = Classifier(with_close_ups(cascade, tmp_path, count), findings_from=0.3).read(
            pixels
        )
        assert [f.width for f in reading.findings] == pytest.approx(widths, abs=2)
        assert [f.height for f in reading.findings] == pytest.approx(widths, abs=2)
        for finding, before in zip(reading.findings, plain.findings, strict=True):
            assert middle_of(finding) == pytest.approx(middle_of(before), abs=16)
        assert np.array_equal(reading.evidence, plain.evidence)


def middle_of(finding) -> tuple[float, float]:
    return finding.x + finding.width / 2, finding.y + finding.height / 2


def test_a_film_that_is_not_square_is_seen_close_up_where_its_finding_is(cascade, tmp_path):
    pixels = spot(300, 300, 512)[:, 180:420]
    plain, close = (
        Classifier(one, findings_from=0.3).read(pixels).findings
        for one in (cascade, with_close_ups(cascade, tmp_path, 1))
    )
    assert middle_of(close[0]) == pytest.approx((120, 300), abs=24)
    assert close[0].height == pytest.approx(1.5 * plain[0].height, abs=2)


def odds(reading) -> float:
    return float(np.log(reading.probability / (1 - reading.probability)))


def test_a_close_up_and_the_patch_have_an_equal_say(cascade, tmp_path):
    pixels = spot(160, 352)
    reading = load_model(with_close_ups(cascade, tmp_path, 1).path).read(pixels)
    # The square is half as wide as a patch, and a quarter as wide as the close-up.
    levels = [(share * 250 + (1 - share) * 40) / 255 - 0.5 for share in (1 / 4, 1 / 16)]
    whole = pixels.mean() / 255 - 0.5
    assert odds(reading) == pytest.approx(GAIN * (whole + np.mean(levels)), rel=0.02)
    plain = load_model(cascade.path).read(pixels)
    assert odds(plain) == pytest.approx(GAIN * (whole + levels[0]), rel=0.02)


def test_a_close_up_sets_in_gradually(cascade, tmp_path):
    classifiers = [load_model(b.path) for b in (cascade, with_close_ups(cascade, tmp_path, 1))]
    evidence, moved = [], []
    for level in range(20, 140, 4):
        pixels = np.where(spot(160, 352) == 250, level, 0).astype(np.uint8)
        plain, close = (classifier.read(pixels) for classifier in classifiers)
        evidence.append(float(plain.evidence.max()))
        moved.append(odds(close) - odds(plain))
    evidence, moved = np.array(evidence), np.array(moved)
    assert evidence[0] < 0.05 < 0.1 < evidence[-1]
    assert (moved[evidence < 0.05] == 0).all()
    assert (moved[evidence > 0.1] < -0.3).all()
    assert np.abs(np.diff(moved)).max() < 0.2


def test_close_ups_of_many_radiographs_are_those_of_each_alone(cascade, tmp_path, save_radiograph):
    films = [save_radiograph("dark.png", film(20))]
    films += [save_radiograph(f"{i}.png", spot(100 + 60 * i, 300)) for i in range(5)]
    classifier = Classifier(with_close_ups(cascade, tmp_path, 2), findings_from=0.3)
    alone = [classifier.read(one) for one in films]
    assert any(reading.findings for reading in alone)
    many = classifier.read_many(films, batch_size=6)
    for one, own in zip(many, alone, strict=True):
        assert (one.findings, one.probability) == (own.findings, own.probability)


def test_of_several_close_ups_the_most_suspicious_counts_and_a_faint_one_sets_in(cascade, tmp_path):
    one, two = (load_model(with_close_ups(cascade, tmp_path, count).path) for count in (1, 2))
    more = []
    for level in (0, 32, *range(40, 132, 4)):
        # The second finding is fainter, but a close-up of it is brighter.
        pixels = np.where(spot(120, 384) == 250, 255, 0).astype(np.uint8)
        pixels[290:462, 42:214] = level // 2
        pixels[spot(376, 128) == 250] = level
        more.append(odds(two.read(pixels)) - odds(one.read(pixels)))
    more = np.array(more)
    assert np.abs(more[:2]).max() < 1e-9
    assert more[-1] > 0.2
    assert (np.diff(more) > -1e-6).all()
    assert np.diff(more).max() < 0.2


def test_an_average_of_cascades_keeps_the_boxes_of_close_ups(cascade, tmp_path):
    close = with_close_ups(cascade, tmp_path, 1)
    mean = average_bundles([cascade.path, close.path], tmp_path / "average", "average")
    pixels = spot(160, 352)
    plain, half, whole = (
        Classifier(one, findings_from=0.3).read(pixels).findings[0]
        for one in (cascade, load_bundle(mean.path), close)
    )
    assert half.width == pytest.approx((plain.width + whole.width) / 2, abs=1)
    assert whole.width > 1.4 * plain.width


def test_cascades_with_the_same_first_network_run_it_once(
    cascade, make_bundle, closer, tmp_path, monkeypatch
):
    close = with_close_ups(cascade, tmp_path, 1)
    apart = cascade_bundles(make_bundle("apart"), closer, tmp_path / "apart", "apart", looks=3)
    runs = []
    run_graph = Network.run
    monkeypatch.setattr(Network, "run", lambda *own: runs.append(own[0]) or run_graph(*own))
    pixels = [spot(160, 352), spot(352, 160)]
    for others, first in (([close], 1), ([close, apart], 2)):
        paths = [cascade.path, *(other.path for other in others)]
        mean = average_bundles(paths, tmp_path / f"mean{first}", "mean")
        classifier = Classifier(mean)
        alone = [Classifier(load_bundle(path)) for path in paths]
        for one in pixels:
            runs.clear()
            reading = classifier.read(one)
            assert sum(own.manifest.preprocessing.size != PATCH for own in runs) == first
            expected = np.mean([other.read(one).probability for other in alone])
            assert reading.probability == pytest.approx(expected, abs=1e-6)


def test_batches_that_are_judged_at_the_same_time_run_a_shared_network_once_each(
    cascade, tmp_path, monkeypatch
):
    close = with_close_ups(cascade, tmp_path, 1)
    classifier = Classifier(average_bundles([cascade.path, close.path], tmp_path / "mean", "mean"))
    prepared = [list(classifier.frames(one)) for one in (spot(160, 352), spot(352, 160))]
    runs, together, run_graph = [], threading.Barrier(2, timeout=10), Network.run

    def counted(network, inputs):
        scores = run_graph(network, inputs)
        if network.manifest.preprocessing.size != PATCH:
            runs.append(threading.get_ident())
            together.wait()  # so that the other batch's scores are there, too
        return scores

    expected = [classifier.judge(one)[0].probability for one in prepared]
    monkeypatch.setattr(Network, "run", counted)
    with ThreadPoolExecutor(2) as judges:
        found = [one.probability for [one] in judges.map(classifier.judge, prepared)]
    assert len(runs) == len(set(runs)) == 2
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_average_keeps_no_batch_alive(cascade, tmp_path):
    close = with_close_ups(cascade, tmp_path, 1)
    classifier = Classifier(average_bundles([cascade.path, close.path], tmp_path / "mean", "mean"))
    [prepared] = classifier.frames(spot(160, 352))
    batches, run = [], classifier._model.run

    def watched(batch):
        batches.extend(map(weakref.ref, batch.values()))
        return run(batch)

    classifier._model.run = watched
    classifier.judge([prepared])
    assert batches
    assert all(one() is None for one in batches)


def test_a_close_up_shows_a_finding_of_any_size_in_the_middle():
    boxes = np.array([[10, 20, 30, 30], [50, 60, 51, 62], [0, 0, 120, 30]], float)
    squares = close_up_squares(boxes, 48)
    assert squares[:, 2].tolist() == [50, 16, 96]  # no less than a third of a patch, nor than two
    middles = squares[:, :2] + squares[:, 2:] / 2
    assert middles.tolist() == [[25, 20], [61, 50.5], [15, 60]]
    image = np.zeros((64, 64), np.uint8)
    image[20:30, 10:30] = 255
    seen = window(image, *squares[0], 48)
    assert (seen[21:27, 16:32] == 255).all()
    assert not seen[:, :12].any()
    outside = window(image, -100, -100, 50, 48)
    assert (outside.shape, outside.any()) == ((48, 48), False)


def test_in_a_close_up_what_lies_in_the_middle_counts():
    evidence = np.full((8, 8), 0.01, np.float32)
    evidence[0, 0], evidence[4, 3] = 0.9, 0.7
    boxes = np.full((4, 8, 8), 5, np.float32)
    black = middle_box(np.zeros((8, 8), np.float32), boxes, 8)
    assert black == pytest.approx((27, 27, 37, 37), abs=8.1)
    boxes[:, 3:6, 2:5] = np.array([4, 8, 12, 16], np.float32)[:, None, None]
    left, top, right, bottom = middle_box(evidence, boxes, 8)
    assert (right - left, bottom - top) == pytest.approx((16, 24))
    assert (left, top) == pytest.approx((28 - 4, 36 - 8), abs=1)


def test_cells_around_a_peak_give_the_box_that_was_put_there():
    evidence = np.zeros((8, 8), np.float32)
    evidence[0, 7], evidence[1, 7], evidence[4, 2] = 0.9, 0.5, 0.6
    boxes = np.full((4, 8, 8), 6, np.float32)
    found = list(peaks(evidence, boxes, 8, 0.1))
    assert [(peak.row, peak.column) for peak in found] == [(0, 7), (4, 2)]
    wanted = np.array([40.0, 3, 61, 20])
    put_box(boxes, found[0], wanted, 8, found[1:])
    for row, column in ((0, 7), (1, 7), (1, 6)):
        assert box_at(evidence, boxes, 8, row, column) == pytest.approx(wanted)
    assert (boxes[:, 4, 2] == 6).all()


def test_a_finding_seen_close_up_leaves_its_neighbours_theirs():
    evidence = np.zeros((8, 8), np.float32)
    evidence[3, 3], evidence[3, 6] = 0.9, 0.6
    boxes = np.full((4, 8, 8), 6, np.float32)
    first, second = peaks(evidence, boxes, 8, 0.1)
    wanted = np.array([20.0, 20, 40, 40])
    put_box(boxes, first, wanted, 8, [second])
    assert peaks(evidence, boxes, 8, 0.1)[1].box == pytest.approx(second.box)
    assert peaks(evidence, boxes, 8, 0.1)[0].box == pytest.approx(wanted)


def test_one_or_many_any_workers_and_an_average_of_one_kind_say_the_same(
    cascade, make_bundle, closer, tmp_path, save_radiograph
):
    films = [save_radiograph(f"{i}.png", spot(100 + 60 * i, 300)) for i in range(5)]
    classifier = load_model(cascade.path)
    alone = [classifier.read(film).probability for film in films]
    for batch, workers in ((5, 1), (2, 3)):
        many = classifier.read_many(films, batch_size=batch, workers=workers)
        assert [reading.probability for reading in many] == alone
    other = make_bundle("other", attributes=("hardware",))
    twin = cascade_bundles(other, closer, tmp_path / "twin", "twin", looks=3)
    both = average_bundles([cascade.path, twin.path], tmp_path / "average", "average")
    mean = load_model(both.path).read(films[0])
    assert mean.probability == pytest.approx(alone[0], abs=1e-6)
    assert np.array_equal(mean.evidence, classifier.read(films[0]).evidence)


def test_patches_lie_around_the_highest_places_apart_from_each_other_and_inside():
    evidence = np.zeros((64, 64), np.float32)
    evidence[1, 60], evidence[30, 30], evidence[31, 33], evidence[50, 20] = 0.9, 0.8, 0.7, 0.6
    corners = looked_at(evidence, 16, 3)
    assert corners.tolist() == [[0, 48], [22, 22], [42, 12]]


def test_where_patches_overlap_the_higher_evidence_and_its_box_count():
    maps = np.full((1, 8, 8), 0.5, np.float32)
    corners = np.array([[[0, 0], [2, 2]]])
    evidence = np.stack([np.full((4, 4), 0.25), np.full((4, 4), 0.5)])[None].astype(np.float32)
    boxes = np.stack([np.full((4, 4, 4), 3.0), np.full((4, 4, 4), 7.0)])[None].astype(np.float32)
    found, sides = pasted(maps, corners, np.array([[1.0, 0.5]]), evidence, boxes)
    assert found[0, 0, 0] == pytest.approx(np.cbrt(0.25 * 0.5))
    assert found[0, 3, 3] == pytest.approx(np.cbrt(0.25 * 0.5))
    assert found[0, 5, 5] == pytest.approx(np.cbrt(0.5 * 0.5 * 0.5))
    assert (found[0, 7, 7], sides[0, :, 5, 5].tolist()) == (0, [7, 7, 7, 7])
    assert sides[0, :, 0, 0].tolist() == [3, 3, 3, 3]


def test_networks_that_do_not_fit_are_refused(make_bundle, closer, tmp_path):
    boxes = Evidence(stride=8, threshold=0.5, boxes=True)
    overview = make_bundle("overview")
    blind = make_bundle("blind", evidence=None)
    boxless = make_bundle("boxless", preprocessing=Preprocessing(size=PATCH))
    coarse = make_bundle(
        "coarse",
        preprocessing=Preprocessing(size=48),
        evidence=boxes.model_copy(update={"stride": 12}),
    )
    twin = make_bundle("twin", preprocessing=Preprocessing(size=PATCH), evidence=boxes)
    mean = load_bundle(average_bundles([closer.path, twin.path], tmp_path / "mean", "mean").path)
    pairs = [(blind, closer), (overview, boxless), (overview, blind), (overview, mean)]
    for first, second in pairs:
        with pytest.raises(BundleError, match=r"evidence|patches"):
            cascade_bundles(first, second, tmp_path / "wrong", "wrong", looks=2)
    assert not (tmp_path / "wrong").exists()
    fine = cascade_bundles(overview, coarse, tmp_path / "coarse", "coarse", looks=2)
    assert load_bundle(fine.path).manifest.preprocessing.size == 192
    kinds = make_bundle("kinds", classes=("none", "wrist"))
    with pytest.raises(BundleError, match="classes disagree"):
        cascade_bundles(kinds, closer, tmp_path / "wrong", "wrong", looks=2)


def test_looks_belong_to_a_cascade_alone(cascade):
    said = cascade.manifest.model_dump()
    with pytest.raises(ValueError, match="looks belong to kind"):
        Manifest(**(said | {"looks": None}))
    with pytest.raises(ValueError, match="looks belong to kind"):
        Manifest(**(said | {"kind": "average"}))
    for own in ({"looks_from": 0.1}, {"close_ups": 1}):
        alone = said | {"kind": "network", "members": (), "looks": None} | own
        with pytest.raises(ValueError, match="looks belong to kind"):
            Manifest(**alone)
