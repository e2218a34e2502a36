"""Small real runs: phantoms, a tiny network of timm's, a few steps."""

import numpy as np
import pytest

from kirik.training.data import Part
from kirik.training.settings import TrainingSettings


@pytest.fixture
def part() -> Part:
    """48 squares of noise; the fractured third has a bright bar, and a mask that says where."""
    rng = np.random.default_rng(0)
    images = rng.integers(40, 90, (48, 64, 64), dtype=np.uint8)
    masks = np.zeros((48, 16, 16), np.uint8)
    outlines = np.full((48, 8, 24, 2), np.nan, np.float32)
    labels = np.arange(48) % 3 == 0
    for row in np.flatnonzero(labels):
        top = int(rng.integers(8, 48))
        images[row, top : top + 8, 16:48] = 230
        masks[row, top // 4 : top // 4 + 2, 4:12] = 255
        outlines[row, 0] = np.resize([(16, top), (48, top), (48, top + 8), (16, top + 8)], (24, 2))
    groups = np.array([f"g{i // 2}" for i in range(48)])
    rows = np.arange(48)
    attributes = np.stack([labels, np.arange(48) % 2], axis=1).astype(np.float32)
    attributes[5] = np.nan
    marked = np.ones(48, bool)
    labels = labels.astype(int)
    return Part(images, masks, outlines, rows, labels, groups, marked, attributes)


@pytest.fixture
def settings() -> TrainingSettings:
    return TrainingSettings(
        network="test_efficientnet",
        weights="none",
        size=64,
        epochs=4,
        batch_size=8,
        learning_rate=2e-3,
        patience=10,
        device="cpu",
    )
