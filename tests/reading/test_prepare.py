"""Decoded radiographs into a model's inputs: how one that shows nothing is called, and warnings."""

import numpy as np
import pytest
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.errors import RadiographError
from kirik.preprocessing import Preprocessing
from kirik.radiograph import Radiograph, radiograph_from_array, read_radiograph, read_radiographs
from kirik.reading.decoder import Decoders
from kirik.reading.film import decode_film
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


@pytest.mark.parametrize("spacing", [[0.1, 0.2], [0.3, 0.1]])
def test_pixels_that_are_no_squares_are_squares_in_the_inputs_and_findings_fit_the_file(spacing):
    """Whatever a device sampled finer one way than the other, a bone keeps its shape."""
    row, column = spacing
    down, across = round(10 * row), round(10 * column)  # square pixels that became one
    square = (np.add.outer(np.arange(360), np.arange(240)) % 240).astype(np.float32) / 255
    square[90:180, 60:90] = 1
    stored = square.reshape(360 // down, down, 240 // across, across).mean(axis=(1, 3))
    radiographs = [
        Radiograph(levels, "DICOM", "MONOCHROME2", levels.shape, aspect=aspect)
        for levels, aspect in ((square, 1), (stored, row / column))
    ]
    later = Preprocessing(size=512)
    wanted = Wanted((Preprocessing(size=96), later), stride=4, later=frozenset({later}))
    true, found = (prepare(one, None, wanted) for one in radiographs)
    exact, near = (one.inputs[wanted.settings[0]].astype(int) for one in (true, found))
    assert np.abs(exact - near).mean() < 4
    assert found.inputs[later].shape == (512, 512)
    cells = true.frame.cells()
    assert found.frame.cells() == cells
    for cell in (cells[0].start + 3, cells[0].stop - 2):
        assert found.frame.row(cell) * down == pytest.approx(true.frame.row(cell))
        assert found.frame.column(cell) * across == pytest.approx(true.frame.column(cell))


def test_a_picture_of_pixels_that_are_no_squares_has_the_films_true_shape(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(content_of(dicom(FILM, bits=8, PixelSpacing=[0.1, 0.2])))
    rows, columns = FILM.shape
    decoders = Decoders()
    shapes = [
        decode_film(path, None, at_most, decoders, square).levels.shape
        for at_most, square in ((4 * columns, True), (4 * columns, False), (columns, True))
    ]
    decoders.close()
    assert shapes[:2] == [(rows, 2 * columns), (rows, columns)]
    assert shapes[2] == (round(rows / 2), columns)
