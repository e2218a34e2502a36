"""Decoded radiographs into a model's inputs: how one that shows nothing is called, and warnings."""

import numpy as np
import pytest
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.errors import RadiographError
from kirik.preprocessing import Preprocessing
from kirik.radiograph import radiograph_from_array, read_radiograph, read_radiographs
from kirik.reading.prepare import Wanted, prepare

WANTED = Wanted((Preprocessing(size=64),), stride=32)
FILM = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (50, 1))
BLANK = np.full_like(FILM, 90)


@pytest.mark.parametrize("kind", ["frame", "page"])
def test_a_frame_that_shows_nothing_says_which_it_is(tmp_path, kind):
    path = tmp_path / "several"
    if kind == "page":
        first, *rest = (Image.fromarray(one) for one in (FILM, BLANK, FILM))
        first.save(path, "TIFF", save_all=True, append_images=rest)
    else:
        stored = np.stack([FILM, BLANK, FILM])
        tags = {"NumberOfFrames": 3, "PixelData": stored.tobytes()}
        path.write_bytes(content_of(dicom(FILM, bits=8, **tags)))
    first, second, third = read_radiographs(path)
    assert prepare(first, path, WANTED).number == 1
    with pytest.raises(RadiographError) as caught:
        prepare(second, path, WANTED)
    assert f"{path} ({kind} 2 of 3): nothing to see" in str(caught.value)
    assert prepare(third, path, WANTED).number == 3


@pytest.mark.parametrize(
    ("brightest", "warnings"),
    [(255, ()), (40, ()), (28, ("low_contrast",)), (9, ("low_contrast",))],
)
def test_little_contrast_is_warned_of(brightest, warnings):
    film = np.linspace(0, brightest, 320 * 240).round().astype(np.uint8).reshape(320, 240)
    assert prepare(radiograph_from_array(film), None, WANTED).warnings == warnings


@pytest.mark.parametrize(
    ("spacing", "warnings"),
    [
        ([0.2, 0.2], ()),
        ([0.2, 0.203], ()),
        ([0.2, 0.205], ("pixel_aspect",)),
        ([0.2, 0.4], ("pixel_aspect",)),
        ([0.4, 0.2], ("pixel_aspect",)),
    ],
)
def test_pixels_that_are_no_squares_are_warned_of(tmp_path, spacing, warnings):
    path = tmp_path / "a.dcm"
    path.write_bytes(content_of(dicom(FILM, bits=8, PixelSpacing=spacing)))
    assert prepare(read_radiograph(path), path, WANTED).warnings == warnings
