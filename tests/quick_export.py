"""Networks as small as the tests' take longer in torch's exporter than in training."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def quickly() -> Iterator[None]:
    """Export by torch's former exporter, ten times as fast, in this process.

    What it gives is compared with torch as every export is. The exporter that users have is for
    other tests.
    """
    import torch

    users = torch.onnx.export

    def former(*given, dynamic_shapes, dynamo, **said):
        users(*given, **said, dynamic_axes={"radiograph": {0: "n"}}, dynamo=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", former)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_export() -> Iterator[None]:
    """For all tests of a module that imports it."""
    with quickly():
        yield
