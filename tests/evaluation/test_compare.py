import html
import io
import re

import numpy as np
import pytest
from rich.console import Console

from kirik.errors import DataSetError
from kirik.evaluation.compare import compare
from kirik.evaluation.compare_page import TEXTS, print_comparison, write_comparison
from kirik.evaluation.metrics import measure
from kirik.evaluation.report import write_report
from kirik.measuring import compare_runs
from kirik.operating_points import CrossFitted, OperatingPoints

from .conftest import make_predictions, make_types

POINTS = OperatingPoints(0.2, 0.5)


def run(name, part, threshold=0.5):
    return name, part, measure(part, bootstrap=20, threshold=threshold)


def test_a_difference_is_that_of_the_figures_on_the_common_radiographs():
    first, second = make_predictions(seed=1), make_predictions(seed=2)
    shuffled = second.select(np.random.default_rng(0).permutation(300)[:220])
    found = compare([run("a", first), run("b", shuffled)], bootstrap=50).differences[0]
    assert (found.name, found.reference, found.common, found.refused) == ("b", "a", 220, None)
    kept = np.isin(first.ids, shuffled.ids)
    before, after = (measure(p.select(kept), bootstrap=0)["fracture"] for p in (first, second))
    for name in ("auroc", "sensitivity", "brier", "specificity_at_sensitivity_95"):
        expected = after[name]["value"] - before[name]["value"]
        assert found.figures[name]["value"] == pytest.approx(expected)


def test_a_paired_interval_is_narrower_than_the_runs_own():
    first = make_predictions()
    second = make_predictions()
    nudged = np.clip(first.probabilities[:, 1] + np.where(np.arange(300) % 7 == 0, 0.1, 0), 0, 1)
    object.__setattr__(second, "probabilities", np.stack([1 - nudged, nudged], axis=1))
    runs = [("a", first, measure(first, bootstrap=300)), run("b", second)]
    found = compare(runs, bootstrap=300).differences[0].figures["auroc"]
    alone = runs[0][2]["fracture"]["auroc"]
    assert found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])


def test_a_run_compared_with_itself_does_not_differ():
    part = make_predictions()
    figures = compare([run("a", part), run("b", part)], bootstrap=50).differences[0].figures
    assert all(figure == {"value": 0, "low": 0, "high": 0} for figure in figures.values())


def test_the_interval_of_a_difference_of_calibration_errors_has_not_their_bias():
    """In a replicate chance adds to the error of a good calibration more than to a bad one's."""
    good, bad = make_predictions(), make_predictions()
    drawn = np.random.default_rng(5).random(300)
    truth = np.where(good.fractured, np.sqrt(drawn), 1 - np.sqrt(drawn))
    object.__setattr__(good, "probabilities", np.stack([1 - truth, truth], axis=1))
    object.__setattr__(bad, "probabilities", np.stack([truth / 4 + 0.7, 0.3 - truth / 4], axis=1))
    figure = compare([run("a", good), run("b", bad)], bootstrap=500).differences[0].figures["ece"]
    middle = (figure["low"] + figure["high"]) / 2
    assert middle == pytest.approx(figure["value"], abs=(figure["high"] - figure["low"]) / 8)


def test_a_difference_of_calibration_errors_may_be_below_nothing():
    good, bad = make_predictions(strength=3), make_predictions(strength=0, seed=7)
    figure = compare([run("b", bad), run("a", good)], bootstrap=100).differences[0].figures["ece"]
    assert figure["low"] < min(figure["value"], 0)


def test_each_run_keeps_its_own_threshold():
    part = make_predictions()
    found = compare([run("a", part, 0.5), run("b", part, 0.2)], bootstrap=0).differences[0]
    assert found.figures["sensitivity"]["value"] > 0
    assert found.figures["auroc"]["value"] == 0


@pytest.mark.parametrize(("language", "own"), [("en", "each fold's own"), ("tr", "her katın")])
def test_figures_at_thresholds_that_differ_by_fold_have_no_difference(tmp_path, language, own):
    part = make_predictions()
    points = CrossFitted(np.full(300, 0.2), np.linspace(0.3, 0.7, 300))
    fitted = measure(part, bootstrap=20, operating_points=POINTS, cross_fitted=points)
    compared = compare([run("a", part), ("b", part, fitted)], bootstrap=20)
    assert compared.differences[0].figures.keys() == {
        *("auroc", "auprc", "brier", "ece"),
        *("sensitivity_at_specificity_90", "specificity_at_sensitivity_95"),
    }
    console = Console(file=io.StringIO(), width=200)
    print_comparison(compared, console, language)
    page = write_comparison(tmp_path / "c.html", compared, language).read_text("utf-8")
    plain = compare([run("a", part), run("b", part)], bootstrap=0)
    without = write_comparison(tmp_path / "c.html", plain, language).read_text("utf-8")
    why = TEXTS[language]["own_thresholds_note"]
    for shown in (console.file.getvalue(), html.unescape(page)):
        assert own in shown
        assert shown.count(why) == 1
    assert why not in html.unescape(without)


def test_differing_labels_and_nothing_in_common_are_refused_and_said():
    first, other = make_predictions(), make_predictions(truth_seed=1)
    strangers = make_predictions()
    object.__setattr__(strangers, "ids", tuple(f"z{i}" for i in range(300)))
    comparison = compare([run("a", first), run("b", other), run("c", strangers)], bootstrap=10)
    differ, none = comparison.differences
    assert differ.refused == "labels_differ"
    assert differ.disagreeing == np.sum(first.labels != other.labels)
    assert differ.figures == none.figures == {}
    assert none.refused == "none_common"
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=200))
    assert f"the labels of {differ.disagreeing} common radiographs differ" in out.getvalue()
    assert "no radiograph in common" in out.getvalue()


def test_fracture_types_compare_with_two_classes_on_fractured_or_not():
    types = make_types()
    two = make_predictions()
    probability = np.stack([types.probabilities[:, 0], 1 - types.probabilities[:, 0]], axis=1)
    for name, value in (
        ("ids", types.ids),
        ("labels", (types.labels != 0).astype(int)),
        ("probabilities", probability),
    ):
        object.__setattr__(two, name, value)
    found = compare([run("types", types), run("two", two)], bootstrap=20).differences[0]
    assert found.common == 300
    assert found.figures["auroc"]["value"] == pytest.approx(0)


def test_types_without_a_negative_class_are_compared_class_by_class(tmp_path):
    runs = [run("a", make_types(negative=None)), run("b", make_types(negative=None))]
    comparison = compare(runs, bootstrap=20)
    assert comparison.measures[2] == "macro_auroc"
    page = write_comparison(tmp_path / "compare.html", comparison).read_text("utf-8")
    assert "AUROC, mean over classes" in page


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"fracture": {"threshold": 0.5}}'])
def test_a_run_of_broken_figures_is_named(tmp_path, content):
    part = make_predictions()
    for name in ("a", "b"):
        write_report(tmp_path / name, part, measure(part, bootstrap=0))
    (tmp_path / "b" / "metrics.json").write_text(content)
    with pytest.raises(DataSetError, match=r"b/metrics.json: no readable figures"):
        compare_runs([tmp_path / "a", tmp_path / "b"], bootstrap=10)


def test_figures_of_another_question_than_the_predictions_are_refused(tmp_path):
    part, types = make_predictions(), make_types(negative=None)
    for name, own in (("a", part), ("b", types)):
        write_report(tmp_path / name, own, measure(own, bootstrap=0))
    part.write(tmp_path / "b" / "predictions.csv")
    with pytest.raises(DataSetError, match="b: its figures lack auroc"):
        compare_runs([tmp_path / "a", tmp_path / "b"], bootstrap=10)


def test_what_cannot_be_compared_is_refused():
    part = make_predictions()
    with pytest.raises(DataSetError, match="name at least two"):
        compare([run("a", part)])
    with pytest.raises(DataSetError, match="two runs are named 'a'"):
        compare([run("a", part), run("a", part)])
    with pytest.raises(DataSetError, match="tell different classes apart"):
        compare([run("a", part), run("b", make_types(negative=None))])


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_page_is_one_file_that_marks_what_is_better(tmp_path, language):
    weak, strong = make_predictions(strength=0.5), make_predictions(strength=4.0)
    comparison = compare([run("weak", weak), run("<strong>", strong)], bootstrap=100)
    path = write_comparison(tmp_path / "compare.html", comparison, language)
    page = path.read_text("utf-8")
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', page))
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert "&lt;strong&gt;" in page
    assert "<strong>" not in page
    sign = {"en": "−0.", "tr": "−0,"}[language]
    brier = page[page.rindex("Brier") :]
    assert re.search(rf'class="good">▲ {sign}', brier[: brier.index("</tr>")])


def test_console_tables_hold_names_that_look_like_markup():
    part = make_predictions()
    comparison = compare([run("[bold]", part), run("[/x]", part)], bootstrap=10)
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=160), "tr")
    assert "[bold]" in out.getvalue()
    assert "[/x]" in out.getvalue()
    assert "Duyarlılık" in out.getvalue()


@pytest.mark.parametrize("language", ["en", "tr"])
def test_files_of_one_name_in_other_data_sets_are_not_paired(tmp_path, language):
    part = make_predictions()
    sets = {"a": "wrists", "b": "hips", "c": "wrists", "d": None}
    runs = []
    for name, data_set in sets.items():
        write_report(
            tmp_path / name,
            part,
            measure(part, bootstrap=0),
            facts={"data_set": data_set, "split": f"split of {name}"},
        )
        runs.append(tmp_path / name)
    comparison = compare_runs(runs, bootstrap=10)
    refused = {difference.name: difference.refused for difference in comparison.differences}
    assert refused == {"b": "other_data", "c": None, "d": None}
    page = write_comparison(tmp_path / "compare.html", comparison, language).read_text("utf-8")
    said = {"en": "measured on other data", "tr": "başka bir veri kümesinde ölçülmüş"}
    assert page.count(said[language]) == 1


@pytest.mark.parametrize("language", ["en", "tr"])
def test_a_run_that_knows_what_it_is_measured_on_is_marked_and_said(tmp_path, language):
    part = make_predictions()
    sides = {
        "fair": {"trained_on_this_part": False, "selected_on_this_part": None},
        "learned": {"trained_on_this_part": True, "selected_on_this_part": True},
        "tuned": {"trained_on_this_part": False, "selected_on_this_part": True},
    }
    for name, facts in sides.items():
        write_report(tmp_path / name, part, measure(part, bootstrap=0), facts=facts)
    out = Console(file=io.StringIO(), width=200)
    for names, marked in (
        (["fair", "learned", "tuned"], 2),
        (["learned", "fair", "tuned"], 2),  # the reference's mark stands in the title
        (["fair"], 0),
    ):
        runs = [tmp_path / name for name in names]
        runs += [] if marked else [tmp_path / "copy"]
        if not marked:
            write_report(runs[1], part, measure(part, bootstrap=0))
        comparison = compare_runs(runs, bootstrap=10)
        page = write_comparison(tmp_path / "c.html", comparison, language).read_text("utf-8")
        out.file.truncate(0)
        print_comparison(comparison, out, language)
        for shown in (page, out.file.getvalue()):
            for how, name, mark in (("trained", "learned", "†"), ("selected", "tuned", "‡")):
                said = TEXTS[language][how].format(mark=mark, names=name)
                assert shown.count(said) == bool(marked)
                assert shown.count(f"{name} {mark}") >= marked
            assert "fair †" not in shown
            assert "fair ‡" not in shown


def test_no_name_and_no_figure_of_many_runs_is_cut_off(capsys):
    part = make_predictions()
    names = [f"densenet_at_512_pixels_fold{fold}" for fold in range(8)]
    comparison = compare([run(name, part) for name in names], bootstrap=10)
    narrow = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    print_comparison(comparison, narrow)
    assert not re.search(r"\S…", narrow.file.getvalue())
    print_comparison(comparison)  # to a pipe
    first, *_ = capsys.readouterr().out.partition("Differences")
    assert all(name in first for name in names)


def test_runs_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    part = make_predictions()
    folders = [tmp_path / place for place in ("first/run", "second/run", "third/other")]
    for folder in folders:
        write_report(folder / "report", part, measure(part, bootstrap=0))
    comparison = compare_runs(folders, bootstrap=10)
    assert [name for name, _, _ in comparison.runs] == ["first/run", "second/run", "other"]
    with pytest.raises(DataSetError, match="two runs are named"):
        compare_runs([folders[0], folders[0]], bootstrap=10)
