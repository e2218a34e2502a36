"""Reads DICOM out of memory, with warnings made errors."""

import warnings

import numpy as np
import pytest
from pydicom import Dataset

from dicom.helpers import COLUMNS, ROWS, content_of
from kirik.errors import RadiographError
from kirik.radiograph import Frames, decode_radiographs


@pytest.fixture
def stored() -> np.ndarray:
    """uint16 [30, 40] of 12 bits, rising from the left edge to the right one."""
    return np.tile(np.linspace(100, 4000, COLUMNS).astype(np.uint16), (ROWS, 1))


@pytest.fixture
def opened():
    """The frames of a data set, or of a file's bytes."""

    def open_it(source: Dataset | bytes, **options) -> Frames:
        content = source if isinstance(source, bytes) else content_of(source)
        return decode_radiographs(content, "a", **options)

    return open_it


@pytest.fixture
def read(opened):
    """The only radiograph of a data set, or of a file's bytes."""

    def read_it(source: Dataset | bytes, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frames = opened(source, **options)
            assert frames.count == 1
            return next(frames)

    return read_it


@pytest.fixture
def refusal(read):
    def refused(source: Dataset | bytes, **options) -> RadiographError:
        with pytest.raises(RadiographError) as caught:
            read(source, **options)
        assert "\n" not in str(caught.value)
        assert "yilmaz" not in str(caught.value).lower()
        return caught.value

    return refused
