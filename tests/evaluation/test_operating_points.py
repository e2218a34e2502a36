import json

import numpy as np
import pytest

from kirik.errors import DataSetError
from kirik.operating_points import OperatingPoints, choose_operating_points, decide

from .conftest import make_predictions


@pytest.mark.parametrize("wanted", [(0.95, 0.95), (0.99, 0.9), (1.0, 1.0), (0.5, 0.99)])
@pytest.mark.parametrize("decimals", [None, 1])
def test_both_promises_are_kept_where_the_points_were_chosen(wanted, decimals):
    part = make_predictions(decimals=decimals)
    p = np.clip(part.fracture_probability, 0, 0.99)
    points = choose_operating_points(
        part.fractured, p, sensitivity=wanted[0], specificity=wanted[1]
    )
    assert 0 <= points.low <= points.high <= 1
    assert np.mean(p[part.fractured] >= points.low) >= wanted[0]
    assert np.mean(p[~part.fractured] < points.high) >= wanted[1]
    assert points.sensitivity == pytest.approx(np.mean(p[part.fractured] >= points.low))
    assert points.specificity == pytest.approx(np.mean(p[~part.fractured] < points.high))
    decisions = [decide(value, points) for value in p]
    assert points.uncertain == pytest.approx(np.mean(np.array(decisions) == "uncertain"))


def test_the_band_is_no_wider_than_the_promises_need():
    part = make_predictions(strength=1.0)
    p = part.fracture_probability
    points = choose_operating_points(part.fractured, p)
    next_up = p[part.fractured & (p >= points.low)].min()
    next_down = p[~part.fractured & (p < points.high)].max()
    assert np.mean(p[part.fractured] > next_up) < 0.95
    assert np.mean(p[~part.fractured] < next_down) < 0.95


def test_nineteen_of_twenty_are_95_percent():
    fractured = np.repeat([True, False], 20)
    p = np.concatenate([np.linspace(0.3, 0.9, 20), np.linspace(0.31, 0.7, 20)])
    points = choose_operating_points(fractured, p)
    assert np.sum(p[:20] < points.low) == 1
    assert np.sum(p[20:] >= points.high) == 1


def test_rounding_a_probability_moves_no_radiograph_across_a_point():
    part = make_predictions()
    p = part.fracture_probability
    points = choose_operating_points(part.fractured, p)
    rounded = p.astype(np.float32).astype(float)
    assert [decide(a, points) for a in p] == [decide(a, points) for a in rounded]


def test_classes_that_separate_leave_nobody_uncertain():
    fractured = np.array([False] * 10 + [True] * 10)
    p = np.concatenate([np.linspace(0.01, 0.2, 10), np.linspace(0.8, 0.99, 10)])
    points = choose_operating_points(fractured, p)
    assert points.low == points.high
    assert 0.2 < points.low < 0.8
    assert points.uncertain == 0
    assert (points.sensitivity, points.specificity) == (1, 1)


def test_a_promise_that_cannot_be_kept_is_told_in_what_was_achieved():
    fractured = np.array([True] * 5 + [False] * 5)
    points = choose_operating_points(fractured, np.ones(10))
    assert points.high == 1
    assert points.specificity == 0
    assert points.wanted_specificity == 0.95


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_is_refused(label):
    with pytest.raises(DataSetError, match="radiographs of both kinds"):
        choose_operating_points(np.full(5, label), np.linspace(0, 1, 5))


def test_decisions_at_the_points_themselves():
    points = OperatingPoints(0.2, 0.7)
    found = [decide(p, points) for p in (0.0, 0.19, 0.2, 0.69, 0.7, 1.0)]
    expected = ["no_fracture"] * 2 + ["uncertain"] * 2 + ["fracture"] * 2
    assert found == expected


def test_a_probability_that_is_no_number_is_left_to_a_person():
    assert decide(float("nan"), OperatingPoints(0.2, 0.7)) == "uncertain"


def test_points_survive_json():
    part = make_predictions()
    points = choose_operating_points(part.fractured, part.fracture_probability)
    assert OperatingPoints.from_dict(json.loads(json.dumps(points.to_dict()))) == points


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.2), (-0.1, 0.5), (0.5, 1.5), (float("nan"), 1)])
def test_points_out_of_order_are_refused(low, high):
    with pytest.raises(DataSetError, match="0 ≤ low ≤ high ≤ 1"):
        OperatingPoints(low, high)
