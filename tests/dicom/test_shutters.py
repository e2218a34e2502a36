"""Display shutters: what lies outside is black, and does not move the percentiles."""

import numpy as np
import pytest

from dicom.helpers import COLUMNS, ROWS, dicom

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
RECTANGLE = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 6,
    "ShutterRightVerticalEdge": 35,
    "ShutterUpperHorizontalEdge": 4,
    "ShutterLowerHorizontalEdge": 20,
}
CIRCLE = {
    "ShutterShape": "CIRCULAR",
    "CenterOfCircularShutter": [15, 20],
    "RadiusOfCircularShutter": 10,
}
POLYGON = {
    "ShutterShape": "POLYGONAL",
    "VerticesOfThePolygonalShutter": [5, 5, 5, 36, 25, 36, 25, 5],
}


def inside(name: str) -> np.ndarray:
    row, column = np.mgrid[1 : ROWS + 1, 1 : COLUMNS + 1]
    return {
        "rectangle": (row >= 4) & (row <= 20) & (column >= 6) & (column <= 35),
        "circle": (row - 15) ** 2 + (column - 20) ** 2 <= 100,
        "polygon": (row >= 5) & (row <= 25) & (column >= 5) & (column <= 36),
    }[name]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("name", "tags"), [("rectangle", RECTANGLE), ("circle", CIRCLE), ("polygon", POLYGON)]
)
def test_outside_of_a_shutter_is_black(read, stored, photometric, name, tags):
    shown = WINDOW | {"PhotometricInterpretation": photometric}
    plain = read(dicom(stored, **shown)).pixels
    pixels = read(dicom(stored, **shown, **tags)).pixels
    assert np.array_equal(pixels, np.where(inside(name), plain, 0))


def test_several_shutters_leave_what_all_leave(read, stored):
    tags = RECTANGLE | CIRCLE | {"ShutterShape": ["RECTANGULAR", "CIRCULAR"]}
    plain = read(dicom(stored, **WINDOW)).pixels
    expected = np.where(inside("rectangle") & inside("circle"), plain, 0)
    assert np.array_equal(read(dicom(stored, **WINDOW, **tags)).pixels, expected)


def test_what_is_shuttered_does_not_move_the_percentiles(read, stored):
    stored[0] = 60000
    dataset = dicom(stored, bits=16, **RECTANGLE)
    pixels = read(dataset).pixels
    assert pixels[10, 34] > 0.9


def test_colours_are_shuttered_too(read):
    white = np.full((ROWS, COLUMNS, 3), 255, np.uint8)
    pixels = read(dicom(white, bits=8, **RECTANGLE)).pixels
    assert np.allclose(pixels, inside("rectangle"), atol=1e-6)


@pytest.mark.parametrize(
    "tags",
    [
        RECTANGLE | {"ShutterLeftVerticalEdge": 36},
        RECTANGLE | {"ShutterLeftVerticalEdge": None},
        CIRCLE | {"RadiusOfCircularShutter": 0},
        CIRCLE | {"CenterOfCircularShutter": [-(2**31), 2**31 - 1]},
        CIRCLE | {"CenterOfCircularShutter": 5},
        POLYGON | {"VerticesOfThePolygonalShutter": [5, 5, 6, 6]},
        POLYGON | {"VerticesOfThePolygonalShutter": [5, 5, 6, 6, 7, 7, 8]},
        POLYGON | {"VerticesOfThePolygonalShutter": [2**31 - 1] * 8},
        POLYGON | {"VerticesOfThePolygonalShutter": [1, 1] * 6000},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": ""},
    ],
)
def test_absurd_shutters_are_passed_over(read, stored, tags):
    missing = [keyword for keyword, value in tags.items() if value is None]
    tags = {keyword: value for keyword, value in tags.items() if keyword not in missing}
    plain = read(dicom(stored, **WINDOW)).pixels
    assert np.array_equal(read(dicom(stored, **WINDOW, **tags)).pixels, plain)
