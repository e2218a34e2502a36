import subprocess
import sys

import numpy as np
import pytest

import kirik
from brightness import GAIN, brightness_graph, two_tone
from kirik.bundle import Scope, write_bundle
from kirik.errors import BundleError, KirikError, RadiographError, SettingsError
from kirik.joining import average_bundles
from kirik.preprocessing import Preprocessing
from kirik.reading.classifier import Classifier, load_model


def sigmoid(logit: float) -> float:
    return 1 / (1 + np.exp(-logit))


@pytest.fixture
def square(save_radiograph):
    """A square film, which fills the input: its mean brightness is its level."""
    return lambda level: save_radiograph(f"{level}.png", level, shape=(128, 128))


@pytest.mark.parametrize("level", [0.2, 0.5, 0.6, 0.9])
def test_the_probability_is_the_calibrated_softmax_of_the_graphs_logits(make_bundle, square, level):
    classifier = load_model(make_bundle(temperature=1.5).path)
    reading = classifier.read(square(level))
    expected = sigmoid(GAIN * (round(level * 255) / 255 - 0.5) / 1.5)
    assert reading.probability == pytest.approx(expected, abs=1e-5)
    assert sum(reading.probabilities.values()) == pytest.approx(1)
    assert reading.probabilities["fractured"] == pytest.approx(reading.probability)
    assert reading.model == "bright"


@pytest.mark.parametrize(
    ("level", "decision"), [(0.1, "no_fracture"), (0.5, "uncertain"), (0.9, "fracture")]
)
def test_the_decision_follows_the_operating_points(make_bundle, square, level, decision):
    reading = load_model(make_bundle().path).read(square(level))
    assert reading.decision == decision
    assert (reading.points.low, reading.points.high) == (0.3, 0.7)


def test_a_file_its_path_as_text_its_array_and_its_radiograph_read_the_same(make_bundle, square):
    classifier = load_model(make_bundle().path)
    path = square(0.6)
    reading = classifier.read(path)
    array = two_tone(0.6)
    assert classifier.read(str(path)).probability == reading.probability
    assert classifier.read(array).probability == pytest.approx(reading.probability, abs=1e-6)
    assert classifier.read(array).path is None
    assert reading.path == str(path)


@pytest.mark.parametrize("source", [None, [1, 2], b"bytes"])
def test_what_is_neither_a_path_nor_an_array_is_refused(make_bundle, source):
    with pytest.raises(RadiographError, match="no radiograph; give a path or a numpy array"):
        load_model(make_bundle().path).read(source)


def test_without_a_negative_class_the_likeliest_class_is_the_decision(make_bundle, square):
    bundle = make_bundle(
        classes=("oblique", "transverse", "spiral"), negative=None, operating_points=None
    )
    reading = load_model(bundle.path).read(square(0.9))
    assert reading.decision == "spiral"
    assert reading.probability is None
    assert list(reading.probabilities) == ["oblique", "transverse", "spiral"]
    assert load_model(bundle.path).read(square(0.1)).decision == "oblique"


def test_with_several_fracture_classes_their_sum_is_the_probability(make_bundle, square):
    bundle = make_bundle(classes=("oblique", "normal", "spiral"), negative=1)
    reading = load_model(bundle.path).read(square(0.5))
    assert reading.probability == pytest.approx(2 / 3, abs=0.01)
    assert reading.decision == "uncertain"


def test_a_file_that_is_no_radiograph_raises_one_line(make_bundle, tmp_path):
    bad = tmp_path / "notes.png"
    bad.write_text("not pixels")
    with pytest.raises(KirikError) as error:
        load_model(make_bundle().path).read(bad)
    assert str(bad) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_average_gives_the_weighted_mean_of_its_members(make_bundle, square, tmp_path):
    one = make_bundle("one")
    two = make_bundle("two", temperature=3.0, preprocessing=Preprocessing(size=32))
    mean = average_bundles([one.path, two.path], tmp_path / "mean", "mean", weights=(3, 1))
    path = square(0.7)
    first, second = (load_model(b.path).read(path).probability for b in (one, two))
    reading = load_model(mean.path).read(path)
    assert reading.probability == pytest.approx((3 * first + second) / 4, abs=1e-9)
    assert reading.evidence.shape == (8, 8)
    assert reading.evidence.mean() == pytest.approx(0.7, abs=0.01)


def test_an_average_can_be_calibrated_after_it_is_pooled(make_bundle, square, tmp_path):
    paths = [make_bundle("one").path, make_bundle("two").path]
    plain = load_model(average_bundles(paths, tmp_path / "plain", "m").path)
    soft = load_model(average_bundles(paths, tmp_path / "soft", "m", temperature=2.0).path)
    path = square(0.7)
    logit = GAIN * (round(0.7 * 255) / 255 - 0.5)
    assert plain.read(path).probability == pytest.approx(sigmoid(logit), abs=1e-5)
    assert soft.read(path).probability == pytest.approx(sigmoid(logit / 2), abs=1e-5)


def test_a_bias_mends_the_share_of_a_class(make_bundle, square, tmp_path):
    one = make_bundle("one", temperature=1.5, bias=(0.0, 0.75))
    path = square(0.7)
    logit = GAIN * (round(0.7 * 255) / 255 - 0.5)
    expected = sigmoid(logit / 1.5 + 0.75)
    assert load_model(one.path).read(path).probability == pytest.approx(expected, abs=1e-5)
    pooled = average_bundles([one.path, make_bundle("two").path], tmp_path / "pooled", "m")
    manifest = pooled.manifest.model_copy(update={"bias": (0.5, 0.0)})
    biased = write_bundle(tmp_path / "biased", manifest, pooled.files)
    mean = (expected + sigmoid(logit)) / 2
    odds = np.log(mean / (1 - mean)) - 0.5
    assert load_model(biased.path).read(path).probability == pytest.approx(sigmoid(odds), abs=1e-5)


def test_members_without_a_map_leave_the_others(make_bundle, square, tmp_path):
    blind = make_bundle("blind", evidence=None, preprocessing=Preprocessing(size=32))
    seeing = make_bundle("seeing")
    mean = average_bundles([blind.path, seeing.path], tmp_path / "mean", "mean")
    path = square(0.8)
    ours, its = load_model(mean.path).read(path), load_model(seeing.path).read(path)
    assert np.array_equal(ours.evidence, its.evidence)
    assert ours.findings == its.findings


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (b"no graph at all", "not a graph that kirik can run"),
        (brightness_graph()[:-40], "not a graph that kirik can run"),
        (brightness_graph(size=32), r"its input is not radiograph, uint8 \[n, 1, 64, 64\]"),
        (brightness_graph(stride=None), "it has no output evidence"),
    ],
)
def test_a_graph_that_does_not_fit_its_manifest_is_refused(make_bundle, graph, said):
    bundle = make_bundle(graph=graph)
    with pytest.raises(BundleError, match=said) as error:
        load_model(bundle.path)
    assert "\n" not in str(error.value)
    assert str(bundle.path) in str(error.value)


@pytest.mark.parametrize(
    ("graph", "said"),
    [(brightness_graph(classes=3), "logits"), (brightness_graph(stride=16), "evidence")],
)
def test_outputs_that_do_not_fit_the_manifest_are_refused(make_bundle, square, graph, said):
    with pytest.raises(BundleError, match=said):
        load_model(make_bundle(graph=graph).path).read(square(0.5))


def test_a_network_that_gives_no_number_is_an_error_and_never_a_reading(make_bundle, square):
    classifier = load_model(make_bundle(graph=brightness_graph(gain=float("nan"))).path)
    with pytest.raises(KirikError, match="gives no number for it"):
        classifier.read(square(0.9))
    [failure] = classifier.read_many([square(0.9)])
    assert failure.reason == "model"


def test_a_provider_that_is_not_there_is_refused_with_those_that_are(make_bundle):
    with pytest.raises(SettingsError, match=r"NoSuchProvider.*CPUExecutionProvider"):
        load_model(make_bundle().path, providers=["NoSuchProvider"])


def test_what_makes_a_reading_doubtful_is_said(make_bundle, save_radiograph):
    classifier = load_model(make_bundle(preprocessing=Preprocessing(size=128)).path)
    ramp = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    assert classifier.read(save_radiograph("good.png", ramp)).warnings == ()
    small = save_radiograph("small.png", ramp[:40, ::5])
    assert classifier.read(small).warnings == ("low_resolution",)


BLANK = {
    "black": np.zeros((90, 70), np.uint8),
    "white": np.full((90, 70), 255, np.uint8),
    "gray 16 bits": np.full((90, 70), 30_000, np.uint16),
    "one hot pixel": np.pad(np.full((1, 1), 255, np.uint8), 40),
    "nearly alike": np.tile(np.array([100, 104], np.uint8), (90, 35)),
    "large": np.zeros((2000, 1500), np.uint8),
}


@pytest.mark.parametrize("kind", BLANK)
def test_a_picture_that_shows_nothing_is_refused_and_never_read(make_bundle, save_radiograph, kind):
    classifier = load_model(make_bundle().path)
    path = save_radiograph("blank.png", BLANK[kind])
    with pytest.raises(RadiographError, match="nothing to see in it") as error:
        classifier.read(path)
    assert error.value.reason == "blank"
    assert str(path) in str(error.value)
    with pytest.raises(RadiographError, match="array: nothing to see in it"):
        classifier.read(BLANK[kind])
    assert [failure.reason for failure in classifier.read_many([path])] == ["blank"]


@pytest.mark.parametrize("shape", [(1, 1), (31, 400), (400, 31)])
def test_a_picture_of_too_few_pixels_is_refused(make_bundle, save_radiograph, shape):
    path = save_radiograph("small.png", np.zeros(shape, np.uint8))
    with pytest.raises(RadiographError, match=f"{shape[1]}×{shape[0]} pixels are too few") as error:
        load_model(make_bundle().path).read(path)
    assert error.value.reason == "too_small"


def test_a_faint_radiograph_is_still_read(make_bundle):
    faint = np.tile(np.linspace(100, 110, 90).astype(np.uint8), (90, 1))
    assert load_model(make_bundle().path).read(faint).probability is not None


def test_the_environments_model_is_the_default(make_bundle, monkeypatch):
    monkeypatch.setenv("KIRIK_MODEL", str(make_bundle("mine", version="7").path))
    assert kirik.load_model().name == "mine, version 7"


def test_reading_imports_no_torch_no_sklearn_and_no_matplotlib(make_bundle, square):
    code = (
        "import sys, kirik\n"
        "assert 'numpy' not in sys.modules, 'import kirik is not cheap'\n"
        f"reading = kirik.load_model({str(make_bundle().path)!r}).read({str(square(0.9))!r})\n"
        "from kirik.output.pictures import write_overlay\n"
        f"write_overlay(reading, {str(make_bundle('o').path / 'x.png')!r})\n"
        "import kirik.predict\n"
        "assert reading.decision == 'fracture'\n"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_package_offers_what_it_lists():
    for name in kirik.__all__:
        assert getattr(kirik, name) is not None
    assert set(kirik.__all__) <= set(dir(kirik))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        kirik.nonsense  # noqa: B018


GATED = {"scope": Scope(threshold=0.5, accepted=0.99)}


def test_what_is_unlike_the_training_data_is_out_of_scope_and_has_no_probability(
    make_bundle, square
):
    classifier = load_model(make_bundle(**GATED).path)
    odd = classifier.read(square(0.6))
    assert (odd.decision, odd.probability, odd.probabilities) == ("out_of_scope", None, {})
    assert (odd.findings, odd.evidence) == ((), None)
    assert odd.strangeness == pytest.approx(0.6, abs=0.01)
    usual = classifier.read(square(0.4))
    assert usual.decision == "no_fracture"
    assert usual.strangeness == pytest.approx(0.4, abs=0.01)


def test_with_the_gate_off_all_are_judged(make_bundle, square):
    reading = Classifier(make_bundle(**GATED), gate=False).read(square(0.6))
    assert reading.decision == "fracture"
    assert reading.strangeness == pytest.approx(0.6, abs=0.01)


def test_an_average_holds_strangeness_against_each_members_own_gate(make_bundle, square, tmp_path):
    strict = make_bundle("strict", scope=Scope(threshold=0.2, accepted=0.99))
    mild = make_bundle("mild", scope=Scope(threshold=0.6, accepted=0.99))
    both = load_model(average_bundles([strict.path, mild.path], tmp_path / "both", "both").path)
    reading = both.read(square(0.25))
    assert reading.strangeness == pytest.approx((0.25 / 0.2 + 0.25 / 0.6) / 2, abs=0.02)
    assert reading.decision != "out_of_scope"
    assert both.read(square(0.4)).decision == "out_of_scope"


def test_attributes_come_by_their_names(make_bundle, square):
    classifier = load_model(make_bundle(attributes=("hardware",)).path)
    assert classifier.read(square(0.8)).attributes == {"hardware": pytest.approx(0.8, abs=0.01)}


@pytest.mark.parametrize("said", ["can't start new thread", "Failed to allocate memory for 16 MB"])
def test_a_machine_that_is_too_small_is_not_blamed_on_the_model(make_bundle, monkeypatch, said):
    classifier = load_model(make_bundle().path)

    def short(*_):
        raise RuntimeError(said)

    monkeypatch.setattr("kirik.reading.engines.OnnxRuntime.run", short)
    with pytest.raises(SettingsError, match="this machine's limits"):
        classifier.read(np.tile(np.arange(96, dtype=np.uint8), (96, 1)))
