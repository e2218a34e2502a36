"""Balancing: the right shares, no radiograph favoured, no label betrayed by its augmentation."""

import numpy as np
import pytest

from kirik.training.balance import class_weights, plan_epoch, real_shares, trained_shares

LABELS = np.array([0] * 80 + [1] * 20)


def shown(plan, label):
    return plan.rows[LABELS[plan.rows] == label]


def test_autoaugment_brings_the_rare_class_up_to_the_common_one():
    plan = plan_epoch(LABELS, "autoaugment", seed=0, epoch=0)
    assert len(shown(plan, 0)) == len(shown(plan, 1)) == 80


def test_autoaugment_shows_every_original_once_unaugmented_in_the_rare_class():
    plan = plan_epoch(LABELS, "autoaugment", seed=0, epoch=0)
    rare = LABELS[plan.rows] == 1
    assert sorted(plan.rows[rare & ~plan.augmented]) == list(range(80, 100))


def test_autoaugment_copies_each_rare_radiograph_equally_often():
    plan = plan_epoch(LABELS, "autoaugment", seed=0, epoch=0)
    assert set(np.bincount(shown(plan, 1))[80:]) == {4}


def test_being_augmented_says_nothing_about_the_label():
    plan = plan_epoch(LABELS, "autoaugment", seed=3, epoch=5)
    shares = [plan.augmented[LABELS[plan.rows] == label].mean() for label in (0, 1)]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


def test_balanced_classes_need_no_copies():
    plan = plan_epoch(np.array([0, 1] * 10), "autoaugment", seed=0, epoch=0)
    assert not plan.augmented.any()
    assert sorted(plan.rows) == list(range(20))


def test_three_classes_are_all_brought_up():
    labels = np.array([0] * 30 + [1] * 10 + [2] * 7)
    plan = plan_epoch(labels, "autoaugment", seed=0, epoch=0)
    assert list(np.bincount(labels[plan.rows])) == [30, 30, 30]


def test_sampler_draws_classes_equally_often():
    plan = plan_epoch(np.repeat(LABELS, 50), "sampler", seed=0, epoch=0)
    assert np.repeat(LABELS, 50)[plan.rows].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_without_copies_an_epoch_is_each_radiograph_once(balance):
    assert sorted(plan_epoch(LABELS, balance, seed=0, epoch=0).rows) == list(range(100))


def test_epochs_differ_and_seeds_repeat():
    first, again = (plan_epoch(LABELS, "autoaugment", seed=1, epoch=0) for _ in range(2))
    other = plan_epoch(LABELS, "autoaugment", seed=1, epoch=1)
    seeded = plan_epoch(LABELS, "autoaugment", seed=2, epoch=0)
    assert (first.rows == again.rows).all()
    assert (first.rows != other.rows).any()
    assert (first.rows != seeded.rows).any()


def test_class_weights_are_inverse_to_frequency_for_weights_alone():
    weights = class_weights(LABELS, 2, "weights")
    assert weights[1] / weights[0] == pytest.approx(4)
    assert list(class_weights(LABELS, 2, "autoaugment")) == [1, 1]


def test_trained_shares_are_even_unless_nothing_is_balanced():
    assert list(trained_shares(LABELS, 2, "autoaugment")) == [0.5, 0.5]
    assert list(trained_shares(LABELS, 2, "none")) == list(real_shares(LABELS, 2)) == [0.8, 0.2]
