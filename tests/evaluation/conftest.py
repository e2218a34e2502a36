import numpy as np
import pytest

from kirik.evaluation.predictions import Predictions


def make_predictions(n=300, groups=90, seed=0, strength=1.5, truth_seed=0, decimals=None):
    """Fractured or not: labels shared within groups, probabilities that know something of them."""
    truth = np.random.default_rng(truth_seed)
    group = np.sort(truth.integers(0, groups, n))
    fractured = (truth.random(groups) < 0.3)[group] & (truth.random(n) < 0.8)
    noise = np.random.default_rng(seed + 1000).normal(0, 1, n)
    p = 1 / (1 + np.exp(-(strength * fractured + noise - 1)))
    p = p if decimals is None else np.round(p, decimals)
    return Predictions(
        tuple(f"r{i:04d}.png" for i in range(n)),
        tuple(f"g{g}" for g in group),
        fractured.astype(int),
        np.stack([1 - p, p], axis=1),
        ("not_fractured", "fractured"),
        0,
        {"region": tuple(np.where(group % 3 == 0, "hand", "leg").tolist())},
        np.where(fractured, (noise > 0).astype(float), np.nan),
    )


def make_types(n=300, classes=("normal", "oblique", "spiral", "transverse"), negative=0, seed=0):
    """Several classes; with `negative=None` all are fractures."""
    r = np.random.default_rng(seed)
    labels = r.integers(0, len(classes), n)
    scores = r.normal(0, 1, (n, len(classes))) + 1.3 * np.eye(len(classes))[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    groups = tuple(f"g{i // 3}" for i in range(n))
    ids = tuple(f"r{i}.png" for i in range(n))
    return Predictions(ids, groups, labels, probabilities, classes, negative)


@pytest.fixture
def predictions():
    return make_predictions()
