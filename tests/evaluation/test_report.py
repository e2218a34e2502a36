import base64
import html
import json
import re
import shutil
import string
from dataclasses import replace

import numpy as np
import pytest

from kirik.errors import DataSetError
from kirik.evaluation import compare_page, plots, wording
from kirik.evaluation.curves import Line
from kirik.evaluation.examples import Example, choose_examples
from kirik.evaluation.history import read_history
from kirik.evaluation.metrics import measure
from kirik.evaluation.predictions import read_predictions
from kirik.evaluation.report import bias_warnings, write_report
from kirik.evaluation.report_texts import REPORT
from kirik.operating_points import CrossFitted, OperatingPoints

from .conftest import make_predictions, make_types

POINTS = OperatingPoints(0.25, 0.6)
COLUMNS = "epoch,train_loss,validation_loss,train_accuracy,validation_accuracy,validation_auroc"


def examples_of(part, overlay=False):
    pixels = np.linspace(0, 1, 60 * 40, dtype=np.float32).reshape(60, 40)
    drawn = np.full((60, 40, 3), 200, np.uint8) if overlay else None
    return [
        Example(part.ids[i], int(part.labels[i]), part.probabilities[i], pixels, drawn, kind)
        for kind, rows in choose_examples(part, 2).items()
        for i in rows
    ]


def page_of(tmp_path, part, **values):
    metrics = measure(part, bootstrap=30, operating_points=values.pop("points", None))
    return write_report(tmp_path / "out", part, metrics, **values).read_text("utf-8")


def shape(texts):
    """Keys and placeholders of a dict of texts, however deep."""
    if isinstance(texts, dict):
        return {key: shape(value) for key, value in texts.items()}
    return sorted({name for _, name, _, _ in string.Formatter().parse(texts) if name})


@pytest.mark.parametrize(
    "texts", [REPORT, plots.TEXTS, wording.MEASURES, compare_page.TEXTS], ids=lambda t: len(t["en"])
)
def test_turkish_has_the_texts_and_placeholders_that_english_has(texts):
    assert shape(texts["en"]) == shape(texts["tr"])


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_report_is_one_file_without_outside_links(tmp_path, language):
    part = make_predictions()
    page = page_of(
        tmp_path, part, points=POINTS, examples=examples_of(part, overlay=True), language=language
    )
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert not re.search(r"<(script|link|iframe)", page)
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', page))
    assert f'lang="{language}"' in page
    text = REPORT[language]
    for key in ("three_way", "curves", "examples", "subgroups", "device", "missed", "evidence"):
        assert text[key] in page


def test_the_report_shows_the_figures_that_were_measured(tmp_path):
    part = make_predictions()
    metrics = measure(part, bootstrap=30)
    auroc = metrics["fracture"]["auroc"]
    page = write_report(tmp_path, part, metrics).read_text("utf-8")
    assert f"<b>{auroc['value']:.3f}</b>" in page
    assert f"{auroc['low']:.3f} – {auroc['high']:.3f}" in page
    turkish = write_report(tmp_path, part, metrics, language="tr").read_text("utf-8")
    assert f"<b>{auroc['value']:.3f}</b>".replace(".", ",") in turkish
    assert f"<b>%{100 * metrics['fracture']['accuracy']['value']:.1f}".replace(".", ",") in turkish


@pytest.mark.parametrize(
    ("language", "own", "one"),
    [("en", "at each fold's own threshold", "at threshold"), ("tr", "her katın kendi", "eşik 0")],
)
def test_cross_fitted_figures_claim_no_single_threshold(tmp_path, language, own, one):
    part = make_predictions()
    points = CrossFitted(np.full(300, 0.2), np.linspace(0.3, 0.7, 300))
    metrics = measure(part, bootstrap=30, operating_points=POINTS, cross_fitted=points)
    page = write_report(tmp_path, part, metrics, language=language).read_text("utf-8")
    page = html.unescape(page)
    assert page.count(own) >= 4
    assert REPORT[language]["confusion_own"] in page
    assert one not in page
    assert REPORT[language]["three_way_points_own"].split("{")[0] in page
    alone = write_report(tmp_path, part, measure(part, bootstrap=30), language=language)
    assert own not in html.unescape(alone.read_text("utf-8"))


def test_the_three_way_part_tells_what_is_wrong_dismissed_and_refused(tmp_path):
    part = make_predictions()
    metrics = measure(part, bootstrap=30, operating_points=POINTS)
    refused = REPORT["en"]["refused"]
    assert refused not in write_report(tmp_path, part, metrics).read_text("utf-8")
    page = write_report(tmp_path, part, metrics | {"out_of_scope": 3}).read_text("utf-8")
    p, fractured = part.fracture_probability, part.fractured
    called, cleared = p >= POINTS.high, p < POINTS.low
    for name, rows, among in (
        ("Wrong among “fracture”", called & ~fractured, called),
        ("Fractures called “no fracture”", cleared & fractured, fractured),
    ):
        share = f"{100 * np.sum(rows) / np.sum(among):.1f}%"
        counted = f"{np.sum(rows)} / {np.sum(among)}"
        assert re.search(rf"{name}</td>.*>{counted}</td>\s*<td[^>]*>{share}<", page)
    assert re.search(rf"{refused}</td>.*>3 / 300</td>\s*<td[^>]*>1.0%<", page)


@pytest.mark.parametrize("low", [0.2, 0.25, 0.3, 0.35])
def test_of_100_radiographs_100_are_decided_or_left_to_a_person(tmp_path, low):
    part = make_predictions()
    page = page_of(tmp_path, part, points=OperatingPoints(low, 0.5))
    [sentence] = re.findall(r"Of 100 radiographs like these, (.*) left to a person", page)
    said = [int(count) for count in re.findall(r"\d+", sentence)]
    p = part.fracture_probability
    shares = [100 * np.mean(rows) for rows in (p >= 0.5, p < low, (p >= low) & (p < 0.5))]
    assert sum(said) == 100
    assert np.abs(np.subtract(said, shares)).max() < 1


def test_metrics_and_predictions_beside_the_report_hold_the_same(tmp_path):
    part = make_predictions()
    metrics = measure(part, bootstrap=30, operating_points=POINTS)
    facts = {"model": "m", "versions": {"kirik": "0.1"}, "path": tmp_path}
    write_report(tmp_path, part, metrics, facts=facts)
    found = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert found["facts"]["versions"] == {"kirik": "0.1"}
    del found["facts"]
    assert found == metrics
    assert read_predictions(tmp_path / "predictions.csv").ids == part.ids


def test_where_the_figures_come_from_is_shown_and_escaped(tmp_path):
    facts = {"network": "<b>net</b>", "split": "fracatlas-v1", "versions": {"numpy": "2.1"}}
    page = page_of(tmp_path, make_predictions(), facts=facts)
    assert "&lt;b&gt;net&lt;/b&gt;" in page
    assert "numpy 2.1" in page


COST = {"size": 64, "parameters": 2.274, "gflops": 0.051, "megabytes": 4.74}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            {
                "Cost": "Input of 64 × 64 pixels; 2.274 million parameters; 0.051 GFLOP for a"
                " radiograph; 4.74 MB; 221.1 radiographs read in a second (CPU cores: 2)",
                "Average of": "a; b",
                "First network, on the whole radiograph": "wide",
                "Began with the weights of": "earlier",
                "Starting weights": "none, from random weights",
                "Model made of the folds": "the average of their networks",
            },
        ),
        (
            "tr",
            {
                "Maliyet": "64 × 64 piksellik girdi; 2,274 milyon parametre; bir radyografi için"
                " 0,051 GFLOP; 4,74 MB; saniyede 221,1 radyografi (işlemci çekirdeği: 2)",
                "Ortalaması alınan modeller": "a; b",
                "Radyografinin bütününe bakan ilk ağ": "wide",
                "Başlangıç ağırlıklarının modeli": "earlier",
                "Başlangıç ağırlıkları": "yok, rastgele ağırlıklarla",
                "Katlardan yapılan model": "ağlarının ortalaması",
            },
        ),
    ],
)
def test_what_a_cross_validation_tells_of_its_models_is_in_the_readers_language(
    tmp_path, language, said
):
    facts = {
        "cost": COST | {"readings_per_second": 221.1, "cores": 2},
        **{"averages": ["a", "b"], "overview": "wide", "start": "earlier"},
        **{"weights": "none", "final": "average"},
    }
    page = html.unescape(page_of(tmp_path, make_predictions(n=60), facts=facts, language=language))
    assert dict(re.findall(r"<dt>(.*)</dt><dd>(.*)</dd>", page)) == said


@pytest.mark.parametrize("bias", ["trained", "selected"])
@pytest.mark.parametrize("there", [True, False, None])
def test_a_part_that_the_model_knows_is_said_to_be_no_test(tmp_path, bias, there):
    facts = {f"{bias}_on_this_part": there}
    page = page_of(tmp_path, make_predictions(n=60), facts=facts, points=POINTS)
    assert (REPORT["en"][bias] in page) == bool(there)
    elsewhere = "The points were chosen on other" in page
    assert elsewhere == (bias == "selected" and there is False)


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize(("groups", "warned"), [(2, True), (9, True), (40, False)])
def test_intervals_of_a_few_groups_are_said_to_be_too_narrow(tmp_path, groups, warned, language):
    part = make_predictions(groups=groups)
    said = REPORT[language]["few_groups"].format(groups=len(set(part.groups)))
    assert (said in page_of(tmp_path, part, language=language)) == warned


TYPES = ("normal", "oblique", "spiral", "transverse")
MORE = tuple(f"kolles_distal_radius_kırığı_{i}" for i in range(8))


@pytest.mark.parametrize(("negative", "more"), [(0, ()), (None, ()), (None, MORE)])
def test_several_classes_have_a_report(tmp_path, negative, more):
    part = make_types(60, TYPES + more, negative)
    page = page_of(tmp_path, part, examples=examples_of(part), language="tr")
    assert REPORT["tr"]["by_class"] in page
    assert "transvers" in page
    assert page.count("<img") >= 5
    assert page.count('<figure class="wide scroll"') == bool(more)


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (replace(make_predictions(), classes=("normal", "kırık")), ["normal", "kırık"]),
        (replace(make_predictions(), classes=("kırık", "normal"), negative=1), ["normal", "kırık"]),
        (make_types(60, TYPES, 0), ["normal", "fractured"]),
    ],
)
def test_the_histogram_calls_classes_what_the_confusion_matrix_calls_them(
    tmp_path, monkeypatch, part, names
):
    drawn, draw = [], plots.histogram_figure

    def histogram(scores, *said, **more):
        drawn.extend(scores)
        return draw(scores, *said, **more)

    monkeypatch.setattr(plots, "histogram_figure", histogram)
    page_of(tmp_path, part, language="tr")
    assert drawn == names


@pytest.mark.parametrize("count", [2, 5, 12])
def test_the_plots_of_many_classes_can_be_read(count):
    names = [*TYPES, *MORE][-count:]
    line = Line(np.array([0, 1]), np.array([0, 1]), 0.5)
    for figure in (
        plots.roc_figure(dict.fromkeys(names, line)),
        plots.pr_figure(dict.fromkeys(names, line), None),
    ):
        figure.draw_without_rendering()
        [axes] = figure.axes
        box = (axes.get_legend() or figure.legends[0]).get_window_extent()
        covered = box.intersection(box, axes.bbox)
        assert covered is None or covered.width * covered.height < axes.bbox.size.prod() / 4
        assert figure.bbox.width >= box.x1
        assert box.x0 >= 0
        assert axes.bbox.width > 250
    figure = plots.confusion_figure(
        {
            "classes": names,
            "counts": np.full((count, count), 1234).tolist(),
            "percent": np.full((count, count), 100.0).tolist(),
        }
    )
    figure.draw_without_rendering()
    [axes] = figure.axes
    assert len(axes.texts) == count**2
    for text in axes.texts:
        assert text.get_fontsize() >= 11
        assert text.get_window_extent().width < axes.bbox.width / count
    for axis in (axes.xaxis, axes.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert all(figure.bbox.x0 <= box.x0 and box.y0 >= 0 for box in boxes)


@pytest.mark.parametrize("language", ["en", "tr"])
def test_draws_that_were_left_out_are_told_under_the_figures_that_they_are_of(tmp_path, language):
    part = make_types(n=90)
    rare = np.flatnonzero(part.labels == 3)[0]
    part = part.select(np.concatenate([np.flatnonzero(part.labels != 3), [rare]]))
    count = measure(part, bootstrap=30)["bootstrap"]["skipped_by_class"]
    page = page_of(tmp_path, part, language=language)
    said = REPORT[language]["skipped"].format(skipped=count)
    first, _, classes = page.partition(f"<h2>{REPORT[language]['by_class']}</h2>")
    assert said not in first
    assert said in classes.partition("<h2>")[0]


@pytest.mark.parametrize("fractured", [True, False])
def test_a_part_of_one_class_has_a_report_that_says_so(tmp_path, fractured):
    part = make_predictions()
    part = part.select(part.fractured == fractured)
    page = page_of(tmp_path, part, points=POINTS, examples=examples_of(part))
    assert REPORT["en"]["one_class"] in page
    assert "AUROC<b>–</b>" in page


@pytest.mark.parametrize("language", ["en", "tr"])
def test_a_faultless_auroc_is_shown_without_an_interval(tmp_path, language):
    part = make_predictions()
    p = np.where(part.fractured, 0.9, 0.1)
    object.__setattr__(part, "probabilities", np.stack([1 - p, p], axis=1))
    page = page_of(tmp_path, part, language=language)
    one = {"en": "1.000", "tr": "1,000"}[language]
    assert f'AUROC<b>{one}</b><span class="interval">–</span>' in page
    assert f"{one} – {one}" not in page
    assert "Clopper-Pearson" in page
    assert not re.search(r"%?100[.,]0%? – %?100[.,]0", page)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_report_is_no_wider_than_a_phone_and_has_two_figures_in_a_row_on_paper(tmp_path):
    browsers = pytest.importorskip("playwright.sync_api")
    part, long = make_types(60, TYPES + MORE, 0), "a_name_without_an_end_" * 5
    facts = {"model": long, "data_set": f"/data/{long}", "versions": {"kirik": long}}
    page_of(tmp_path, part, examples=examples_of(part), facts=facts, language="tr")
    with browsers.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 375, "height": 760})
        page.goto(f"file://{tmp_path}/out/report.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.set_viewport_size({"width": 718, "height": 1047})  # A4 within its margins
        page.emulate_media(media="print")
        figures = "getComputedStyle(document.querySelector('.figures'))"
        assert page.evaluate(f"{figures}.gridTemplateColumns").count("px") == 2
        browser.close()


def test_a_single_radiograph_has_a_report(tmp_path):
    part = make_predictions().select([0])
    assert REPORT["en"]["no_intervals"] in page_of(tmp_path, part, points=POINTS)


def test_the_curves_of_a_training_are_drawn_from_what_its_history_has(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text(f"{COLUMNS}\n1,0.7,0.6,0.5,0.6,0.7\n2,0.5,,0.7,oops,0.8\n3,0.4", "utf-8")
    found = read_history(history)
    assert found["epoch"].tolist() == [1, 2, 3]
    assert np.isnan(found["validation_loss"][1:]).all()
    assert plots.accuracy_figure(found) is not None
    history.write_text("train_loss\n0.7\n0.5\n", "utf-8")
    page = page_of(tmp_path, make_predictions(n=60), history=history)
    assert REPORT["en"]["loss"] in page
    assert REPORT["en"]["accuracy"] not in page


@pytest.mark.parametrize(
    ("losses", "validation", "epochs"),
    [([0.693], [0.6928], ["1"]), ([0.6931, 0.693], [0.6929, 0.6928], ["1", "2"])],
)
def test_the_curves_of_few_epochs_have_ticks_that_differ(losses, validation, epochs):
    count = np.arange(1.0, len(losses) + 1)
    history = {"epoch": count, "train_loss": losses, "validation_loss": validation}
    figure = plots.loss_figure({name: np.array(values) for name, values in history.items()})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert shown_ticks(axes.xaxis) == epochs
    ticks = shown_ticks(axes.yaxis)
    assert len(ticks) > 2
    assert len(set(ticks)) == len(ticks)


def shown_ticks(axis):
    """The labels of the ticks that lie within an axis's limits."""
    low, high = axis.get_view_interval()
    return [
        tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
    ]


def test_a_history_that_is_none_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text(COLUMNS, "utf-8")
    with pytest.raises(DataSetError, match=r"empty\.csv: no epochs"):
        read_history(tmp_path / "empty.csv")
    with pytest.raises(DataSetError, match="not a readable training history"):
        read_history(tmp_path / "absent.csv")


def test_examples_are_of_their_kind_and_the_surest_first():
    part = make_predictions()
    p, fractured = part.fracture_probability, part.fractured
    chosen = choose_examples(part, 4)
    assert set(chosen) == {"missed", "false_alarm", "found", "cleared", "uncertain"}
    assert fractured[chosen["missed"]].all()
    assert (p[chosen["missed"]] < 0.5).all()
    assert p[chosen["missed"][0]] == p[fractured].min()
    assert p[chosen["false_alarm"][0]] == p[~fractured].max()
    assert np.all(np.diff(p[chosen["found"]]) <= 0)
    for rows in chosen.values():
        assert len({part.groups[row] for row in rows}) == len(rows) == 4
    together = [row for rows in chosen.values() for row in rows]
    assert len(set(together)) == len(together)


def test_doubtful_examples_lie_between_the_operating_points():
    part = make_predictions()
    rows = choose_examples(part, 5, operating_points=OperatingPoints(0.2, 0.3))["uncertain"]
    assert np.abs(part.fracture_probability[rows] - 0.25).max() < 0.05


def test_between_the_operating_points_nothing_is_missed_and_nothing_alarms():
    part = make_predictions()
    p, fractured = part.fracture_probability, part.fractured
    points = OperatingPoints(0.25, 0.7)
    assert np.any(fractured & (p >= 0.25) & (p < 0.5))
    chosen = choose_examples(part, 300, operating_points=points)
    for kind, of_kind in (
        ("missed", fractured & (p < 0.25)),
        ("cleared", ~fractured & (p < 0.25)),
        ("false_alarm", ~fractured & (p >= 0.7)),
        ("found", fractured & (p >= 0.7)),
    ):
        assert of_kind[chosen[kind]].all()
        assert {part.groups[row] for row in chosen[kind]} == set(np.array(part.groups)[of_kind])


def test_the_seed_chooses_among_equals():
    part = make_predictions(decimals=0)
    assert choose_examples(part, 3, seed=1) == choose_examples(part, 3, seed=1)
    assert choose_examples(part, 3, seed=1) != choose_examples(part, 3, seed=2)


def test_examples_of_classes_without_a_negative_one():
    part = make_types(negative=None)
    chosen = choose_examples(part, 3)
    right = part.probabilities.argmax(axis=1) == part.labels
    assert right[chosen["right"]].all()
    assert not right[chosen["wrong"]].any()


def test_an_example_without_a_kind_is_right_or_wrong(tmp_path):
    part = make_predictions()
    pixels = np.zeros((8, 8), np.float32)
    example = Example("x.png", 1, np.array([0.9, 0.1]), pixels)
    assert REPORT["en"]["wrong"] in page_of(tmp_path, part, examples=[example])


def test_names_that_matplotlib_would_misread_are_drawn_as_they_are():
    line = Line(np.array([0, 1]), np.array([0, 1]), 0.5)
    figure = plots.roc_figure({"_hidden": line, "a$^b$": line})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any("_hidden" in label for label in labels)
    assert plots.figure_uri(plots.roc_figure({"a$\\frac$": line})).startswith("data:")


@pytest.mark.parametrize(
    ("points", "kind", "start"), [(9, "svg+xml", b"<?xml"), (4000, "png", b"\x89PNG\r")]
)
def test_a_figure_comes_into_the_page_in_the_smaller_of_two_forms(points, kind, start):
    noise = np.random.default_rng(0).random(points)
    line = Line(np.linspace(0, 1, points), noise, 0.5)
    found, again = (plots.figure_uri(plots.roc_figure({"": line})) for _ in range(2))
    assert found.startswith(f"data:image/{kind};base64,")
    assert base64.b64decode(found.split(",")[1]).startswith(start)
    assert found == again


def test_numbers_are_written_as_each_language_writes_them():
    assert wording.percent(0.8734, "en") == "87.3%"
    assert wording.percent(0.8734, "tr") == "%87,3"
    assert wording.percent(-0.8734, "tr") == "−%87,3"
    assert wording.percent(-0.0001, "en") == "0.0%"
    assert wording.whole(3212, "tr") == "3.212"
    assert wording.value_text(None, "auroc", "en") == "–"
    assert wording.word("hand, leg", "tr") == "el, bacak"
    assert wording.word("unheard_of", "tr") == "unheard of"
    assert wording.word("frontal", "tr") == "AP/PA"  # PA hands, too


@pytest.mark.parametrize(
    ("language", "counted", "unknown"),
    [
        ("en", "of this part, {}1,204 of 3,000 by their ids:", "is not known"),
        ("tr", "(kimliklerine göre 3.000 radyografinin {}1.204 tanesiyle)", "bilinmiyor"),
    ],
)
def test_a_report_tells_how_many_radiographs_trained_or_that_it_is_not_known(
    tmp_path, language, counted, unknown
):
    said = {"trained_on_this_part": True, "selected_on_this_part": True, "seen_in_training": 1204}
    [first, second] = bias_warnings(said, 3000, language)
    assert counted.format("") in first
    assert second == REPORT[language]["selected"]
    least = said | {"seen_in_training": None, "seen_at_least": 1204}
    [first, _] = bias_warnings(least, 3000, language)
    assert counted.format({"en": "at least ", "tr": "en az "}[language]) in first
    for fact, there in ((None, True), (False, False)):
        facts = {"trained_on_this_part": fact, "selected_on_this_part": fact}
        page = page_of(tmp_path, make_predictions(), facts=facts, language=language)
        assert (REPORT[language]["perhaps_trained"] in html.unescape(page)) is there
        assert (unknown in page) is there
