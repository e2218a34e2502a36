"""Facts that tell the classes apart are flagged; chance and trifles are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_images import index_of
from scipy import stats
from sklearn.metrics import roc_auc_score

from kirik.dataset.confounders import cramers_v, find_confounders, holm
from kirik.dataset.index import Record
from kirik.dataset.inspect import FileFacts

RNG = np.random.default_rng(5)


def table(labels, files=None, classes=("fractured", "not_fractured"), negative=1, **known):
    """An index and its facts without files: `files` and `known` give columns, one value a row."""
    records, facts = [], []
    for i, label in enumerate(labels):
        values = {name: column[i] for name, column in known.items()}
        records.append(Record(f"r{i}", Path(f"r{i}"), int(label), **values))
        look = {name: column[i] for name, column in (files or {}).items()}
        facts.append(replace(FileFacts(f"r{i}", 1000, rows=100, columns=100), **look))
    return index_of(Path("set"), records, classes=classes, negative=negative), facts


def found(*args, **known):
    return {one.fact: one for one in find_confounders(*table(*args, **known))}


def test_hardware_that_only_fractured_ones_have_is_flagged_with_the_odds():
    labels = np.repeat([0, 1], [100, 400])
    hardware = [i < 30 or i == 499 for i in range(500)]
    one = found(labels, hardware=hardware)["hardware"]
    assert one.flagged
    assert one.counts["fractured"] == {"no": 70, "yes": 30}
    assert (one.standout.name, one.standout.class_name) == ("yes", "fractured")
    assert (one.standout.files, one.standout.of_class) == (31, 30)
    assert one.standout.elsewhere == pytest.approx(70 / 469)
    ratio = 30.5 * 399.5 / (1.5 * 70.5)
    assert one.standout.odds_ratio == pytest.approx(ratio)
    assert one.standout.interval[0] < ratio < one.standout.interval[1]
    has = np.array(hardware, float)
    assert one.auroc == pytest.approx(roc_auc_score(labels == 0, has))
    square = stats.chi2_contingency([[70, 30], [399, 1]], correction=False)
    assert one.effect == pytest.approx(np.sqrt(square.statistic / 500))


def test_the_same_distribution_in_both_classes_is_not_flagged():
    labels = np.tile([0, 1], 300)
    one = found(labels, hardware=[i // 2 % 3 == 0 for i in range(600)])["hardware"]
    assert not one.flagged
    assert one.effect == pytest.approx(0)
    assert one.auroc == pytest.approx(0.5)


def test_noise_is_not_flagged_whatever_its_kind():
    labels = RNG.integers(0, 2, 400)
    files = {"mean": RNG.random(400).tolist(), "mode": RNG.choice(["L", "RGB"], 400).tolist()}
    regions = [(name,) for name in RNG.choice(["hand", "leg", "hip"], 400)]
    judged = found(labels, files, region=regions)
    assert set(judged) == {"mean", "mode", "region"}
    assert not any(one.flagged for one in judged.values())


def test_a_trifle_is_not_flagged_however_sure():
    labels = np.repeat([0, 1], 20000)
    values = [(i % 100 < (53 if label else 50)) for i, label in enumerate(labels)]
    one = found(labels, hardware=values)["hardware"]
    assert one.p_holm < 0.001
    assert not one.flagged


def test_brightness_that_differs_is_a_number_with_its_auroc_and_medians():
    labels = np.repeat([0, 1], 100)
    bright = np.where(labels == 0, 0.6, 0.5) + RNG.normal(0, 0.1, 200)
    one = found(labels, {"mean": bright.tolist()})["mean"]
    assert one.flagged
    assert one.leaning == "fractured"
    assert one.auroc == pytest.approx(roc_auc_score(labels == 0, bright))
    assert one.interval[0] < one.auroc < one.interval[1]
    assert one.quartiles["fractured"][1] == pytest.approx(np.median(bright[:100]))
    assert one.p == pytest.approx(stats.mannwhitneyu(bright[:100], bright[100:]).pvalue)


def test_truncation_of_one_class_is_a_shortcut_of_its_own():
    labels = np.repeat([0, 1], [100, 500])
    problems = [None] * 540 + ["truncated"] * 60
    one = found(labels, {"problem": problems})["problem"]
    assert one.flagged
    assert (one.standout.name, one.standout.of_class) == ("truncated", 0)
    assert one.standout.odds_ratio < 1


def test_size_is_the_same_lying_or_standing():
    labels = np.tile([0, 1], 50)
    sizes = {"rows": [373 if i % 3 else 454 for i in range(100)]}
    sizes["columns"] = [454 if rows == 373 else 373 for rows in sizes["rows"]]
    assert "size" not in found(labels, sizes)


def test_small_counts_are_tested_exactly():
    few = found([0] * 6 + [1] * 6, hardware=[True] * 6 + [False] * 6)["hardware"]
    assert few.test == "Fisher"
    assert (few.auroc, few.interval) == (1, None)  # twelve files are not certainty
    assert few.p == pytest.approx(stats.fisher_exact([[6, 0], [0, 6]]).pvalue)
    regions = [("hand",)] * 6 + [("leg",)] * 6 + [("hip",)] * 6
    many = found([0] * 6 + [1] * 12, region=regions)["region"]
    assert many.test == "permutation"
    assert many.p < 0.01


def test_own_columns_are_tested_and_ids_among_them_are_not():
    labels = np.tile([0, 1], 100)
    facts = [
        {"scanner": "A" if label else "B", "patient": f"p{i}", "age": str(20 + i % 50), "note": ""}
        for i, label in enumerate(labels)
    ]
    judged = found(labels, facts=facts)
    assert judged["scanner"].flagged
    assert judged["scanner"].origin == "column"
    assert not judged["age"].flagged
    assert judged["age"].quartiles
    assert not {"patient", "note"} & set(judged)


def test_what_is_unknown_of_one_class_alone_is_a_category():
    labels = np.repeat([0, 1], 100)
    one = found(labels, view=[("frontal",)] * 100 + [()] * 100)["view"]
    assert one.flagged
    assert one.counts["not_fractured"]["unknown"] == 100


def test_several_classes_are_each_told_from_the_rest():
    labels = np.repeat([0, 1, 2], 80)
    bright = np.where(labels == 2, 0.8, 0.5) + RNG.normal(0, 0.05, 240)
    modes = np.where(labels == 1, "RGB", "L").tolist()
    judged = found(
        labels,
        {"mean": bright.tolist(), "mode": modes},
        classes=("spiral", "oblique", "transverse"),
        negative=None,
    )
    assert (judged["mean"].test, judged["mean"].leaning) == ("Kruskal–Wallis", "transverse")
    assert judged["mode"].leaning == "oblique"
    assert judged["mode"].standout.class_name == "oblique"
    assert judged["mean"].flagged
    assert judged["mode"].flagged


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0]])
def test_less_than_two_classes_have_nothing_to_compare(labels):
    assert find_confounders(*table(labels, hardware=[True] * len(labels))) == ()


def test_two_files_are_compared_without_a_flag():
    judged = found([0, 1], {"mean": [0.1, 0.9], "mode": ["L", "RGB"]})
    assert not any(one.flagged for one in judged.values())


def test_holm_is_monotone_and_never_above_one():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_cramers_v_of_a_perfect_and_of_no_association():
    assert cramers_v(np.array([[10, 0], [0, 10]])) == pytest.approx(1)
    assert cramers_v(np.array([[10, 20], [5, 10]])) == pytest.approx(0)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_of_several_classes_stands_out_by_low_numbers_as_by_high_ones(sign):
    labels = np.repeat([0, 1, 2], [200, 200, 40])
    numbers = RNG.normal(0, 0.1, 440) + sign * (labels == 2)
    classes = ("normal", "oblique", "spiral")
    one = found(labels, {"mean": numbers.tolist()}, classes=classes, negative=0)["mean"]
    assert one.flagged
    assert (one.leaning, one.auroc) == ("spiral", 1)
