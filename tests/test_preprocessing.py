"""From a radiograph to a network's input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik.preprocessing import Preprocessing, darken_unexposed, resize
from kirik.radiograph import radiograph_from_array, read_radiograph

REAL = Path(__file__).parents[2] / "shared" / "dicom" / "RG3_J2KR.dcm"


def collimated(rows=200, columns=160, margins=(0, 0, 20, 30)):
    """A limb on a dark ground between white margins: top, bottom, left, right."""
    pixels = np.full((rows, columns), 0.1, np.float32)
    pixels[:, 70:100] = 0.7
    top, bottom, left, right = margins
    pixels[:top] = pixels[rows - bottom :] = 1
    pixels[:, :left] = pixels[:, columns - right :] = 1
    return pixels


@pytest.mark.parametrize("margins", [(0, 0, 20, 30), (25, 0, 0, 0), (10, 40, 12, 14)])
def test_white_margins_become_black_and_nothing_else_changes(margins):
    pixels = collimated(margins=margins)
    dark = darken_unexposed(pixels)
    assert (dark[pixels == 1] == 0).all()
    assert (dark[pixels < 1] == pixels[pixels < 1]).all()


def test_a_blurred_border_goes_with_its_margin():
    pixels = collimated()
    pixels[:, 20:24] = np.linspace(0.85, 0.3, 4)
    dark = darken_unexposed(pixels)
    assert (dark[:, :22] == 0).all()
    assert (dark[:, 24:] == np.where(pixels == 1, 0, pixels)[:, 24:]).all()


def test_a_long_blurred_border_goes_where_it_falls_to_a_dark_ground():
    pixels = collimated()
    pixels[:, 20:36] = np.linspace(0.99, 0.25, 16)
    dark = darken_unexposed(pixels)
    assert (dark[:, :36] == 0).all()
    assert (dark[:, 36:] == np.where(pixels == 1, 0, pixels)[:, 36:]).all()


@pytest.mark.parametrize(
    "limb",
    [
        np.full(16, 0.6),  # no ground beside the margin
        np.r_[np.linspace(0.9, 0.5, 6), np.linspace(0.5, 0.8, 10)],  # it grows brighter again
    ],
)
def test_a_limb_beside_a_margin_stays(limb):
    pixels = collimated()
    pixels[:, 20:36] = limb
    pixels[:, 36:70] = limb[-1]
    dark = darken_unexposed(pixels)
    assert (dark[:, :20] == 0).all()
    assert (dark[:, 28:130] == pixels[:, 28:130]).all()


@pytest.mark.parametrize(
    "pixels",
    [
        collimated(margins=(0, 0, 0, 0)),
        collimated(margins=(0, 0, 2, 0)),  # thinner than a margin: a scan line
        np.ones((50, 60), np.float32),
        collimated(margins=(0, 120, 0, 0)),  # most of it is white: no margin, but a bright film
    ],
)
def test_what_is_no_margin_stays(pixels):
    assert darken_unexposed(pixels) is pixels


def test_a_bright_bone_at_the_edge_stays():
    pixels = collimated(margins=(0, 0, 0, 0))
    pixels[:40, 20:140] = 1  # three quarters of the line
    assert darken_unexposed(pixels) is pixels


def test_the_input_has_black_margins_and_the_radiograph_keeps_its_own():
    radiograph = radiograph_from_array((collimated() * 255).astype(np.uint8))
    found = Preprocessing(size=100).apply(radiograph)
    assert radiograph.pixels[:, :20].min() > 0.99
    assert found[:, :20].max() == 0
    assert found[50, 10 + 42] == pytest.approx(0.7 * 255, abs=3)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((2304, 2880), (282, 352)),
        ((373, 454), (289, 352)),
        ((100, 80), (352, 282)),  # larger
        ((352, 352), (352, 352)),
        ((353, 352), (352, 351)),
        ((3, 1000), (1, 352)),
        ((9001, 32), (352, 1)),
        ((1, 1), (352, 352)),
    ],
)
def test_resizing_is_pillows_to_a_rounding(shape, size):
    pixels = np.random.default_rng(0).random(shape, np.float32)
    expected = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.abs(resize(pixels, *size) - np.asarray(expected)).max() < 1e-6


@pytest.mark.skipif(not REAL.is_file(), reason="no real DICOM file beside the checkout")
def test_a_real_collimated_radiograph_has_its_limb_left():
    radiograph = read_radiograph(REAL)
    found = Preprocessing(size=320).apply(radiograph)
    assert found[:, :80].max() == 0
    assert found[:, 230:].max() == 0
    assert (found[:, 110:200] > 40).mean() > 0.75
