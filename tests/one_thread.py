"""Networks as small as the tests' train quickest in one thread: those of two processes of pytest
would wait for each other at every layer."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """For all tests of a module that imports it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
