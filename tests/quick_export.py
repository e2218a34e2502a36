"""Networks as small as the tests' take longer in torch's exporter than in training."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_export() -> Iterator[None]:
    """For all tests of a module that imports it: torch's former exporter, ten times as fast.

    What it gives is compared with torch as every export is. The exporter that users have is for
    the tests of other modules.
    """
    import torch

    users = torch.onnx.export

    def former(*given, dynamic_shapes, dynamo, **said):
        users(*given, **said, dynamic_axes={"radiograph": {0: "n"}}, dynamo=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", former)
        yield
