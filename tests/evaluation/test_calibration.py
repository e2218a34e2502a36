import numpy as np
import pytest
from scipy.special import expit, log_softmax

from kirik.evaluation.calibration import (
    Calibration,
    CalibrationBins,
    fit_calibration,
    fit_temperature,
)

from .conftest import make_types


def overconfident(n=4000, factor=3.0):
    r = np.random.default_rng(0)
    logits = r.normal(0, 1.5, n)
    return logits * factor, r.random(n) < expit(logits)


def test_the_factor_of_overconfident_logits_is_found():
    logits, labels = overconfident()
    assert fit_temperature(logits, labels) == pytest.approx(3, rel=0.1)


def test_probabilities_and_logits_give_one_temperature():
    logits, labels = overconfident(factor=2.0)
    found = fit_temperature(logits, labels)
    assert fit_temperature(expit(logits), labels) == pytest.approx(found, rel=1e-3)
    two = np.stack([1 - expit(logits), expit(logits)], axis=1)
    assert fit_temperature(two, labels.astype(int)) == pytest.approx(found, rel=1e-3)


def test_several_classes_from_logits_and_from_probabilities():
    part = make_types(2000)
    logits = 2.5 * np.log(part.probabilities)
    base = fit_temperature(part.probabilities, part.labels)
    assert fit_temperature(logits, part.labels) == pytest.approx(2.5 * base, rel=0.02)
    sharp = np.exp(log_softmax(logits, axis=1))
    assert fit_temperature(sharp, part.labels) == pytest.approx(2.5 * base, rel=0.02)


def test_few_separated_radiographs_do_not_drive_the_temperature_to_an_end():
    found = fit_temperature(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert 0.3 < found < 1


def test_many_separated_radiographs_stay_within_bounds():
    labels = np.repeat([0, 1], 500)
    assert 0.19 < fit_temperature(labels * 2.0 - 1, labels) < 0.3
    assert 9 < fit_temperature(20 - labels * 40.0, labels) <= 10


def test_one_class_alone_and_certain_probabilities_are_borne():
    assert fit_temperature(np.array([0.2, 0.9]), np.array([1, 1])) == 1
    certain = np.array([0.0, 1.0, 1.0, 0.0])
    assert np.isfinite(fit_temperature(certain, np.array([0, 1, 0, 1])))


def test_applying_a_temperature_softens_and_keeps_the_order():
    p = np.array([0.001, 0.2, 0.5, 0.8, 1.0])
    two = Calibration(2.0).apply(np.stack([1 - p, p], axis=1))
    soft = two[:, 1]
    assert np.all(np.diff(soft) > 0)
    assert soft[2] == pytest.approx(0.5)
    assert soft[3] == pytest.approx(expit(np.log(4) / 2))
    assert two.sum(axis=1) == pytest.approx(np.ones(5))


def test_a_calibration_finds_the_factor_and_the_bias():
    logits, labels = overconfident(20_000)
    p = expit(logits - 3)  # overconfident, and too low
    found = fit_calibration(np.stack([1 - p, p], axis=1), labels)
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.bias[1] - found.bias[0] == pytest.approx(1, abs=0.1)
    assert sum(found.bias) == pytest.approx(0, abs=1e-3)
    mended = found.apply(np.stack([1 - p, p], axis=1))
    assert mended.sum(axis=1) == pytest.approx(np.ones(len(p)))
    assert mended[:, 1].mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_a_calibration_of_several_classes_finds_the_bias_of_each():
    part = make_types(3000)
    shift = np.array([0.8, -0.5, *[0.0] * (part.probabilities.shape[1] - 2)])
    tilted = np.exp(log_softmax(np.log(part.probabilities) - shift, axis=1))
    plain, found = (fit_calibration(p, part.labels) for p in (part.probabilities, tilted))
    off = (np.array(found.bias) - plain.bias) * 1.0
    expected = (shift - shift.mean()) / plain.temperature
    assert off - off.mean() == pytest.approx(expected, abs=0.1)
    assert found.apply(tilted) == pytest.approx(plain.apply(part.probabilities), abs=0.02)


def test_a_calibration_bears_few_one_class_and_certain_probabilities():
    few = fit_calibration(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    assert 0.3 < few.temperature < 1
    assert np.abs(few.bias).max() < 1
    assert fit_calibration(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1])) == Calibration()
    certain = np.eye(2)[[0, 1, 1, 0] * 5]
    assert np.isfinite(fit_calibration(certain, np.array([0, 1, 0, 1] * 5)).apply(certain)).all()


def test_a_calibration_that_was_not_fitted_changes_nothing():
    p = np.array([0.0, 0.2, 0.5, 0.8, 1.0])
    two = np.stack([1 - p, p], axis=1)
    assert Calibration().apply(two) == pytest.approx(two, abs=1e-6)


def test_calibration_error_is_the_mean_gap_over_bins_of_equal_mass():
    p = np.repeat(np.linspace(0.05, 0.75, 15), 20)
    correct = np.tile(np.arange(20) < 10, 15)
    error = CalibrationBins(correct, p).error(np.ones((1, 300)))[0]
    assert error == pytest.approx(np.mean(np.abs(np.linspace(0.05, 0.75, 15) - 0.5)))


def test_calibration_error_does_not_depend_on_the_order_of_equal_probabilities():
    r = np.random.default_rng(0)
    p, correct = np.round(r.random(500), 1), r.random(500) < 0.3
    mixed = r.permutation(500)
    ones = np.ones((1, 500))
    first = CalibrationBins(correct, p).error(ones)
    assert CalibrationBins(correct[mixed], p[mixed]).error(ones) == pytest.approx(first)


def test_reliability_points_hold_every_radiograph_once():
    p = np.concatenate([np.zeros(50), np.random.default_rng(0).random(50)])
    bins = CalibrationBins(p > 0.5, p).reliability()
    assert bins.count.sum() == 100
    assert np.all(bins.count > 0)
    assert np.sum(bins.said * bins.count) == pytest.approx(p.sum())


def test_few_radiographs_move_a_class_less_than_their_share_asks_for():
    """A quarter of four may be chance; of four hundred it is not."""
    said = []
    for times in (1, 100):
        even, labels = np.full((4 * times, 2), 0.5), np.array([0, 0, 0, 1] * times)
        said.append(fit_calibration(even, labels).apply(even)[0, 1])
    assert 0.28 < said[0] < 0.45
    assert said[1] == pytest.approx(0.25, abs=0.005)
