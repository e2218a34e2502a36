"""Balancing of the training part: which radiographs an epoch shows, and how much each counts.

Only the training part is ever balanced; what is measured on keeps its own prevalence.
"""

from dataclasses import dataclass

import numpy as np

from kirik.training.settings import Balance


@dataclass(frozen=True)
class EpochPlan:
    """The order of one epoch.

    rows: int [n], which radiographs of the training part.
    augmented: bool [n], which of them are shown as AutoAugment copies.
    """

    rows: np.ndarray
    augmented: np.ndarray


def plan_epoch(labels: np.ndarray, balance: Balance, seed: int, epoch: int) -> EpochPlan:
    """What one epoch shows of radiographs with these labels, in which order.

    autoaugment: every class is brought up to the largest with AutoAugment copies. Were only the
    rare class augmented, an augmentation's traces would give its label away, so the same share
    of the other classes' radiographs is shown augmented too.
    sampler: as many as there are, drawn with replacement, each class equally likely.
    """
    rng = np.random.default_rng([seed, epoch])
    present, counts = np.unique(labels, return_counts=True)
    if balance == "autoaugment":
        rows, augmented = _with_copies(labels, present, counts, rng)
    elif balance == "sampler":
        share = 1 / counts[np.searchsorted(present, labels)]
        rows = rng.choice(len(labels), len(labels), p=share / share.sum())
        augmented = np.zeros(len(rows), bool)
    else:
        rows, augmented = np.arange(len(labels)), np.zeros(len(labels), bool)
    order = rng.permutation(len(rows))
    return EpochPlan(rows[order], augmented[order])


def _with_copies(labels, present, counts, rng):
    largest = counts.max()
    share = 1 - counts.min() / largest
    rows, augmented = [], []
    for label in present:
        own = np.flatnonzero(labels == label)
        # Each original as often as the next, so that no copy is favoured.
        rounds = -(-largest // len(own))
        shown = np.concatenate([rng.permutation(own) for _ in range(rounds)])[:largest]
        copies = np.zeros(largest, bool)
        copies[largest - round(share * largest) :] = True
        rows.append(shown)
        augmented.append(copies)
    return np.concatenate(rows), np.concatenate(augmented)


def class_weights(labels: np.ndarray, classes: int, balance: Balance) -> np.ndarray:
    """Weight of each class in the loss: inverse to its frequency for `weights`, else 1."""
    if balance != "weights":
        return np.ones(classes)
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return len(labels) / (classes * counts)


def trained_shares(labels: np.ndarray, classes: int, balance: Balance) -> np.ndarray:
    """Each class's share of what the loss saw, which the network's probabilities will reflect."""
    real = real_shares(labels, classes)
    return real if balance == "none" else np.full(classes, 1 / classes)


def real_shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """Each class's share of the radiographs, at least a half one of each."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 0.5)
    return counts / counts.sum()
