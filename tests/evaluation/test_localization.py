"""Findings against outlined fractures: figures that can be counted by hand."""

import numpy as np
import pytest

from kirik.errors import DataSetError
from kirik.evaluation.localization import Localized, choose_shown_from, measure_localization


def localized(*radiographs, groups=None):
    """Each radiograph: (boxes of fractures, findings with scores)."""
    truth = tuple(np.array(t, float).reshape(-1, 4) for t, _ in radiographs)
    found = tuple(np.array(f, float).reshape(-1, 5) for _, f in radiographs)
    groups = groups or tuple(f"g{i}" for i in range(len(radiographs)))
    return Localized(truth, found, groups, np.ones(len(radiographs), bool))


BOX = (10, 10, 20, 20)


def exact(score, box=BOX):
    return (*box, score)


def figures(given, shown_from=0.5):
    shown = np.full(len(given.truth), shown_from)
    measured = measure_localization(given, shown, replicates=20)
    return {name: figure["value"] for name, figure in measured.items()}


def test_all_found_and_nothing_else_is_perfect():
    said = figures(localized(([BOX], [exact(0.9)]), ([], [])))
    assert said["map50"] == 1
    assert said["fractures_found"] == 1
    assert said["findings_right"] == 1
    assert said["false_per_normal"] == 0


def test_a_false_finding_above_a_right_one_halves_the_precision_there():
    said = figures(localized(([BOX], [exact(0.8)]), ([], [exact(0.9)])))
    assert said["map50"] == pytest.approx(0.5)
    assert said["false_per_normal"] == 1
    assert said["normal_with_false"] == 1
    assert said["found_at_0.25"] == 0
    assert said["found_at_0.5"] == 1


def test_a_second_finding_of_one_fracture_is_false():
    said = figures(localized(([BOX], [exact(0.9), exact(0.8)])))
    assert said["map50"] == 1
    assert said["findings_right"] == 0.5


def test_a_box_of_half_the_overlap_counts_for_froc_and_not_for_map():
    loose = (10, 10, 32, 32, 0.9)  # holds the fracture, its centre in it; IoU 0.39
    said = figures(localized(([BOX], [loose])))
    assert said["map50"] == 0
    assert said["fractures_found"] == 1


def test_what_a_reading_dismisses_counts_for_curves_alone():
    said = figures(localized(([BOX], [exact(0.3)])), shown_from=np.inf)
    assert said["map50"] == 1
    assert said["fractures_found"] == 0
    assert said["findings_right"] is None


def test_the_strongest_finding_is_shown_however_faint_it_is():
    other = (60, 60, 20, 20)
    faint = [exact(0.3), exact(0.2, other)]
    said = figures(localized(([BOX, other], faint), ([], [exact(0.1)])), shown_from=0.5)
    assert said["fractures_found"] == 0.5
    assert said["findings_right"] == 0.5
    assert said["false_per_normal"] == 1


def test_average_precision_is_the_area_under_the_falling_curve():
    """Right, false, right of three fractures: 1/3 · 1 + 1/3 · 2/3."""
    far = (60, 60, 20, 20)
    said = figures(
        localized(([BOX, far, (90, 10, 5, 5)], [exact(0.9), exact(0.7, far)]), ([], [exact(0.8)]))
    )
    assert said["map50"] == pytest.approx(1 / 3 + 2 / 9)


def test_a_fractured_radiograph_without_a_box_is_left_out():
    given = localized(([BOX], [exact(0.9)]), ([], [exact(0.95)]))
    unknown = Localized(given.truth, given.found, given.groups, np.array([True, False]))
    assert figures(unknown)["map50"] == 1


def test_thresholds_stay_with_their_radiographs_where_some_are_left_out():
    pairs = [([], [exact(0.95)]), ([BOX], [exact(0.9), exact(0.8)]), ([], [exact(0.4)])]
    given = localized(*pairs)
    some = Localized(given.truth, given.found, given.groups, np.array([False, True, True]))
    said = measure_localization(some, np.array([0.1, 0.85, np.inf]), replicates=20)
    assert said["findings_right"]["value"] == 1
    assert said["false_per_normal"]["value"] == 0
    pairs = [([], [exact(0.8)] * 3), ([BOX], [exact(0.9)]), ([BOX], [exact(0.7)])]
    given = localized(*pairs)
    some = Localized(given.truth, given.found, given.groups, np.array([False, True, True]))
    assert choose_shown_from(some) == choose_shown_from(localized(*pairs[1:])) == 0.7
    assert choose_shown_from(given) == 0.9


def test_a_finding_takes_the_fracture_that_it_overlaps_most():
    """The second one's, though it overlaps the first one enough."""
    first, second = (10, 10, 20, 20), (12, 10, 20, 20)
    said = figures(localized(([first, second], [exact(0.9, second), exact(0.8, (5, 10, 20, 20))])))
    assert said["map50"] == 1


def test_findings_are_shown_from_the_score_that_serves_best():
    right = [([BOX], [exact(score)]) for score in (0.9, 0.8, 0.7)]
    false = [([], [exact(score)]) for score in (0.6, 0.5, 0.4, 0.3)]
    assert choose_shown_from(localized(*right, *false)) == pytest.approx(0.7)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_findings_of_one_score_count_together_in_whatever_order_they_stand(order):
    fractured, normal = ([BOX], [exact(1.0)]), ([], [exact(1.0)])
    given = [fractured, fractured, normal, normal]
    tied = localized(*(given[place] for place in order))
    said = figures(tied)
    assert said["map50"] == pytest.approx(0.5)
    assert said["found_at_0.25"] == 0
    assert said["found_at_0.5"] == 1
    lower = localized(*(given[place] for place in order), ([BOX], [exact(0.4)]))
    assert choose_shown_from(lower) == pytest.approx(0.4)


def test_intervals_are_over_groups():
    found = {0, *range(1, 40, 2)} - {11}
    radiographs = [([BOX], [exact(0.9)] if i in found else []) for i in range(40)]
    alone = measure_localization(localized(*radiographs), np.zeros(40), replicates=300)
    bound = localized(*radiographs, groups=tuple(f"g{i // 10}" for i in range(40)))
    width = [
        m["fractures_found"]["high"] - m["fractures_found"]["low"]
        for m in (alone, measure_localization(bound, np.zeros(40), replicates=300))
    ]
    assert alone["fractures_found"]["value"] == 0.5
    assert width[0] > 0.2
    assert width[1] < width[0]  # each group of ten has about five found: little varies between them


def test_a_share_that_is_whole_or_nothing_has_the_exact_interval_over_groups():
    found = measure_localization(
        localized(*[([BOX], [exact(0.9)])] * 6, *[([], [])] * 9), np.full(15, 0.5), replicates=50
    )
    for name in ("fractures_found", "found_at_0.1", "findings_right"):
        assert (found[name]["value"], found[name]["high"]) == (1, 1)
        assert found[name]["low"] == pytest.approx(0.025 ** (1 / 6))
    assert found["normal_with_false"]["high"] == pytest.approx(1 - 0.025 ** (1 / 9))
    for name, value in (("map50", 1), ("false_per_normal", 0)):  # no shares
        assert found[name] == {"value": value, "low": None, "high": None}


def test_without_a_known_fracture_there_is_nothing_to_measure():
    with pytest.raises(DataSetError, match="no fracture's place is known"):
        figures(localized(([], [exact(0.9)])))
