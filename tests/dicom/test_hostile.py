"""Lying, endless, cut and inflated files: an error of ours, in little memory, and no patient."""

import logging
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom.helpers import (
    COLUMNS,
    ROWS,
    SECRET,
    by_dcmtk,
    compressed,
    content_of,
    dicom,
    encapsulated,
    in_letters,
    told_as,
)
from kirik.errors import RadiographError
from kirik.radiograph import Limits


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_stream_larger_than_its_tags_is_refused(refusal, stored, syntax):
    dataset = compressed(stored, syntax)
    dataset.Rows = dataset.Columns = 2
    assert refusal(dataset, limits=Limits(pixels=ROWS * COLUMNS - 1)).reason == "too_large"


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_truncated_anywhere_is_never_a_radiograph(refusal, read, stored, syntax):
    content = content_of(compressed(stored, syntax) if syntax else dicom(stored))
    whole = len(content) - (8 if syntax else 0)  # a sequence's end mark holds no pixels
    assert read(content).pixels.shape == (ROWS, COLUMNS)
    for cut in {132, 140, *range(150, whole, 61), *range(whole - 6, whole)}:
        reason = refusal(content[:cut]).reason
        assert reason in ("truncated", "damaged"), cut


def test_damage_ends_in_an_error_of_ours_or_in_pixels(read, stored):
    content = content_of(dicom(stored, WindowCenter=2000, WindowWidth=1000))
    head, random = content.index(stored.tobytes()), np.random.default_rng(2)
    for _ in range(150):
        damaged = bytearray(content)
        for at in random.integers(132, head, 3):
            damaged[at] = random.integers(256)
        try:
            pixels = read(bytes(damaged), limits=Limits(pixels=10**6)).pixels
        except RadiographError as error:
            message = str(error)
            assert "Yilmaz" not in message
            continue
        assert np.isfinite(pixels).all()


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored"]
)
@pytest.mark.parametrize(("vr", "text"), [("LO", SECRET), ("DS", "1e20")])
def test_text_in_the_place_of_a_number_is_not_repeated(refusal, stored, keyword, vr, text):
    dataset = dicom(stored)
    dataset["PixelData"].VR = "OW"  # else pydicom would tell it by the number, which is none
    in_letters(dataset, keyword, vr, text)
    error = refusal(dataset)
    assert error.reason == "damaged"
    assert f"without {keyword}" in str(error)


def test_nothing_of_a_patient_reaches_the_log(read, refusal, stored, caplog):
    content = content_of(dicom(stored, StudyDate="20240101"))
    with caplog.at_level(logging.WARNING):
        read(content.replace(b"20240101", b"Yilmaz!!"))
        refusal(content[:-99])
    assert caplog.text == ""


def deflated(stored: np.ndarray, body: bytes) -> bytes:
    """A file that says it is deflated, with this behind its header."""
    dataset = dicom(stored)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = content_of(dataset)
    length = struct.unpack_from("<I", content, 140)[0]
    return content[: 144 + length] + body


def zeros(mebibytes: int) -> bytes:
    """A deflate stream of so many zeros: a thousandth of their size."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + deflate.flush()


def test_deflated_file_cannot_take_the_memory(refusal, stored):
    content = deflated(stored, zeros(4096))
    assert len(content) < 5 * 2**20
    tracemalloc.start()
    error = refusal(content, limits=Limits(file_bytes=16 * 2**20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.reason == "too_large"
    assert "16 MiB" in str(error)
    assert peak < 80 * 2**20


def test_deflated_rubbish(refusal, stored):
    assert refusal(deflated(stored, b"\xff" * 1000)).reason == "damaged"
    assert refusal(deflated(stored, b"")).reason in ("truncated", "damaged")


def test_deflated_file_truncated_anywhere(refusal, stored):
    dataset = dicom(stored)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = content_of(dataset)
    for cut in {140, 200, *range(300, len(content) - 3, 37)}:
        assert refusal(content[:cut]).reason in ("truncated", "damaged"), cut


ITEM, END = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\0\0\0\0"
SEQUENCE = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"


@pytest.mark.parametrize("hostile", ["empty items", "nested", "endless", "elements"])
def test_endless_sequences_end(refusal, stored, hostile):
    content = content_of(dicom(stored))
    at = content.index(b"\x08\x00\x60\x00CS")
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0"
    inserted = {
        "empty items": SEQUENCE + (ITEM + closed) * 400_000 + END,
        "nested": (SEQUENCE + ITEM) * 50_000,
        "endless": SEQUENCE + ITEM,
        "elements": b"\x08\x00\x50\x00SH\0\0" * 900_000,
    }[hostile]
    error = refusal(content[:at] + inserted + content[at:])
    assert error.reason in ("damaged", "truncated")


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "SamplesPerPixel"])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_tags_and_stream_must_agree(refusal, stored, syntax, keyword):
    dataset = compressed(stored, syntax)
    if keyword == "SamplesPerPixel":
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    else:
        setattr(dataset, keyword, 20)
    error = refusal(dataset)
    assert error.reason == "damaged"
    assert "differ in size" in str(error)  # told by the headers, not by the codec


@pytest.mark.parametrize("precision", [0, 1, 12, 16, 17, 38, 255])
def test_stream_of_more_bits_than_its_container(refusal, precision):
    dataset = encapsulated(
        np.zeros((ROWS, COLUMNS), np.uint8), JPEGLSLossless, jls(precision), bits=8
    )
    assert refusal(dataset).reason in ("damaged", "unsupported")


def jls(precision: int) -> bytes:
    body = struct.pack(">BHHB", precision, ROWS, COLUMNS, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xf7\0\x0b" + body + bytes(50) + b"\xff\xd9"


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff\xfe\0\2" * 30_000 + b"\xff\xd9",
        b"\xff\xd8" + b"\xff" * 1000 + b"\xff\xd9",
        b"\xff\xd8\xff\xc0\0\2\xff\xd9",
        b"\xff\x4f\xff\x51\xff\xd9",
        b"\0\0\0\x0cjP  rubbish\xff\xd9",
        b"GIF89a",
    ],
)
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless])
def test_rubbish_in_the_place_of_a_stream(refusal, stored, syntax, frame):
    assert refusal(encapsulated(stored, syntax, frame)).reason in ("damaged", "truncated")


@pytest.mark.parametrize(
    ("syntax", "other"), [(JPEG2000Lossless, JPEGLSLossless), (RLELossless, JPEG2000Lossless)]
)
def test_stream_of_another_syntax(refusal, stored, syntax, other):
    content = content_of(compressed(stored, syntax))
    assert refusal(told_as(content, syntax, other)).reason == "damaged"


def test_fragments_without_end(refusal, stored):
    dataset = encapsulated(stored, JPEGLSLossless, b"\0\0")
    dataset.PixelData = b"\xfe\xff\0\xe0\0\0\0\0" * 200_000
    assert refusal(dataset).reason == "damaged"


def test_truncated_jpeg_lossless_is_never_a_radiograph(refusal, tmp_path, stored):
    content = by_dcmtk(dicom(stored), tmp_path, "dcmcjpeg", "+e1")
    for cut in range(400, len(content) - 12, 41):
        assert refusal(content[:cut]).reason in ("truncated", "damaged"), cut


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_damage_anywhere_names_no_patient(opened, stored, syntax):
    content = content_of(compressed(stored, syntax))
    end = content.index(b"\xe0\x7f\x10\x00")
    random, errors = np.random.default_rng(3), []
    for _ in range(80):
        damaged = bytearray(content)
        for at in random.integers(132, end, 3):
            damaged[at] = random.integers(256)
        try:
            frames = opened(bytes(damaged), limits=Limits(pixels=10**6))
            assert np.isfinite(next(frames).pixels).all()
        except RadiographError as error:
            errors.append(error)
    assert errors
    assert SECRET not in "".join(map(str, errors))
    assert not any(error.__cause__ for error in errors)


def test_lossless_jpeg_of_another_size_never_reaches_the_codec(refusal, tmp_path, stored):
    content = bytearray(by_dcmtk(dicom(stored), tmp_path, "dcmcjpeg", "+e1"))
    at = content.index(b"\xff\xc3") + 5
    content[at : at + 4] = struct.pack(">HH", 9000, 9000)
    assert refusal(bytes(content)).reason == "damaged"
    assert JPEGLosslessSV1.encode() in content


@pytest.mark.parametrize("version", [b"\x01\x02", b"\x87\x01"])
def test_jfif_of_any_version_does_not_end_the_process(read, tmp_path, stored, version):
    content = by_dcmtk(dicom(stored), tmp_path, "dcmcjpeg", "+e1")
    assert content.count(b"JFIF\0\x01\x01") == 1
    changed = content.replace(b"JFIF\0\x01\x01", b"JFIF\0" + version)
    assert np.array_equal(read(changed).pixels, read(content).pixels)


def test_bytes_between_segments_never_reach_the_codec(refusal, tmp_path, stored):
    content = by_dcmtk(dicom(stored), tmp_path, "dcmcjpeg", "+e1")
    assert refusal(content.replace(b"\xff\xc4\0", b"\x20\xc4\0", 1)).reason == "damaged"
