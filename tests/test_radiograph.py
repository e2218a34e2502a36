"""JPEG, PNG and TIFF into radiographs: values, colours, limits, and everything that is refused."""

import io
import json
import os
import re
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from kirik.errors import RadiographError
from kirik.files import read_file
from kirik.radiograph import (
    Limits,
    Radiograph,
    decode_radiographs,
    radiograph_from_array,
    read_radiograph,
    read_radiographs,
)

ROWS, COLUMNS = 60, 44


@pytest.fixture
def gray() -> np.ndarray:
    """uint8 [60, 44]: a ramp with noise, no two rows alike."""
    ramp = np.add.outer(np.arange(ROWS) * 3, np.arange(COLUMNS))
    noise = np.random.default_rng(0).integers(0, 30, (ROWS, COLUMNS))
    return (ramp + noise).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def refusal(path: Path, **options) -> RadiographError:
    """The error of a file that must not be read; always one line that names the file."""
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_8_bit_values_are_exactly_value_over_255(tmp_path, gray, form):
    Image.fromarray(gray).save(tmp_path / "a", form)
    radiograph = read_radiograph(tmp_path / "a")
    assert radiograph.pixels.dtype == np.float32
    assert np.array_equal(radiograph.pixels, gray.astype(np.float32) / 255)
    assert (radiograph.format, radiograph.mode) == (form, "L")
    assert (radiograph.stored_size, radiograph.orientation) == ((ROWS, COLUMNS), 1)


def test_jpeg_is_what_pillow_decodes(tmp_path, gray):
    Image.fromarray(gray).save(tmp_path / "a.jpg")
    expected = np.asarray(Image.open(tmp_path / "a.jpg"), np.float32) / 255
    assert np.array_equal(read_radiograph(tmp_path / "a.jpg").pixels, expected)


def test_format_is_told_by_content_not_by_suffix(tmp_path, gray):
    Image.fromarray(gray).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_radiograph(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGB", "TIFF"),
        ("CMYK", "TIFF"),
        ("LA", "TIFF"),
        ("YCbCr", "TIFF"),
        ("LAB", "TIFF"),
    ],
)
def test_gray_in_a_colour_mode_keeps_its_brightness(tmp_path, gray, mode, form):
    image = Image.fromarray(gray)
    if mode == "LAB":
        image = Image.merge("LAB", [image, *[Image.new("L", image.size, 128)] * 2])
    elif mode in ("CMYK", "YCbCr"):
        image = image.convert("RGB").convert(mode)
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a", form, **({"quality": 95} if form == "JPEG" else {}))
    radiograph = read_radiograph(tmp_path / "a")
    assert radiograph.mode == mode
    assert np.abs(radiograph.pixels * 255 - gray).mean() < 2


def test_colours_become_luminance(tmp_path):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(tmp_path / "a.png")
    assert read_radiograph(tmp_path / "a.png").pixels[0, 0] == pytest.approx(0.299, abs=0.003)


def test_what_is_transparent_is_black(tmp_path):
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[:2, :, 3] = 0
    pixels[2:, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    radiograph = read_radiograph(tmp_path / "a.png")
    assert np.array_equal(radiograph.pixels[:, 0], np.float32([0, 0, 200 / 255, 200 / 255]))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_values_go_by_their_bit_depth(tmp_path, gray, form):
    deep = gray.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a", form)
    assert np.allclose(read_radiograph(tmp_path / "a").pixels, gray / 255, atol=1e-6)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_detectors_bits_in_16_go_by_its_depth(tmp_path, gray, form, bits):
    """So that the same radiograph of 8 bits and of 12 gets the same reading."""
    Image.fromarray(gray.astype(np.uint16) << bits - 8).save(tmp_path / "a", form)
    assert np.allclose(read_radiograph(tmp_path / "a").pixels, gray / 255, atol=1 / 255)


@pytest.mark.parametrize("brightest", [4095, 5000, 9000, 16000])
def test_a_marker_or_a_hot_pixel_does_not_choose_the_depth(gray, brightest):
    deep = 200 + gray.astype(np.uint16) * 3
    deep[0, 0] = brightest
    pixels = radiograph_from_array(deep).pixels
    assert np.percentile(pixels, 99) - np.percentile(pixels, 1) > 0.9


@pytest.mark.parametrize("bits", [11, 13])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_other_fewer_bits_in_16_are_stretched(tmp_path, gray, form, bits):
    Image.fromarray(gray.astype(np.uint16) << bits - 8).save(tmp_path / "a", form)
    pixels = read_radiograph(tmp_path / "a").pixels
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert np.corrcoef(pixels.ravel(), gray.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("kind", ["uint16 white is zero", "int32", "float of any range", "bilevel"])
def test_odd_tiffs_are_bright_where_they_should_be(tmp_path, gray, kind):
    if kind == "uint16 white is zero":
        image = Image.fromarray((255 - gray).astype(np.uint16) * 257)
        image.save(tmp_path / "a.tif", tiffinfo={262: 0})
        content = (tmp_path / "a.tif").read_bytes()
        told = struct.pack("<HHI", 262, 3, 1)
        at = content.index(told) + len(told)
        (tmp_path / "a.tif").write_bytes(content[:at] + b"\0\0" + content[at + 2 :])
    elif kind == "int32":
        Image.fromarray(gray.astype(np.int32) - 1000).save(tmp_path / "a.tif")
    elif kind == "float of any range":
        Image.fromarray(gray.astype(np.float32) * 9).save(tmp_path / "a.tif")
    else:
        Image.fromarray(gray).convert("1").save(tmp_path / "a.tif", compression="group4")
    pixels = read_radiograph(tmp_path / "a.tif").pixels
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.corrcoef(pixels.ravel(), gray.ravel())[0, 1] > (0.3 if kind == "bilevel" else 0.99)


@pytest.mark.parametrize("colours", [2, 4, 6])
def test_dark_colours_of_16_bits_are_refused_and_bright_ones_read(tmp_path, gray, colours):
    """Pillow gives the upper 8 bits of them alone, and writes none."""
    samples, path = {2: 3, 4: 2, 6: 4}[colours], tmp_path / "a.png"

    def write(scale: int) -> None:
        deep = np.repeat((gray.astype(">u2") * scale)[:, :, None], samples, axis=2)
        if colours > 3:
            deep[:, :, -1] = 0xFFFF
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
        header = struct.pack(">IIBBBBB", COLUMNS, ROWS, 16, colours, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n"
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            told = kind + body
            content += struct.pack(">I", len(body)) + told + struct.pack(">I", zlib.crc32(told))
        path.write_bytes(content)

    write(257)
    assert np.allclose(read_radiograph(path).pixels, gray / 255, atol=1 / 255)
    write(16)
    refused = refusal(path)
    assert refused.reason == "unsupported"
    assert "colours of 16 bits" in str(refused)


def test_float_tiff_in_0_to_1_is_kept_and_nan_refused(tmp_path, gray):
    levels = gray.astype(np.float32) / 255
    Image.fromarray(levels).save(tmp_path / "a.tif")
    assert np.array_equal(read_radiograph(tmp_path / "a.tif").pixels, levels)
    levels[3, 3] = np.nan
    Image.fromarray(levels).save(tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif").reason == "damaged"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_recorded(tmp_path, gray, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gray).save(tmp_path / "a", form, exif=exif)
    with Image.open(tmp_path / "a") as image:
        stored = Image.fromarray(np.asarray(image) if form == "JPEG" else gray)
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored), np.float32) / 255
    radiograph = read_radiograph(tmp_path / "a")
    assert np.array_equal(radiograph.pixels, expected)
    assert radiograph.pixels.flags.c_contiguous
    assert radiograph.orientation == orientation
    assert radiograph.stored_size == (ROWS, COLUMNS)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
def test_broken_exif_is_no_reason_to_refuse(tmp_path, gray, exif):
    Image.fromarray(gray).save(tmp_path / "a.jpg", exif=exif)
    assert read_radiograph(tmp_path / "a.jpg").orientation == 1


def test_jpeg_is_reduced_no_further_than_asked(tmp_path):
    Image.new("L", (800, 1000), 90).save(tmp_path / "a.jpg")
    shapes = [
        read_radiograph(tmp_path / "a.jpg", n).pixels.shape for n in (1001, 1000, 500, 251, 20)
    ]
    assert shapes == [(1000, 800), (1000, 800), (500, 400), (500, 400), (125, 100)]
    reduced = read_radiograph(tmp_path / "a.jpg", at_least=250)
    assert reduced.pixels.shape == (250, 200)
    assert reduced.stored_size == (1000, 800)
    assert np.allclose(reduced.pixels, 90 / 255, atol=1 / 255)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 15, 17])
def test_narrow_jpeg_is_reduced_without_harm(tmp_path, width):
    Image.new("RGB", (width, 99), (9, 9, 9)).save(tmp_path / "a.jpg")
    assert max(read_radiograph(tmp_path / "a.jpg", at_least=10).pixels.shape) >= 10


ENCODINGS = {
    "JPEG": lambda image: encoded(image, "JPEG"),
    "progressive JPEG": lambda image: encoded(image.convert("RGB"), "JPEG", progressive=True),
    "PNG": lambda image: encoded(image, "PNG"),
    "16-bit PNG": lambda image: encoded(
        Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "PNG"
    ),
    "TIFF": lambda image: encoded(image, "TIFF"),
    "LZW TIFF": lambda image: encoded(image, "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": lambda image: encoded(image.convert("RGB"), "TIFF", compression="jpeg"),
}


_LAST_CODES = 70
"""Bytes of a JPEG's last two blocks and its end marker, which it may lack."""


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_truncated_anywhere_is_never_a_radiograph(tmp_path, gray, monkeypatch, encoding, lenient):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    content = ENCODINGS[encoding](Image.fromarray(gray))
    path = tmp_path / "a.img"
    path.write_bytes(content)
    read_radiograph(path)
    end = len(content) - (_LAST_CODES if encoding.endswith("JPEG") else 0)
    for cut in {8, 20, *range(30, end, 23), *range(end - 12, end)}:
        path.write_bytes(content[:cut])
        for at_least in (None, 15):
            assert refusal(path, at_least=at_least).reason == "truncated", cut


@pytest.fixture
def film() -> Image.Image:
    """Of 240 × 176 pixels and some noise, in colours."""
    ramp = np.add.outer(np.arange(240), np.arange(176)) // 2
    noise = np.random.default_rng(0).integers(0, 30, ramp.shape)
    return Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).convert("RGB")


JPEGS = {
    "colours": {},
    "gray": {"gray": True},
    "fewer colours": {"subsampling": 2},
    "best codes": {"optimize": True},
    "restarts": {"restart_marker_blocks": 5},
    "progressive": {"progressive": True},
}


def jpeg_of(film: Image.Image, gray: bool = False, **options) -> bytes:
    return encoded(film.convert("L") if gray else film, "JPEG", quality=90, **options)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("at_least", [None, 60])
@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_cut_before_its_end_marker_is_truncated(
    tmp_path, film, monkeypatch, kind, at_least, lenient
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    content = jpeg_of(film, **JPEGS[kind])
    for share in (0.3, 0.6, 0.8, 0.9, 0.98):
        (tmp_path / "a.jpg").write_bytes(content[: int(len(content) * share)] + b"\xff\xd9")
        assert refusal(tmp_path / "a.jpg", at_least=at_least).reason == "truncated", share


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_whose_copy_broke_off_in_a_place_kept_for_it_is_truncated(tmp_path, film, kind):
    """Zeros where the rest should be, which are codes like others where tables are a film's own."""
    content = jpeg_of(film, **JPEGS[kind] | {"optimize": True})
    for share in (0.3, 0.6, 0.8, 0.9):
        kept = content[: int(len(content) * share)]
        (tmp_path / "a.jpg").write_bytes(kept + bytes(len(content) - len(kept)))
        assert refusal(tmp_path / "a.jpg").reason == "truncated", share


@pytest.mark.parametrize("restarts", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("gray", [False, True])
def test_progressive_jpeg_cut_between_two_restart_markers_is_truncated(
    tmp_path, film, gray, restarts
):
    content = jpeg_of(film, gray, progressive=True, **restarts)
    (tmp_path / "a.jpg").write_bytes(content)
    read_radiograph(tmp_path / "a.jpg")
    last = content.rindex(b"\xff\xda")
    places = [one.start() for one in re.finditer(rb"\xff[\xd0-\xd7]", content[last:])]
    assert len(places) > 4
    for place in places[:: max(1, len(places) // 8)]:
        (tmp_path / "a.jpg").write_bytes(content[: last + place])
        assert refusal(tmp_path / "a.jpg").reason == "truncated", place


@pytest.mark.parametrize("encoding", ["JPEG", "PNG"])
def test_an_orientation_that_is_written_as_a_fraction_turns_the_film(tmp_path, film, encoding):
    fraction = struct.pack(">HHIIIII", 0x0112, 5, 1, 26, 0, 6, 1)
    exif = b"MM\0*\0\0\0\x08\0\x01" + fraction
    exif = b"Exif\0\0" + exif if encoding == "JPEG" else exif
    film.convert("L").save(tmp_path / "a", encoding, exif=exif)
    read = read_radiograph(tmp_path / "a")
    assert read.levels.shape == film.size
    assert json.dumps(read.orientation) == "6"


def scan_by_scan(film: Image.Image, order: str) -> bytes:
    """A sequential JPEG with a scan for each component: those of three gray ones put together."""
    gray = [encoded(plane, "JPEG", quality=90) for plane in film.convert("YCbCr").split()]
    frame, scan = (gray[0].index(marker) for marker in (b"\xff\xc0", b"\xff\xda"))
    size = gray[0][frame + 4 : frame + 9]
    head = b"\xff\xc0\0\x11" + size + b"\3" + b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3))
    tables = gray[0][2:frame], gray[0][frame + 13 : scan]
    scans = b""
    for n in map(int, order):
        codes = gray[n - 1].index(b"\xff\xda") + 10
        scans += b"\xff\xda\0\x08\1" + bytes([n, 0, 0, 63, 0]) + gray[n - 1][codes:-2]
    return b"\xff\xd8" + tables[0] + head + tables[1] + scans + b"\xff\xd9"


@pytest.mark.parametrize("order", ["123", "231", "312"])
def test_jpeg_of_a_scan_a_component_is_whole_or_truncated(tmp_path, film, order):
    content = scan_by_scan(film, order)
    (tmp_path / "a.jpg").write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("L"))
    assert np.array_equal(read_radiograph(tmp_path / "a.jpg").levels, expected)
    starts = [found.start() for found in re.finditer(b"\xff\xda", content)]
    begin = starts[order.index("1")]
    end = [*starts, len(content) - 2][order.index("1") + 1]
    for share in (0.3, 0.6, 0.9):
        cut = begin + int((end - begin) * share)
        for rest in (content[end:], b"\xff\xd9"):
            (tmp_path / "a.jpg").write_bytes(content[:cut] + rest)
            assert refusal(tmp_path / "a.jpg").reason == "truncated", (share, len(rest))


@pytest.mark.parametrize("gray", [False, True])
def test_progressive_jpeg_of_which_any_scan_ends_early_is_truncated(tmp_path, film, gray):
    content = jpeg_of(film, gray=gray, progressive=True)
    scans = re.finditer(rb"\xff\xda\0.(.).*?(?=\xff[\xc4\xda\xd9])", content, re.DOTALL)
    of_brightness = [scan for scan in scans if scan[0][5] == 1 or scan[1] > b"\1"]
    assert len(of_brightness) == 6
    for scan in of_brightness:
        for missing in (20, len(scan[0]) // 2):
            cut = content[: scan.end() - missing] + content[scan.end() :]
            (tmp_path / "a.jpg").write_bytes(cut)
            assert refusal(tmp_path / "a.jpg").reason == "truncated", (scan.start(), missing)


def test_progressive_jpeg_without_its_later_scans_is_truncated(tmp_path, film):
    content = jpeg_of(film, progressive=True)
    (tmp_path / "a.jpg").write_bytes(content[: content.rindex(b"\xff\xda")] + b"\xff\xd9")
    assert refusal(tmp_path / "a.jpg").reason == "truncated"


@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_that_says_it_is_taller_is_truncated(tmp_path, film, kind):
    content = jpeg_of(film, **JPEGS[kind])
    at = content.index(b"\xff\xc2" if kind == "progressive" else b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(content[:at] + struct.pack(">H", 480) + content[at + 2 :])
    assert refusal(tmp_path / "a.jpg").reason == "truncated"


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("at_least", [None, 60])
def test_whole_jpeg_is_what_pillow_decodes_also_without_its_end_marker(
    tmp_path, film, kind, at_least
):
    content = jpeg_of(film, **JPEGS[kind])
    with Image.open(io.BytesIO(content)) as image:
        image.draft("L", (44, 60) if at_least else None)
        expected = np.asarray(image.convert("L"))
    for whole in (content, content + b"behind it" * 9, content[:-2], content[:-1]):
        (tmp_path / "a.jpg").write_bytes(whole)
        assert np.array_equal(read_radiograph(tmp_path / "a.jpg", at_least).levels, expected)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_png_with_valid_chunks_but_too_few_pixels(tmp_path, monkeypatch, interlaced):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 50, 50, 8, 0, 0, 0, interlaced))
    rows = chunk(b"IDAT", zlib.compress(bytes(51 * 20)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    assert refusal(tmp_path / "a.png").reason == "truncated"


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16"])
def test_uncompressed_tiff_that_says_it_is_taller_is_truncated(tmp_path, gray, mode):
    deep = mode == "I;16"
    image = Image.fromarray(gray.astype(np.uint16) * 257) if deep else Image.fromarray(gray)
    (image if deep else image.convert(mode)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    assert read_radiograph(tmp_path / "a.tif").pixels.shape == (ROWS, COLUMNS)
    told, taller = (struct.pack("<HHII", 257, 4, 1, rows) for rows in (ROWS, 2 * ROWS))
    assert content.count(told) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(told, taller))
    assert refusal(tmp_path / "a.tif").reason == "truncated"


def test_png_that_is_black_below_is_whole(tmp_path, gray):
    gray[20:] = 0
    for mode in ("L", "RGBA", "1"):
        Image.fromarray(gray).convert(mode).save(tmp_path / "a.png")
        assert not read_radiograph(tmp_path / "a.png").pixels[30:].any()


def test_png_with_a_flipped_bit_is_damaged(tmp_path, gray):
    content = bytearray(encoded(Image.fromarray(gray), "PNG"))
    content[len(content) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    assert refusal(tmp_path / "a.png").reason == "damaged"


def test_bytes_after_the_end_do_not_matter(tmp_path, gray):
    for form in ("JPEG", "PNG"):
        (tmp_path / "a").write_bytes(encoded(Image.fromarray(gray), form) + b"appended" * 99)
        assert read_radiograph(tmp_path / "a").pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_damage_ends_in_an_error_of_ours_or_in_pixels(tmp_path, gray, form):
    content = encoded(Image.fromarray(gray), form)
    random = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(150):
            damaged = bytearray(content)
            for at in random.integers(3, len(content), 4):
                damaged[at] = random.integers(256)
            (tmp_path / "a").write_bytes(damaged)
            try:
                pixels = read_radiograph(tmp_path / "a", limits=Limits(pixels=10**6)).pixels
            except RadiographError:
                continue
            assert np.isfinite(pixels).all()


def bomb(form: str, side: int) -> bytes:
    """A header that announces side × side pixels, with next to nothing behind it."""
    content = encoded(Image.new("L", (16, 16)), form)
    if form == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        return content[:at] + struct.pack(">HH", side, side) + content[at + 4 :]
    if form == "PNG":
        head = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
        return content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:]
    for tag in (256, 257):
        told = struct.pack("<HHII", tag, 4, 1, 16)
        assert told in content
        content = content.replace(told, struct.pack("<HHII", tag, 4, 1, side))
    return content


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("side", [10_001, 30_000, 65_535])
def test_huge_image_is_refused_before_it_is_decoded(tmp_path, form, side):
    (tmp_path / "a").write_bytes(bomb(form, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = refusal(tmp_path / "a")
    assert error.reason == "too_large"
    assert f"{side:,}×{side:,}" in str(error) or f"{side * side:,} pixels" in str(error)


def test_limits_are_the_callers(tmp_path, gray):
    Image.fromarray(gray).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png", limits=Limits(pixels=100)).reason == "too_large"
    assert refusal(tmp_path / "a.png", limits=Limits(file_bytes=100)).reason == "too_large"


def test_pillows_own_limit_does_not_leak(tmp_path, gray, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for form in ("JPEG", "PNG"):
        Image.fromarray(gray).save(tmp_path / "a", form)
        assert read_radiograph(tmp_path / "a").pixels.shape == (ROWS, COLUMNS)
    Image.fromarray(gray).save(tmp_path / "a", "TIFF")
    assert refusal(tmp_path / "a").reason == "too_large"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"image_id,fractured\n", "not_an_image"),
        (bytes(5000), "not_an_image"),
        (b"\x01\x02\x03" * 999, "not_an_image"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (b"\xff\xd8\xff" + b"rubbish" * 99, "damaged"),
        (b"%PDF-1.7 ...", "unsupported"),
        (b"GIF89a.....", "unsupported"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "unsupported"),
        (b"a.jpg".ljust(257, b"\0") + b"ustar", "unsupported"),
        (b"7z\xbc\xaf\x27\x1c", "unsupported"),
        (b"BZh91AY&SY", "unsupported"),
        (b"\xfd7zXZ\0\0\x04", "unsupported"),
        (b"\x28\xb5\x2f\xfd\x24", "unsupported"),
        (b"Rar!\x1a\x07\x01\0", "unsupported"),
    ],
)
def test_what_is_no_radiograph_has_its_own_reason(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    assert refusal(tmp_path / "a.jpg").reason == reason


@pytest.mark.parametrize(
    "piece",
    [b"\0", b"\xff", b"\xff\0", b"\xff\xd8", b"\xff\xe1\0\2", b"\xff\xc4\xff\xff" + bytes(65533)],
)
def test_jpeg_without_an_image_is_refused_at_once(piece):
    """Pillow would look for one byte by byte, at 16 million of them for ten seconds or more."""
    data, started = b"\xff\xd8\xff\xe0\0\2" + piece * (2**24 // len(piece)), time.monotonic()
    with pytest.raises(
        RadiographError, match=r"film\.jpg: a JPEG file without an image"
    ) as refused:
        decode_radiographs(data, "film.jpg")
    assert refused.value.reason == "damaged"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("junk", [b"\xff", b"\0", b"\xff\0", b"\xff\xfe\xff\xff" + bytes(65533)])
def test_jpeg_with_junk_between_its_segments_is_read(tmp_path, gray, junk):
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG")
    plain, longer = tmp_path / "plain.jpg", tmp_path / "longer.jpg"
    plain.write_bytes(file.getvalue())
    parts = re.split(rb"(?=\xff[\xdb\xc0\xc4])", file.getvalue())
    longer.write_bytes((junk * max(1, 5000 // len(junk))).join(parts))
    assert len(parts) > 3
    assert np.array_equal(read_radiograph(longer).levels, read_radiograph(plain).levels)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_progressive_jpeg_is_not_decoded_more_than_twice(tmp_path, gray, monkeypatch, mode):
    Image.fromarray(gray).convert(mode).save(tmp_path / "a.jpg", progressive=True)
    with Image.open(tmp_path / "a.jpg") as plain:
        expected = np.asarray(plain.convert("RGB").convert("L"), int)
    decoded, prepare = [], JpegImageFile.load_prepare
    monkeypatch.setattr(
        JpegImageFile, "load_prepare", lambda self: decoded.append(0) or prepare(self)
    )
    radiograph = read_radiograph(tmp_path / "a.jpg")
    assert len(decoded) == 2
    assert radiograph.mode == mode
    assert np.abs(radiograph.levels - expected).max() <= 2


@pytest.mark.parametrize(("frame_header", "coding"), [(0xC3, "lossless"), (0xC9, "arithmetic")])
def test_jpeg_of_a_coding_that_is_not_decoded_says_so(tmp_path, gray, frame_header, coding):
    Image.fromarray(gray).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content.replace(b"\xff\xc0", bytes((0xFF, frame_header)), 1))
    refused = refusal(tmp_path / "a.jpg")
    assert refused.reason == "unsupported"
    assert f"a JPEG of {coding} coding" in str(refused)


@pytest.mark.parametrize("frame_header", [0xC1, 0xC3])
def test_jpeg_of_more_than_8_bits_says_so(tmp_path, gray, frame_header):
    Image.fromarray(gray).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    deep = content.replace(b"\xff\xc0\0\x0b\x08", bytes((0xFF, frame_header)) + b"\0\x0b\x0c", 1)
    (tmp_path / "a.jpg").write_bytes(deep)
    refused = refusal(tmp_path / "a.jpg")
    assert refused.reason == "unsupported"
    assert "more than 8 bits" in str(refused)


def test_tiff_of_numbers_that_are_not_read_says_so(tmp_path):
    """64-bit floats, which Pillow does not write either."""
    values = np.linspace(0, 1, 64 * 64).astype("<f8").tobytes()
    tags = {256: 64, 257: 64, 258: 64, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 339: 3}
    tags[279] = len(values)
    entries = [struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    header = b"II*\0" + struct.pack("<I", 8 + len(values))
    (tmp_path / "a.tif").write_bytes(header + values + directory)
    refused = refusal(tmp_path / "a.tif")
    assert refused.reason == "unsupported"
    assert "save gray of 8 or 16 bits" in str(refused)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_pages_of_a_tiff_are_frames(tmp_path, gray, compression):
    pages = [gray, gray[::-1], np.ascontiguousarray(gray.T)]
    first, *rest = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression=compression)
    frames = read_radiographs(tmp_path / "a.tif")
    assert frames.count == 3
    for number, (radiograph, page) in enumerate(zip(frames, pages, strict=True), 1):
        assert (radiograph.frame, radiograph.stored_size) == (number, page.shape)
        assert np.abs(radiograph.pixels * 255 - page).mean() < (
            9 if compression == "jpeg" else 0.01
        )


def test_one_radiograph_is_not_taken_from_several_pages(tmp_path, gray):
    image = Image.fromarray(gray)
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image, image])
    error = refusal(tmp_path / "a.tif")
    assert error.reason == "several_frames"
    assert "3 frames" in str(error)


def test_thumbnail_in_a_tiff_is_no_page(tmp_path, gray):
    image, small = Image.fromarray(gray), Image.fromarray(gray[::4, ::4])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    image.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    radiograph = read_radiograph(tmp_path / "a.tif")
    assert radiograph.pixels.shape == gray.shape
    assert radiograph.frame is None


def test_damaged_page_is_an_error_of_its_own(tmp_path, gray):
    image = Image.fromarray(gray)
    image.save(
        tmp_path / "a.tif", save_all=True, append_images=[image, image], compression="tiff_lzw"
    )
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as stack:
        stack.seek(1)
        (start,), (count,) = stack.tag_v2[273], stack.tag_v2[279]
    content[start : start + count] = b"\xff" * count
    results = list(decode_radiographs(bytes(content), "a.tif").results())
    assert [isinstance(one, Radiograph) for one in results] == [True, False, True]
    assert results[1].frame == 2
    assert "page 2 of 3" in str(results[1])


@pytest.mark.parametrize("limits", [Limits(frames=2), Limits(frame_pixels=3 * ROWS * COLUMNS - 1)])
def test_too_many_pages_are_refused(tmp_path, gray, limits):
    image = Image.fromarray(gray)
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image, image])
    assert refusal(tmp_path / "a.tif", limits=limits).reason == "too_large"


def test_animation_is_no_radiograph(tmp_path, gray):
    image = Image.fromarray(gray)
    image.save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(gray[::-1])])
    assert refusal(tmp_path / "a.png").reason == "unsupported"


def test_missing_folder_pipe_and_device(tmp_path):
    assert refusal(tmp_path / "absent.jpg").reason == "missing"
    assert refusal(tmp_path / "absent" / "a.jpg").reason == "missing"
    assert refusal(tmp_path).reason == "not_a_file"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg").reason == "not_a_file"
    assert refusal(Path("/dev/zero")).reason == "not_a_file"
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing")
    assert refusal(tmp_path / "broken.jpg").reason == "missing"


def test_small_file_takes_no_room_of_the_largest(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x" * 1000)
    tracemalloc.start()
    assert read_file(tmp_path / "a.jpg", 512 * 2**20) == b"x" * 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_unreadable_file(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"x")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert refusal(tmp_path / "a.jpg").reason == "no_permission"


def test_name_with_a_line_break_stays_on_one_line(tmp_path):
    (tmp_path / "a\nb\udcff.jpg").write_bytes(b"text")
    with pytest.raises(RadiographError) as caught:
        read_radiograph(tmp_path / "a\nb\udcff.jpg")
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


def test_threads_do_not_disturb_each_other_nor_the_warning_filters(tmp_path, gray):
    Image.fromarray(gray).save(tmp_path / "a.tif")
    before, results = list(warnings.filters), []

    def work():
        results.extend(read_radiograph(tmp_path / "a.tif").pixels.sum() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    assert len(set(results)) == 1
    assert warnings.filters == before


def test_arrays_become_radiographs(gray):
    expected = gray.astype(np.float32) / 255
    for array in (
        gray,
        gray.astype(np.uint16) * 257,
        expected.astype(np.float64),
        expected[:, ::1],
    ):
        radiograph = radiograph_from_array(array)
        assert np.allclose(radiograph.pixels, expected, atol=1e-6)
        assert (radiograph.format, radiograph.stored_size) == ("array", (ROWS, COLUMNS))
    big = radiograph_from_array((gray.astype(np.uint16) * 257).astype(">u2"))
    assert np.allclose(big.pixels, expected, atol=1e-6)
    color = radiograph_from_array(np.stack([gray] * 3, axis=-1))
    assert np.allclose(color.pixels, expected, atol=1e-5)
    assert color.mode == "RGB"


def test_array_is_not_shared_with_its_radiograph(gray):
    array = gray.astype(np.float32) / 255
    radiograph = radiograph_from_array(array)
    array[:] = 0
    assert radiograph.pixels.max() > 0


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(5), "shape"),
        (np.zeros((2, 3, 4, 5)), "shape"),
        (np.zeros((9, 9, 2)), "shape"),
        (np.zeros((0, 9)), "without pixels"),
        (np.full((9, 9), np.nan), "NaN"),
        (np.full((9, 9), 255.0), "scale them to 0…1"),
        (np.full((9, 9), -0.5), "scale them to 0…1"),
        (np.ma.masked_less(np.eye(9), 1), "masked"),
        (np.zeros((9, 9), np.int64), "int64"),
        (np.zeros((9, 9), bool), "bool"),
        (np.zeros((9, 9), complex), "complex"),
        (np.array([["a", "b"]]), "give uint8"),
        (np.array([[None]]), "object"),
    ],
)
def test_arrays_that_cannot_be_radiographs(array, says):
    with pytest.raises(RadiographError, match=says) as caught:
        radiograph_from_array(array)
    assert caught.value.reason == "bad_array"


def tiff(
    pixels: np.ndarray, *, planes: int = 1, sample_format: int = 1, deflated: bool = False
) -> bytes:
    """A TIFF as its definition has it, in the pixels' own byte order.

    pixels: [rows, columns] or [rows, columns, 3].
    """
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    rows, columns, *samples = pixels.shape
    count, bits = (samples or [1])[0], 8 * pixels.itemsize
    strips = [pixels] if planes == 1 else [pixels[..., i] for i in range(count)]
    data = [np.ascontiguousarray(strip).tobytes() for strip in strips]
    data = [zlib.compress(strip) for strip in data] if deflated else data
    tags = {
        256: columns,
        257: rows,
        258: [bits] * count,
        259: 8 if deflated else 1,
        262: 2 if count > 1 else 1,
    }
    tags |= {273: [8 + sum(map(len, data[:i])) for i in range(len(data))], 277: count, 278: rows}
    tags |= {279: [len(part) for part in data], 284: planes, 339: [sample_format] * count}
    body = b"".join(data)
    entries, extra, end = b"", b"", 8 + len(body)
    for tag, value in tags.items():
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", end + len(extra)), extra + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    at = end + len(extra)
    table = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    head = b"MM\0*" if order == ">" else b"II*\0"
    return head + struct.pack(f"{order}I", at) + body + extra + table


def test_deep_colours_in_planes_of_their_own_are_refused_not_torn(tmp_path):
    gray = np.linspace(0, 65535, 64 * 48).astype("<u2").reshape(48, 64)
    path, pixels = tmp_path / "a.tif", np.stack([gray] * 3, axis=-1)
    path.write_bytes(tiff(pixels))
    np.testing.assert_allclose(read_radiograph(path).pixels, gray / 65535, atol=1 / 200)
    path.write_bytes(tiff(pixels, planes=2))
    assert refusal(path).reason == "unsupported"
    path.write_bytes(tiff((pixels >> 8).astype(np.uint8), planes=2))
    np.testing.assert_allclose(read_radiograph(path).pixels, gray / 65535, atol=1 / 200)


@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "f4"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflated", [False, True])
def test_deep_numbers_in_either_order_are_shown_or_refused(tmp_path, kind, order, deflated):
    most = 1 if kind == "f4" else np.iinfo(kind).max
    ramp = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    path, sample_format = tmp_path / "a.tif", {"u": 1, "i": 2, "f": 3}[kind[0]]
    pixels = (ramp * most).astype(order + kind)
    path.write_bytes(tiff(pixels, sample_format=sample_format, deflated=deflated))
    if deflated and order == ">" and kind != "u2":
        assert refusal(path).reason == "unsupported"
    else:
        np.testing.assert_allclose(read_radiograph(path).pixels, ramp, atol=1 / 100)


@pytest.mark.parametrize("kind", ["<i1", "<i2", "<i4"])
def test_signed_numbers_are_shown_over_the_range_that_they_have(tmp_path, kind):
    most = np.iinfo(kind).max
    ramp = np.linspace(0, 1, 64 * 48).reshape(48, 64)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.round(ramp * most).astype(kind), sample_format=2))
    np.testing.assert_allclose(read_radiograph(path).pixels, ramp, atol=1 / 100)
    # With negative ones there is no telling where black is: as between percentiles.
    path.write_bytes(tiff(np.round((2 * ramp - 1) * most).astype(kind), sample_format=2))
    np.testing.assert_allclose(read_radiograph(path).pixels, ramp, atol=1 / 50)
