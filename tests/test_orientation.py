"""Points and boxes between the file as stored and the upright radiograph."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from kirik.radiograph import to_stored, to_stored_box, to_upright, to_upright_box

ROWS, COLUMNS = 7, 11


def upright_by_pillow(stored: np.ndarray, orientation: int) -> np.ndarray:
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_marked_pixels_are_found_again(orientation):
    for row, column in ((0, 0), (2, 9), (6, 10), (5, 1)):
        stored = np.zeros((ROWS, COLUMNS), np.uint8)
        stored[row, column] = 255
        [(expected_row, expected_column)] = np.argwhere(upright_by_pillow(stored, orientation))
        centre = np.array([[column + 0.5, row + 0.5]])
        upright = to_upright(centre, orientation, (ROWS, COLUMNS))
        assert np.array_equal(upright, [[expected_column + 0.5, expected_row + 0.5]])
        assert np.array_equal(to_stored(upright, orientation, (ROWS, COLUMNS)), centre)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_marked_boxes_are_found_again(orientation):
    stored = np.zeros((ROWS, COLUMNS), np.uint8)
    stored[1:3, 4:9] = 255
    upright = upright_by_pillow(stored, orientation)
    rows, columns = np.flatnonzero(upright.any(axis=1)), np.flatnonzero(upright.any(axis=0))
    expected = [columns[0], rows[0], len(columns), len(rows)]
    box = to_upright_box((4, 1, 5, 2), orientation, (ROWS, COLUMNS))
    assert box.tolist() == expected
    assert to_stored_box(box, orientation, (ROWS, COLUMNS)).tolist() == [4, 1, 5, 2]


def test_many_boxes_at_once_and_the_callers_array_untouched():
    boxes = np.array([[0, 0, 2, 3], [4.5, 1, 5, 2]])
    before = boxes.copy()
    upright = to_upright_box(boxes, 6, (ROWS, COLUMNS))
    assert upright.tolist() == [[4, 0, 3, 2], [4, 4.5, 2, 5]]
    assert np.array_equal(boxes, before)
    points = np.array([[1.0, 2.0]])
    to_upright(points, 3, (ROWS, COLUMNS))
    assert points.tolist() == [[1, 2]]
