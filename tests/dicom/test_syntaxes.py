"""The same radiograph in every transfer syntax: whatever is lossless changes nothing."""

import base64
import io
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmwrite
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import compress
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom.helpers import (
    by_dcmtk,
    by_gdcm,
    compressed,
    content_of,
    dicom,
    encapsulated,
    of_16_bits,
    told_as,
)
from kirik.radiograph import read_radiograph

# `stored`, written by OpenJPH; nothing that kirik installs writes HTJ2K.
HTJ2K_STREAM = base64.b85decode(
    "|4;u>04YEK0000e0000U00000000000000e0000U0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY8"
    "6Cj9?kdTm&kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000ZU6!QlfVEf0B`?8%K<_(0Kfne"
    "fbjr_bO68r6994i0D^P?zyK9Mjyrbj_}AhKbpXHs7J$IOz`(%3z`*b7dU|n!cmTivEwDzT(P%UpjYgx<Xfzu9e}F<d"
    "dU|?#dT|1N0RPz"
)
BY_GDCM = ["RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"]
UNSIGNED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


@pytest.fixture
def noisy(stored) -> np.ndarray:
    """Like `stored`, with noise, so that a predictor has something to predict wrongly."""
    noise = np.random.default_rng(0).integers(-60, 60, stored.shape)
    return (stored + noise).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_lossless_compression_changes_nothing(read, stored, syntax):
    plain = read(dicom(stored)).pixels
    assert np.array_equal(read(compressed(stored, syntax)).pixels, plain)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_plain_encodings(read, stored, syntax):
    plain = read(dicom(stored)).pixels
    dataset = dicom(stored.byteswap() if syntax == ExplicitVRBigEndian else stored)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW"
    assert np.array_equal(read(dataset).pixels, plain)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble(read, stored, implicit):
    buffer, dataset = io.BytesIO(), dicom(stored)
    plain = read(dataset).pixels
    dataset["PixelData"].VR = "OW"
    meta = dataset.file_meta
    del dataset.file_meta
    dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True)
    assert np.array_equal(read(buffer.getvalue()).pixels, plain)
    dataset.file_meta = meta
    assert np.array_equal(read(content_of(dataset)[128 + 4 :]).pixels, plain)


def test_htj2k(read, stored):
    dataset = encapsulated(stored, HTJ2KLossless, HTJ2K_STREAM)
    assert np.array_equal(read(dataset).pixels, read(dicom(stored)).pixels)


@pytest.mark.parametrize("syntax", [JPEGLSNearLossless, JPEG2000])
def test_lossy_compression_changes_little(read, noisy, syntax):
    noisy = np.tile(noisy, (3, 2))  # OpenJPEG writes none smaller than 64 pixels
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    dataset = dicom(noisy, **window)
    options = {"jls_error": 2} if syntax == JPEGLSNearLossless else {"j2k_psnr": [70]}
    compress(dataset, syntax, **options)
    assert np.abs(read(dataset).pixels - read(dicom(noisy, **window)).pixels).max() < 0.01


@pytest.mark.parametrize("syntax", UNSIGNED)
def test_signed_values_survive_lossless_compression(read, stored, syntax):
    signed = np.tile(stored, (3, 2)).astype(np.int16) - 2048
    window = {"WindowCenter": 0, "WindowWidth": 3000}
    dataset = dicom(signed, **window)
    if syntax == JPEGLSLossless:
        dataset.PixelData = (signed & 0xFFF).astype(np.uint16).tobytes()
        dataset.PixelRepresentation = 0
    compress(dataset, syntax)
    dataset.PixelRepresentation = 1
    assert np.array_equal(read(dataset).pixels, read(dicom(signed, **window)).pixels)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("selection", range(1, 8))
def test_jpeg_lossless(read, tmp_path, noisy, bits, selection):
    pytest.importorskip("gdcm")
    pixels = noisy >> 12 - bits if bits < 16 else noisy << 4
    if bits == 8:
        pixels = pixels.astype(np.uint8)
    dataset = dicom(pixels, bits=bits)
    how = ["+e1"] if selection == 1 else ["+el", "+sv", str(selection)]
    content = by_dcmtk(dataset, tmp_path, "dcmcjpeg", *how)
    assert np.array_equal(read(content).pixels, read(dataset).pixels)


@pytest.mark.parametrize(
    ("syntax", "room"),
    [
        ("JPEGLosslessProcess14", 0),
        ("JPEGLosslessProcess14_1", 0),
        ("JPEGExtendedProcess2_4", 0.02),  # whose stream tells 16 bits, which no such JPEG has
        ("JPEG2000Lossless", 0),
        ("JPEGLSLossless", 0),
        ("RLELossless", 0),
    ],
)
def test_what_gdcm_writes(read, tmp_path, noisy, syntax, room):
    dataset = dicom(noisy, WindowCenter=2048, WindowWidth=4096)
    content = by_gdcm(dataset, tmp_path, syntax)
    assert np.abs(read(content).pixels - read(dataset).pixels).max() <= room


def test_jpeg_lossless_of_signed_values(read, tmp_path, noisy):
    pytest.importorskip("gdcm")
    signed = noisy.astype(np.int16) - 2048
    dataset = dicom(signed, WindowCenter=0, WindowWidth=3000)
    content = by_dcmtk(dataset, tmp_path, "dcmcjpeg", "+e1")
    assert np.array_equal(read(content).pixels, read(dataset).pixels)


def test_jpeg_lossless_of_colours(read, tmp_path, noisy):
    pytest.importorskip("gdcm")
    rgb = np.stack([noisy >> 4, noisy >> 5, noisy >> 6], axis=-1).astype(np.uint8)
    dataset = dicom(rgb, bits=8)
    content = by_dcmtk(dataset, tmp_path, "dcmcjpeg", "+e1")
    assert np.array_equal(read(content).pixels, read(dataset).pixels)


@pytest.mark.parametrize("how", ["+ee", "+ep", "+es"])
def test_jpeg_of_12_bits(read, tmp_path, noisy, how):
    pytest.importorskip("gdcm")
    dataset = dicom(noisy, WindowCenter=2048, WindowWidth=4096)
    content = by_dcmtk(dataset, tmp_path, "dcmcjpeg", how, "+bt", "+q", "98")
    assert np.abs(read(content).pixels - read(dataset).pixels).max() < 0.02


def test_jpeg_lossless_without_gdcm_says_what_to_install(refusal, tmp_path, noisy, monkeypatch):
    content = by_dcmtk(dicom(noisy), tmp_path, "dcmcjpeg", "+e1")
    monkeypatch.setitem(sys.modules, "gdcm", None)
    error = refusal(content)
    assert error.reason == "unsupported"
    assert "python-gdcm" in str(error)


@pytest.mark.parametrize("tool", ["+tb", "+td", "+ti"])
def test_plain_encodings_of_dcmtk(read, tmp_path, noisy, tool):
    dataset = dicom(noisy, VOILUTFunction="LINEAR", WindowCenter=2000, WindowWidth=1000)
    content = by_dcmtk(dataset, tmp_path, "dcmconv", tool)
    assert np.array_equal(read(content).pixels, read(dataset).pixels)


def test_deflated(read, noisy):
    dataset = dicom(noisy)
    plain = read(dataset).pixels
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert np.array_equal(read(dataset).pixels, plain)


def jpeg(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_in_dicom_is_the_jpeg_file(read, tmp_path, noisy, syntax, progressive):
    gray, stream = (noisy >> 4).astype(np.uint8), tmp_path / "a.jpg"
    stream.write_bytes(jpeg(gray, progressive=progressive))
    for frame in (stream.read_bytes(), stream.read_bytes()[:-2]):  # some lack their end marker
        dataset = encapsulated(gray, syntax, frame, bits=8)
        assert np.array_equal(read(dataset).pixels, read_radiograph(stream).pixels)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_in_dicom_that_is_cut_before_its_end_marker(refusal, noisy, share, progressive):
    gray = np.tile((noisy >> 4).astype(np.uint8), (3, 3))
    stream = jpeg(gray, progressive=progressive)
    cut = stream[: int(len(stream) * share)] + b"\xff\xd9"
    assert refusal(encapsulated(gray, JPEGBaseline8Bit, cut, bits=8)).reason == "truncated"


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize("marked", [True, False])
def test_gray_jpeg_in_colours_keeps_its_brightness(read, noisy, photometric, marked):
    """Many writers say RGB of a JPEG whose own marker says, and whose pixels are, YCbCr."""
    gray = np.stack([(noisy >> 4).astype(np.uint8)] * 3, axis=-1)
    stream = jpeg(gray)
    if not marked and photometric == "RGB":
        # Three planes as they are: what a writer without markers means by RGB.
        stream = jpeg(gray, keep_rgb=True)
    dataset = encapsulated(gray, JPEGBaseline8Bit, stream, bits=8)
    dataset.PhotometricInterpretation = photometric
    assert np.abs(read(dataset).pixels - gray[..., 0] / 255).mean() < 0.01


def test_unmarked_rgb_jpeg_is_rgb(read, noisy):
    gray = np.stack([(noisy >> 4).astype(np.uint8)] * 3, axis=-1)
    image, buffer = Image.fromarray(gray), io.BytesIO()
    planes = Image.merge("YCbCr", image.split())
    planes.save(buffer, "JPEG", quality=95, subsampling=0)
    stream = buffer.getvalue()
    at = stream.index(b"\xff\xe0")  # the JFIF segment
    stream = stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") :]
    dataset = encapsulated(gray, JPEGBaseline8Bit, stream, bits=8)
    assert np.abs(read(dataset).pixels - gray[..., 0] / 255).mean() < 0.01


@pytest.mark.parametrize(
    ("syntax", "end"),
    [
        (JPEG2000Lossless, b"\xff\xd9" + bytes(200)),
        (JPEGLSLossless, b"\xff\xd9" + bytes(200)),
        (JPEGLSLossless, b"\0\xff\xd9"),
    ],
)
def test_zeros_that_fill_up_a_stream_at_its_end(read, noisy, syntax, end):
    dataset = compressed(noisy, syntax)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    before = read(dataset).pixels
    dataset.PixelData = encapsulate([stream[: stream.rindex(b"\xff\xd9")] + end])
    assert np.array_equal(read(dataset).pixels, before)


def test_jpeg_2000_in_boxes(read, noisy):
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG2000", no_jp2=False)
    dataset = encapsulated(noisy, JPEG2000Lossless, buffer.getvalue())
    assert np.array_equal(read(dataset).pixels, read(dicom(noisy)).pixels)


def test_precision_of_the_stream_may_exceed_the_bits_stored(read, noisy):
    """As dcmcjpeg and Pillow write: 12 bits in a stream of 16."""
    dataset = compressed(noisy, JPEG2000Lossless)
    dataset.BitsStored, dataset.HighBit = 12, 11
    assert np.array_equal(read(dataset).pixels, read(dicom(noisy)).pixels)


@pytest.mark.parametrize("syntax", BY_GDCM)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [13, 15])
def test_high_bit_above_the_number_of_those_stored(read, tmp_path, noisy, syntax, signed, high):
    pixels = noisy.astype(np.int16) - 2048 if signed else noisy
    tags = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    told = tags | {"BitsStored": 12, "HighBit": high}
    dataset = of_16_bits(pixels << (high - 11), tmp_path, syntax, **told)
    assert np.array_equal(read(dataset).pixels, read(dicom(pixels, **tags)).pixels)


def test_high_bit_to_which_a_streams_precision_does_not_reach(read, noisy):
    dataset = dicom(noisy)
    compress(dataset, JPEGLSLossless)
    dataset.HighBit = 15
    assert np.array_equal(read(dataset).pixels, read(dicom(noisy)).pixels)


def test_high_bit_of_a_lossy_stream(read, stored):
    stored[:, -10:] = 4095
    dataset = compressed(stored << 2, JPEG2000Lossless)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    window = {"HighBit": 13, "WindowCenter": 2048, "WindowWidth": 4096}
    lossy = encapsulated(stored, JPEG2000, frame, **window)
    assert np.array_equal(read(lossy).pixels, read(dicom(stored << 2, **window)).pixels)


def test_overshoot_of_a_lossy_codec_stays_white(read, stored):
    stored[:, -10:] = 4100
    dataset = compressed(stored, JPEG2000Lossless)
    dataset.file_meta.TransferSyntaxUID = JPEG2000
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    assert (read(dataset).pixels[:, -10:] == 1).all()


def test_several_fragments_of_one_frame(read, noisy):
    dataset = dicom(noisy)
    compress(dataset, JPEGLSLossless)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    plain = read(dataset).pixels
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3)
    assert np.array_equal(read(dataset).pixels, plain)


def test_plain_pixels_that_say_they_are_compressed(read, noisy):
    content = content_of(dicom(noisy))
    lying = told_as(content, ExplicitVRLittleEndian, JPEGLosslessSV1)
    assert np.array_equal(read(lying).pixels, read(content).pixels)


def test_plain_encoding_that_is_another_than_told(read, noisy):
    dataset = dicom(noisy)
    plain = read(dataset).pixels
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    lying = told_as(content_of(dataset), ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    assert np.array_equal(read(lying).pixels, plain)


@pytest.mark.parametrize("rows", [29, 31])
def test_odd_number_of_bytes(read, rows):
    gray = np.tile(np.linspace(0, 255, 33).astype(np.uint8), (rows, 1))
    dataset = dicom(gray, bits=8, WindowCenter=128, WindowWidth=256)
    dataset.PixelData = gray.tobytes()  # odd; the writer pads it
    assert np.allclose(read(dataset).pixels, gray / 255, atol=1e-6)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_RCT", "YBR_FULL"])
def test_jpeg_2000_with_its_own_colour_transform_is_rgb(read, noisy, photometric):
    rgb = np.stack([noisy >> 4, noisy >> 5, noisy >> 6], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG2000", no_jp2=True, mct=1)
    dataset = encapsulated(rgb, JPEG2000Lossless, buffer.getvalue(), bits=8)
    dataset.PhotometricInterpretation = photometric
    assert np.array_equal(read(dataset).pixels, read(dicom(rgb, bits=8)).pixels)


@pytest.mark.parametrize("told", [b"Monochrome1 ", b" MONOCHROME1", b"MONOCHROME1\0"])
def test_photometric_interpretation_in_other_letters(read, noisy, told):
    dataset = dicom(noisy, PhotometricInterpretation="MONOCHROME1")
    content = content_of(dataset)
    assert content.count(b"MONOCHROME1 ") == 1
    radiograph = read(content.replace(b"MONOCHROME1 ", told))
    assert np.array_equal(radiograph.pixels, read(content).pixels)
    assert radiograph.mode == "MONOCHROME1"
