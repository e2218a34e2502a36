import json

import numpy as np
import pytest
from sklearn import metrics as reference

from kirik.errors import DataSetError, SettingsError
from kirik.evaluation.bootstrap import bootstrap
from kirik.evaluation.metrics import headline, measure
from kirik.operating_points import OperatingPoints

from .conftest import make_predictions, make_types


@pytest.mark.parametrize("decimals", [None, 1])
def test_figures_equal_scikit_learns_with_and_without_ties(decimals):
    part = make_predictions(decimals=decimals)
    truth, p = part.fractured, part.fracture_probability
    called = p >= 0.4
    expected = {
        "auroc": reference.roc_auc_score(truth, p),
        "auprc": reference.average_precision_score(truth, p),
        "accuracy": reference.accuracy_score(truth, called),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, called),
        "sensitivity": reference.recall_score(truth, called),
        "specificity": reference.recall_score(~truth, ~called),
        "ppv": reference.precision_score(truth, called),
        "npv": reference.precision_score(~truth, ~called),
        "f1": reference.f1_score(truth, called),
        "mcc": reference.matthews_corrcoef(truth, called),
        "brier": reference.brier_score_loss(truth, p),
        "log_loss": reference.log_loss(truth, np.clip(p, 1e-7, 1 - 1e-7)),
    }
    found = measure(part, threshold=0.4, bootstrap=0)["fracture"]
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-7)


def test_replicates_that_lack_a_class_make_no_interval():
    """Of nine classes eight are in one group each: hardly a replicate has them all."""
    labels = np.array([0] * 60 + list(range(1, 9)))
    groups = [f"g{n}" for n in range(68)]

    def accuracy(weights):
        return {"accuracy": weights @ (labels != 3) / weights.sum(axis=1)}

    drawn = bootstrap(accuracy, labels, groups, replicates=400)
    assert drawn.skipped > 300
    assert drawn.estimates["accuracy"] == {"value": 67 / 68, "low": None, "high": None}


def test_sensitivity_and_specificity_at_each_other_equal_the_roc_curves():
    part = make_predictions(decimals=2)
    alarms, hits, _ = reference.roc_curve(
        part.fractured, part.fracture_probability, drop_intermediate=False
    )
    found = measure(part, bootstrap=0)["fracture"]
    at = found["sensitivity_at_specificity_90"]["value"]
    assert at == pytest.approx(hits[alarms <= 0.1 + 1e-12].max())
    for wanted in (90, 95):
        at = found[f"specificity_at_sensitivity_{wanted}"]["value"]
        assert at == pytest.approx(1 - alarms[hits >= wanted / 100 - 1e-12].min())


def test_a_replicates_weights_count_a_radiograph_as_often_as_copies_of_it_would():
    from kirik.evaluation.questions import FractureQuestion

    part = make_predictions(n=120, decimals=1)
    weights = np.random.default_rng(5).integers(0, 4, 120)
    copies = part.select(np.repeat(np.arange(120), weights))
    points = OperatingPoints(0.2, 0.6)
    weighted = FractureQuestion(part, 0.5, points).values(weights[None].astype(float))
    copied = FractureQuestion(copies, 0.5, points).values(np.ones((1, len(copies.ids))))
    # Calibration bins are those of the part itself, whatever was drawn.
    names = [name for name in weighted if name != "ece"]
    assert {n: weighted[n][0] for n in names} == pytest.approx({n: copied[n][0] for n in names})


def test_weights_count_in_each_class_too():
    from kirik.evaluation.questions import ClassQuestion

    part = make_types(120)
    weights = np.random.default_rng(6).integers(0, 4, 120)
    copies = part.select(np.repeat(np.arange(120), weights))
    weighted = ClassQuestion(part).values(weights[None].astype(float))
    copied = ClassQuestion(copies).values(np.ones((1, len(copies.ids))))
    names = [name for name in weighted if name != "ece"]
    assert {n: weighted[n][0] for n in names} == pytest.approx({n: copied[n][0] for n in names})


def test_intervals_hold_the_figure_and_repeat_with_the_seed(predictions):
    first = measure(predictions, bootstrap=300, seed=1)["fracture"]
    again = measure(predictions, bootstrap=300, seed=1)["fracture"]
    other = measure(predictions, bootstrap=300, seed=2)["fracture"]
    auroc = first["auroc"]
    assert auroc["low"] < auroc["value"] < auroc["high"]
    assert first == again
    assert auroc["low"] != other["auroc"]["low"]


@pytest.mark.parametrize("seed", range(12))
def test_the_calibration_error_of_calibrated_probabilities_lies_in_its_interval(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(300)
    part = make_predictions()
    object.__setattr__(part, "labels", (rng.random(300) < p).astype(int))
    object.__setattr__(part, "probabilities", np.stack([1 - p, p], axis=1))
    object.__setattr__(part, "groups", part.ids)
    found = measure(part, bootstrap=200)["fracture"]["ece"]
    assert 0 <= found["low"] < found["value"] < found["high"]


def test_intervals_are_wider_when_copies_share_a_group_than_when_they_pass_for_patients():
    part = make_predictions(n=100, groups=10_000)
    copies = part.select(np.repeat(np.arange(100), 8))
    alone = make_predictions(n=800, groups=10_000)
    object.__setattr__(alone, "labels", copies.labels)
    object.__setattr__(alone, "probabilities", copies.probabilities)
    object.__setattr__(alone, "groups", tuple(f"x{i}" for i in range(800)))

    def width(predictions):
        figure = measure(predictions, bootstrap=300)["fracture"]["accuracy"]
        return figure["high"] - figure["low"]

    assert width(copies) > 2 * width(alone)


def test_interval_of_a_share_agrees_with_the_normal_approximation():
    part = make_predictions(n=1500, groups=200_000)
    accuracy = measure(part, bootstrap=1000)["fracture"]["accuracy"]
    p = accuracy["value"]
    half = 1.96 * np.sqrt(p * (1 - p) / 1500)
    assert accuracy["high"] - accuracy["low"] == pytest.approx(2 * half, rel=0.12)


def test_replicates_without_a_class_are_skipped_and_counted():
    part = make_predictions(n=60, groups=60)
    rows = np.concatenate([np.flatnonzero(part.fractured)[:2], np.flatnonzero(~part.fractured)])
    metrics = measure(part.select(rows), bootstrap=400)
    # Two fractured of two groups: neither is drawn in about e⁻² = 13.5 % of replicates.
    assert 30 <= metrics["bootstrap"]["skipped"] <= 85
    assert metrics["fracture"]["auroc"]["low"] is not None


def test_draws_left_out_of_the_classes_figures_are_not_told_of_the_fractures():
    part = make_types(n=90)
    rare = np.flatnonzero(part.labels == 3)[0]
    part = part.select(np.concatenate([np.flatnonzero(part.labels != 3), [rare]]))
    drawn = measure(part, bootstrap=200)["bootstrap"]
    # The class of one group is drawn in 1 − 1/e of replicates; either kind of bone in all.
    assert drawn["skipped"] == 0
    assert 50 <= drawn["skipped_by_class"] <= 100
    alone = make_types(n=90, negative=None)
    alone = alone.select(np.concatenate([np.flatnonzero(alone.labels != 3), [rare]]))
    drawn = measure(alone, bootstrap=200)["bootstrap"]
    assert drawn["skipped"] == drawn["skipped_by_class"] > 0
    assert measure(make_predictions(), bootstrap=0)["bootstrap"]["skipped_by_class"] is None


@pytest.mark.parametrize("fractured", [True, False])
def test_a_part_of_one_class_has_null_figures_and_no_exception(predictions, fractured):
    part = predictions.select(predictions.fractured == fractured)
    metrics = measure(part, bootstrap=100, operating_points=OperatingPoints(0.3, 0.7))
    found = metrics["fracture"]
    for name in ("auroc", "auprc", "balanced_accuracy", "specificity_at_sensitivity_90"):
        assert found[name] == {"value": None, "low": None, "high": None}
    there, absent = ("sensitivity", "specificity")[:: 1 if fractured else -1]
    assert found[there]["value"] is not None
    assert found[there]["low"] is not None
    assert found[absent]["value"] is None
    assert metrics["bootstrap"]["skipped"] == 0
    json.dumps(metrics, allow_nan=False)


def test_a_single_group_has_figures_without_intervals(predictions):
    part = predictions.select(np.arange(50))
    object.__setattr__(part, "groups", ("one",) * 50)
    auroc = measure(part)["fracture"]["auroc"]
    assert auroc["value"] is not None
    assert auroc["low"] is auroc["high"] is None


def test_the_dict_tells_counts_prevalence_and_confusion(predictions):
    metrics = measure(predictions, bootstrap=0)
    fractured = int(predictions.fractured.sum())
    assert metrics["classes"] == {"not_fractured": 300 - fractured, "fractured": fractured}
    assert metrics["prevalence"] == pytest.approx(fractured / 300)
    assert metrics["groups"] == len(set(predictions.groups))
    called = (predictions.fracture_probability >= 0.5).astype(int)
    expected = reference.confusion_matrix(predictions.labels, called)
    assert metrics["confusion"]["counts"] == expected.tolist()
    assert [sum(row) for row in metrics["confusion"]["percent"]] == pytest.approx([100, 100])


def test_a_negative_class_that_stands_last_is_measured_the_same(predictions):
    swapped = make_predictions()
    object.__setattr__(swapped, "classes", ("fractured", "not_fractured"))
    object.__setattr__(swapped, "labels", 1 - predictions.labels)
    object.__setattr__(swapped, "probabilities", predictions.probabilities[:, ::-1])
    object.__setattr__(swapped, "negative", 1)
    first, second = measure(predictions, bootstrap=0), measure(swapped, bootstrap=0)
    assert first["fracture"] == second["fracture"]
    assert np.array_equal(
        np.array(first["confusion"]["counts"])[::-1, ::-1], second["confusion"]["counts"]
    )


def test_peaks_on_the_fracture_count_only_where_known(predictions):
    known = predictions.peaks_on_fracture[~np.isnan(predictions.peaks_on_fracture)]
    found = measure(predictions, bootstrap=0)["fracture"]["peak_on_fracture"]["value"]
    assert found == pytest.approx(known.mean())


def test_three_way_counts_and_error_rates(predictions):
    points = OperatingPoints(0.25, 0.6)
    found = measure(predictions, bootstrap=0, operating_points=points)["fracture"]["three_way"]
    p, fractured = predictions.fracture_probability, predictions.fractured
    cleared, called = p < 0.25, p >= 0.6
    assert found["counts"]["no_fracture"]["fractured"] == np.sum(cleared & fractured)
    assert found["counts"]["uncertain"]["not_fractured"] == np.sum(~cleared & ~called & ~fractured)
    assert found["share_fracture"]["value"] == pytest.approx(called.mean())
    assert found["sensitivity_at_low"]["value"] == pytest.approx(np.mean(p[fractured] >= 0.25))
    assert found["specificity_at_high"]["value"] == pytest.approx(np.mean(p[~fractured] < 0.6))
    assert found["error_in_no_fracture"]["value"] == pytest.approx(fractured[cleared].mean())
    assert found["error_in_fracture"]["value"] == pytest.approx(1 - fractured[called].mean())
    assert found["fractures_dismissed"]["value"] == pytest.approx(np.mean(p[fractured] < 0.25))
    wrong = (cleared & fractured) | (called & ~fractured)
    assert found["error_in_decided"]["value"] == pytest.approx(wrong[cleared | called].mean())


@pytest.mark.parametrize("negative", [0, None])
def test_several_classes_equal_scikit_learns(negative):
    part = make_types(negative=negative)
    metrics = measure(part, bootstrap=50)
    found, chosen = metrics["by_class"], part.probabilities.argmax(axis=1)
    assert found["accuracy"]["value"] == pytest.approx(np.mean(chosen == part.labels))
    expected = reference.roc_auc_score(part.labels, part.probabilities, multi_class="ovr")
    assert found["macro_auroc"]["value"] == pytest.approx(expected)
    expected = reference.average_precision_score(np.eye(4)[part.labels], part.probabilities)
    assert found["macro_auprc"]["value"] == pytest.approx(expected)
    expected = reference.f1_score(part.labels, chosen, average=None)
    f1 = [figures["f1"]["value"] for figures in found["per_class"].values()]
    assert f1 == pytest.approx(expected.tolist())
    expected = reference.confusion_matrix(part.labels, chosen)
    assert metrics["confusion"]["counts"] == expected.tolist()
    spiral = part.labels == 2
    specificity = found["per_class"]["spiral"]["specificity"]["value"]
    assert specificity == pytest.approx(np.mean(chosen[~spiral] != 2))
    assert found["log_loss"]["value"] == pytest.approx(
        reference.log_loss(part.labels, part.probabilities)
    )


def test_several_classes_with_a_negative_one_answer_fractured_or_not_too():
    part = make_types()
    expected = reference.roc_auc_score(part.labels != 0, 1 - part.probabilities[:, 0])
    assert measure(part, bootstrap=0)["fracture"]["auroc"]["value"] == pytest.approx(expected)
    assert measure(make_types(negative=None), bootstrap=0)["fracture"] is None


def test_a_class_that_the_part_lacks_is_null_and_left_out_of_the_means():
    part = make_types()
    part = part.select(part.labels != 3)
    metrics = measure(part, bootstrap=50)
    found = metrics["by_class"]
    assert found["per_class"]["transverse"]["auroc"]["value"] is None
    assert found["macro_auroc"]["low"] is not None
    assert metrics["confusion"]["percent"][3] is None
    json.dumps(metrics, allow_nan=False)


def test_an_empty_part_and_a_threshold_outside_are_refused(predictions):
    with pytest.raises(DataSetError, match="part is empty"):
        measure(predictions.select(np.array([], int)))
    with pytest.raises(SettingsError, match=r"threshold 50"):
        measure(predictions, threshold=50)


def test_subgroups_are_measured_apart_and_small_ones_are_marked():
    part = make_predictions(n=400)
    hardware = np.where(np.arange(400) < 12, "rare", "common").tolist()
    fractured = np.where(part.fractured, "yes", "no").tolist()
    part.subgroups.update(hardware=tuple(hardware), cast=tuple(fractured))
    tables = measure(part, bootstrap=50)["subgroups"]
    hand = next(row for row in tables["region"] if row["level"] == "hand")
    alone = part.select(np.array(part.subgroups["region"]) == "hand")
    assert hand["n"] == len(alone.ids)
    assert hand["auroc"]["value"] == pytest.approx(
        reference.roc_auc_score(alone.fractured, alone.fracture_probability)
    )
    assert hand["too_small"] is False
    common, rare = tables["hardware"]
    assert (rare["n"], rare["too_small"], rare["auroc"]) == (12, True, None)
    assert common["auroc"] is not None
    cast = next(row for row in tables["cast"] if row["level"] == "yes")
    assert cast["too_small"]
    assert cast["auroc"] is None
    assert cast["sensitivity"]["value"] is not None


def test_many_levels_are_gathered_into_one():
    part = make_predictions(n=200)
    part.subgroups["size"] = tuple(f"{i % 40}×1" for i in range(200))
    rows = measure(part, bootstrap=0)["subgroups"]["size"]
    assert len(rows) == 12
    assert rows[-1]["level"] == "…"
    assert sum(row["n"] for row in rows) == 200


def test_the_headline_tells_the_main_figures_in_one_line(predictions):
    metrics = measure(predictions, bootstrap=30)
    auroc = metrics["fracture"]["auroc"]
    line = headline(metrics)
    shown = f"AUROC {auroc['value']:.3f} ({auroc['low']:.3f} – {auroc['high']:.3f})"
    assert line.startswith(shown)
    assert "Specificity" in line
    assert "\n" not in line
    assert "Özgüllük %" in headline(metrics, "tr")
    assert "AUROC, mean over classes" in headline(measure(make_types(negative=None), bootstrap=0))


def faultless(n=60, groups=20):
    """Every radiograph told right, the fractured in a quarter of the groups."""
    part = make_predictions(n=n)
    fractured = np.arange(n) % groups < groups // 4
    for name, value in (
        ("labels", fractured.astype(int)),
        ("probabilities", np.stack([0.9 - 0.8 * fractured, 0.1 + 0.8 * fractured], axis=1)),
        ("groups", tuple(f"g{i % groups}" for i in range(n))),
        ("peaks_on_fracture", np.where(fractured, 0.0, np.nan)),
    ):
        object.__setattr__(part, name, value)
    return part


def test_a_share_that_is_whole_or_nothing_has_the_exact_interval_over_groups():
    points = OperatingPoints(0.3, 0.7)
    found = measure(faultless(), bootstrap=100, operating_points=points)["fracture"]
    for figure, groups in (
        (found["accuracy"], 20),
        (found["sensitivity"], 5),
        (found["specificity_at_sensitivity_95"], 15),
        (found["ppv"], 5),
        (found["npv"], 15),
        (found["three_way"]["sensitivity_at_low"], 5),
    ):
        assert figure["value"] == figure["high"] == 1
        assert figure["low"] == pytest.approx(0.025 ** (1 / groups))
    for figure, groups in (
        (found["peak_on_fracture"], 5),
        (found["three_way"]["fractures_dismissed"], 5),
        (found["three_way"]["share_uncertain"], 20),
        (found["three_way"]["error_in_fracture"], 5),
        (found["three_way"]["error_in_decided"], 20),
    ):
        assert figure["value"] == figure["low"] == 0
        assert figure["high"] == pytest.approx(1 - 0.025 ** (1 / groups))
    assert 0 < found["three_way"]["share_fracture"]["low"] < 0.25


def test_a_faultless_measure_that_is_no_share_has_no_interval():
    found = measure(faultless(), bootstrap=100)["fracture"]
    for name in ("auroc", "auprc", "balanced_accuracy", "f1", "mcc"):
        assert found[name] == {"value": 1, "low": None, "high": None}


def test_faultless_classes_and_subgroups_have_no_false_certainty():
    part = make_types()
    object.__setattr__(part, "probabilities", 0.05 + 0.8 * np.eye(4)[part.labels])
    found = measure(part, bootstrap=50)["by_class"]
    assert found["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 100))
    groups = len({part.groups[row] for row in np.flatnonzero(part.labels == 2)})
    spiral = found["per_class"]["spiral"]["sensitivity"]
    assert spiral["low"] == pytest.approx(0.025 ** (1 / groups))
    assert found["macro_auroc"]["low"] is None
    part = faultless()
    part.subgroups["region"] = ("hand",) * 60
    [row] = measure(part, bootstrap=50)["subgroups"]["region"]
    assert row["specificity"]["low"] == pytest.approx(0.025 ** (1 / 15))
    assert row["auroc"] == {"value": 1, "low": None, "high": None}
