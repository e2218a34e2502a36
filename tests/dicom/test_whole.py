"""Compressed pixels of which a part is missing, with the end marker behind what is left."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless

from dicom.helpers import by_dcmtk, by_gdcm, content_of, dicom, encapsulated

END, TILE_PART = b"\xff\xd9", b"\xff\x90\0\x0a"


@pytest.fixture
def film() -> np.ndarray:
    """uint16 [100, 150] of 12 bits, noise on a ramp, and black below."""
    ramp = np.linspace(500, 3500, 150) + np.random.default_rng(0).normal(0, 20, (100, 150))
    film = ramp.clip(0, 4095).astype(np.uint16)
    film[80:] = 0
    return film


@pytest.fixture
def bright(film) -> np.ndarray:
    """The same in uint8; of 16 bits Pillow writes tiles wrongly."""
    return (film >> 4).astype(np.uint8)


def tiled(film: np.ndarray) -> bytes:
    """A JPEG 2000 of it in 12 tiles."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "JPEG2000", no_jp2=True, tile_size=(40, 40))
    assert buffer.getvalue().count(TILE_PART) == 12
    return buffer.getvalue()


def parts(stream: bytes) -> list[bytes]:
    """The header of a tiled JPEG 2000, and each of its tile-parts."""
    header, *rest = stream.removesuffix(END).split(TILE_PART)
    return [header, *(TILE_PART + one for one in rest)]


def test_jpeg_2000_with_all_its_tiles_is_read(read, bright):
    header, *tiles = parts(tiled(bright))
    plain = read(dicom(bright, bits=8)).pixels
    for order in (tiles, tiles[::-1]):
        dataset = encapsulated(bright, JPEG2000Lossless, header + b"".join(order) + END, bits=8)
        assert np.array_equal(read(dataset).pixels, plain)


def test_last_tile_of_an_open_length_is_read(read, bright):
    *before, last = parts(tiled(bright))
    last = last[:6] + bytes(4) + last[10:]
    dataset = encapsulated(bright, JPEG2000Lossless, b"".join(before) + last + END, bits=8)
    assert np.array_equal(read(dataset).pixels, read(dicom(bright, bits=8)).pixels)


@pytest.mark.parametrize("missing", [range(6, 12), range(3, 5), [0], [11]])
@pytest.mark.parametrize("boxes", [b"", b"\0\0\0\x0cjP  \r\n\x87\n"])
def test_jpeg_2000_without_some_tiles_is_refused(refusal, bright, missing, boxes):
    header, *tiles = parts(tiled(bright))
    left = b"".join(one for number, one in enumerate(tiles) if number not in missing)
    dataset = encapsulated(bright, JPEG2000Lossless, boxes + header + left + END, bits=8)
    assert refusal(dataset).reason == "truncated"


def test_jpeg_2000_without_a_tile_part_that_it_tells_of_is_refused(refusal, bright):
    header, *tiles = parts(tiled(bright))
    tiles[5] = tiles[5][:11] + b"\2" + tiles[5][12:]
    dataset = encapsulated(bright, JPEG2000Lossless, header + b"".join(tiles) + END, bits=8)
    assert refusal(dataset).reason == "truncated"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
@pytest.mark.parametrize(("tile", "reason"), [(40, "truncated"), (1, "damaged"), (0, "damaged")])
def test_header_that_tells_of_more_tiles_than_there_are(refusal, bright, syntax, tile, reason):
    stream = tiled(bright)
    at = stream.index(b"\xff\x51") + 6
    size = struct.pack(">8I", 9999, 9999, 0, 0, tile, tile, 0, 0)
    lying = stream[:at] + size + stream[at + 32 :]
    dataset = encapsulated(bright, syntax, lying, bits=8, Rows=9999, Columns=9999)
    assert refusal(dataset).reason == reason


def cut(content: bytes, share: float) -> bytes:
    """The file, with so much of its only frame's stream and an end marker."""
    dataset = dcmread(io.BytesIO(content))
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream[: int(len(stream) * share)] + END])
    return content_of(dataset)


LOSSLESS = [("+e1",), *(("+el", "+sv", str(number)) for number in (2, 5, 7))]


@pytest.mark.parametrize("how", [*LOSSLESS, ("+ee",), ("+ee", "+q", "60")])
@pytest.mark.parametrize("flat", [False, True])
def test_codes_that_end_early_before_an_end_marker(read, refusal, tmp_path, film, how, flat):
    if flat:
        film[:] = 700
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", *how)
    whole = read(content).pixels
    assert np.abs(whole - read(dicom(film)).pixels).max() < (0.2 if how[0] == "+ee" else 1e-6)
    if not flat:
        for share in (0.4, 0.7, 0.9, 0.97):
            assert refusal(cut(content, share)).reason == "truncated", share


def test_progressive_jpeg_of_12_bits_whose_first_scan_ends_early(refusal, tmp_path, film):
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+ep", "+q", "95")
    assert refusal(cut(content, 0.2)).reason == "truncated"


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGExtendedProcess2_4"])
def test_what_gdcm_writes_and_somebody_cuts(read, refusal, tmp_path, film, syntax):
    content = by_gdcm(dicom(film), tmp_path, syntax)
    assert read(content).pixels.shape == film.shape
    assert refusal(cut(content, 0.7)).reason == "truncated"


def test_jpeg_lossless_with_an_odd_number_of_bytes_before_its_pixels(read, tmp_path, film):
    """A comment that is taken out must not leave an odd number, which GDCM refuses."""
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+e1")
    dataset = dcmread(io.BytesIO(content))
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream[:2] + b"\xff\xfe\0\3a" + stream[2:]])
    assert np.array_equal(read(dataset).pixels, read(content).pixels)
