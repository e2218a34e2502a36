"""Reports of networks as small as the tests' take longer to draw than the networks to train."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def undrawn() -> Iterator[None]:
    """Pages have an empty picture for each figure, and curves are saved as they come, not laid out.

    Figures and their layout are for the tests of reports.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kirik.evaluation.plots.figure_uri", lambda _: "data:image/svg+xml,%3Csvg/%3E"
        )
        layout = "matplotlib.layout_engine.ConstrainedLayoutEngine.execute"
        patch.setattr(layout, lambda *_: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_figures() -> Iterator[None]:
    """For all tests of a module that imports it."""
    with undrawn():
        yield
