"""Compressed pixels of which a part is missing, with the end marker behind what is left."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLossless

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


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.9, 0.99])
def test_progressive_jpeg_of_12_bits_of_which_a_scan_ends_early(refusal, tmp_path, film, share):
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+ep", "+q", "95")
    assert refusal(cut(content, share)).reason == "truncated"


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def codes(rows: np.ndarray, short: int) -> bytes:
    """Some rows' codes, as a lossless JPEG has them: each sample foretold by the one on its left.
    short: how many sizes have a code of 4 bits; the others have 5."""
    told = np.empty_like(rows, np.int32)
    told[:, 1:], told[1:, 0], told[0, 0] = rows[:, :-1], rows[:-1, 0], 2048
    bits = ""
    for step in (rows - told).ravel().tolist():
        size = abs(step).bit_length()
        bits += f"{size:04b}" if size < short else f"{size + short:05b}"
        bits += f"{step if step >= 0 else step + 2**size - 1:0{size}b}" if size else ""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def lossless(film: np.ndarray, each: int, short: int, cut: int | None) -> Dataset:
    """A CR of 12 bits as JPEG Lossless, of whose pieces one is cut in half: of a scan for each
    colour, or, with `each`, of so many rows between restart markers."""
    planes = film.reshape(*film.shape[:2], -1)
    rows, columns, count = planes.shape
    kinds = b"".join(bytes((i, 0x11, 0)) for i in range(count))
    stream = b"\xff\xd8" + segment(0xC3, struct.pack(">BHHB", 12, rows, columns, count) + kinds)
    stream += segment(0xC4, bytes((0, 0, 0, 0, short, 17 - short, *[0] * 11, *range(17))))
    stream += segment(0xDD, struct.pack(">H", each * columns)) if each else b""
    pieces = 0
    for i in range(count):
        stream += segment(0xDA, bytes((1, i, 0, 1, 0, 0)))
        for top in range(0, rows, each or rows):
            stream += bytes((0xFF, 0xCF + top // each)) if top else b""
            piece = codes(planes[top : top + (each or rows), :, i], short)
            stream += piece[: len(piece) // 2].rstrip(b"\xff") if pieces == cut else piece
            pieces += 1
    return encapsulated(film, JPEGLossless, stream + END)


@pytest.mark.parametrize("short", [14, 15])  # with 15 there is a code of nothing but ones
@pytest.mark.parametrize(("kind", "each"), [("gray", 0), ("gray", 10), ("colours", 0)])
def test_jpeg_lossless_of_which_any_piece_ends_early(read, refusal, film, kind, each, short):
    pytest.importorskip("gdcm")
    film = film[:30, :40]
    if kind == "colours":
        film = np.stack([film[:9, :9] // n for n in (1, 2, 3)], axis=2)
    plain = read(dicom(film)).pixels
    assert np.array_equal(read(lossless(film, each, short, None)).pixels, plain)
    last = 2 if each or kind == "colours" else 0
    for piece in range(last + 1):
        reason = refusal(lossless(film, each, short, piece)).reason
        assert reason == "truncated" or (reason == "damaged" and piece < last)


@pytest.mark.parametrize("more", [b"\xff", b"\xff\xff", b"\0\0\0", b"\xaa" * 20, b""])
@pytest.mark.parametrize("end", [END, b"", END + bytes(200)])
def test_jpeg_lossless_with_something_behind_its_codes(read, tmp_path, film, more, end):
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+e1")
    dataset = dcmread(io.BytesIO(content))
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream[: stream.rindex(END)] + more + end])
    assert np.array_equal(read(dataset).pixels, read(content).pixels)


@pytest.mark.parametrize("meaningless", [b"\x3f\0", b"\0\x10", b"\x3f\xd0"])
def test_jpeg_lossless_of_scanners_that_fill_in_what_means_nothing(
    read, refusal, tmp_path, film, meaningless
):
    """Which coefficients a scan has, and after which bits, says a progressive one alone."""
    content = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+e1")
    dataset = dcmread(io.BytesIO(content))
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    at = stream.index(b"\xff\xda") + 8
    told = stream[:at] + meaningless + stream[at + 2 :]
    dataset.PixelData = encapsulate([told])
    assert np.array_equal(read(dataset).pixels, read(content).pixels)
    dataset.PixelData = encapsulate([told[: at + 5000] + END])
    assert refusal(dataset).reason == "truncated"


def test_jpeg_lossless_without_its_last_byte_is_as_libjpeg_fills_it_up(read, refusal, film):
    """Some writers forget the byte that the codes do not fill; these lack some codes besides."""
    film = film[60:90, :40]  # black at its end, so that a byte has two samples
    stream = next(generate_frames(lossless(film, 0, 14, None).PixelData, number_of_frames=1))
    whole = stream[: stream.rindex(END)]
    for missing in (1, 2, 3):
        dataset = encapsulated(film, JPEGLossless, whole[:-missing] + END)
        if missing == 1:
            assert np.array_equal(read(dataset).pixels, read(dicom(film)).pixels)
        else:
            assert refusal(dataset).reason == "truncated"


@pytest.mark.parametrize("flat", [False, True])
def test_a_whole_jpeg_lossless_is_decoded_once(read, tmp_path, film, monkeypatch, flat):
    gdcm = pytest.importorskip("gdcm")
    film[:] = 700 if flat else film
    content, images = by_dcmtk(dicom(film), tmp_path, "dcmcjpeg", "+e1"), []
    image = gdcm.Image
    monkeypatch.setattr(gdcm, "Image", lambda: images.append(image()) or images[-1])
    assert np.array_equal(read(content).pixels, read(dicom(film)).pixels)
    assert len(images) == 1


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
