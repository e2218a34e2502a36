"""Small real runs: phantoms, a tiny network of timm's, a few steps."""

import numpy as np
import pytest

from bars import with_fractures
from kirik.training.data import Part
from kirik.training.settings import TrainingSettings
from one_thread import one_thread  # noqa: F401 (a fixture)


@pytest.fixture
def part() -> Part:
    """48 squares of noise; the fractured third has a bright bar, and a mask that says where."""
    rng = np.random.default_rng(0)
    images = rng.integers(40, 90, (48, 64, 64), dtype=np.uint8)
    labels = np.arange(48) % 3 == 0
    tops = {row: int(rng.integers(8, 48)) for row in np.flatnonzero(labels)}
    boxes = {row: (16, top, 48, top + 8) for row, top in tops.items()}
    shown = with_fractures(images, boxes, 230)
    groups = np.array([f"g{i // 2}" for i in range(48)])
    rows = np.arange(48)
    attributes = np.stack([labels, np.arange(48) % 2], axis=1).astype(np.float32)
    attributes[5] = np.nan
    marked = np.ones(48, bool)
    labels = labels.astype(int)
    return Part(*shown, rows, labels, groups, marked, attributes)


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
