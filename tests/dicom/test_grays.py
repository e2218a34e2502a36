"""Stored values into grays: windows, look-up tables, signs, padding, colours."""

import io
import shutil
import subprocess
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from pydicom import DataElement, Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from dicom.helpers import (
    COLUMNS,
    ROWS,
    SECONDARY,
    compressed,
    content_of,
    dicom,
    encapsulated,
)


def test_linear_window_is_dicoms_formula(read, stored):
    radiograph = read(dicom(stored, WindowCenter=2000, WindowWidth=1000))
    expected = np.clip((stored - 1999.5) / 999 + 0.5, 0, 1)
    assert np.allclose(radiograph.pixels, expected, atol=1e-6)
    assert radiograph.pixels.dtype == np.float32
    assert (radiograph.format, radiograph.mode) == ("DICOM", "MONOCHROME2")
    assert (radiograph.stored_size, radiograph.orientation) == ((ROWS, COLUMNS), 1)


def test_exact_and_sigmoid_windows(read, stored):
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    exact = read(dicom(stored, VOILUTFunction="LINEAR_EXACT", **window)).pixels
    assert np.allclose(exact, np.clip((stored - 2000.0) / 1000 + 0.5, 0, 1), atol=1e-6)
    sigmoid = read(dicom(stored, VOILUTFunction="SIGMOID", **window)).pixels
    assert np.allclose(sigmoid, 1 / (1 + np.exp(-4 * (stored - 2000.0) / 1000)), atol=1e-6)


def test_monochrome1_is_inverted_after_the_window(read, stored):
    window = {"WindowCenter": 1000, "WindowWidth": 1500}
    plain = read(dicom(stored, **window)).pixels
    inverted = read(dicom(stored, PhotometricInterpretation="MONOCHROME1", **window)).pixels
    assert np.allclose(inverted, 1 - plain, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", "LIN OD", ""])
def test_the_presentation_luts_shape_counts_before_the_photometric_interpretation(
    read, stored, tmp_path, photometric, shape
):
    """As DCMTK has it, which is asked here where it is installed."""
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    tags = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    dataset = dicom(stored, **window, **tags)
    rising = read(dicom(stored, **window)).pixels
    shapes = {"IDENTITY": False, "INVERSE": True}
    inverted = shapes.get(shape, photometric == "MONOCHROME1")
    pixels = read(dataset).pixels
    assert np.allclose(pixels, 1 - rising if inverted else rising, atol=1e-6)
    if shutil.which("dcm2pnm"):
        before, after = tmp_path / "before.dcm", tmp_path / "after.pgm"
        before.write_bytes(content_of(dataset))
        subprocess.run(["dcm2pnm", "+op", "+Wi", "1", before, after], check=True, timeout=60)
        assert np.allclose(np.asarray(Image.open(after).convert("L")) / 255, pixels, atol=0.01)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 100},
        {"WindowCenter": 2000, "WindowWidth": 1_000_000},
        {"WindowCenter": 32768, "WindowWidth": 65536},
        {"WindowCenter": 2000},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_missing_or_absurd_window_gives_way_to_percentiles(read, stored, tags):
    pixels = read(dicom(stored, **tags)).pixels
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert (np.diff(pixels[0]) >= 0).all()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [12, 14])
def test_a_window_of_16_bits_does_not_darken_fewer_in_as_many(read, stored, bits, photometric):
    """As a PNG of 16 bits is rescued that holds no more."""
    values, kind = stored << (bits - 12), {"PhotometricInterpretation": photometric}
    window = {"WindowCenter": 32768, "WindowWidth": 65536}
    pixels = read(dicom(values, bits=16, **window, **kind)).pixels
    assert np.array_equal(pixels, read(dicom(values, bits=16, **kind)).pixels)
    assert np.ptp(pixels) == 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("side", [8, 11])
def test_a_window_holds_for_a_limb_that_covers_little_of_the_film(read, photometric, side):
    """0.6 and 1.2 % of it, on a ground whose noise the window makes black."""
    film = np.random.default_rng(0).integers(0, 40, (100, 100)).astype(np.uint16)
    film[50 : 50 + side, 50 : 50 + side] = np.linspace(500, 4000, side).astype(np.uint16)
    expected = np.clip((film - 2199.5) / 3699 + 0.5, 0, 1)
    center, values = 2200, film
    if photometric == "MONOCHROME1":
        center, values = 4095 - 2200 + 1, 4095 - film
    tags = {"WindowCenter": center, "WindowWidth": 3700, "PhotometricInterpretation": photometric}
    assert np.allclose(read(dicom(values, **tags)).pixels, expected, atol=1e-3)


def test_a_window_that_shows_nothing_but_a_marker_is_absurd(read, stored):
    film = np.pad(stored, 50)
    film[3:6, 3:9] = np.linspace(4060, 4080, 6).astype(np.uint16)
    pixels = read(dicom(film, WindowCenter=4070, WindowWidth=40)).pixels
    assert (pixels[50:-50, 50:-50] > 0).mean() > 0.9


def test_a_window_that_leaves_a_limb_nearly_white_is_absurd(read, stored):
    film = np.pad(stored // 10 + 3000, 20)
    pixels = read(dicom(film, WindowCenter=1500, WindowWidth=4000)).pixels
    assert np.ptp(pixels[20:-20, 20:-20]) > 0.1


@pytest.mark.parametrize("colours", [False, True])
def test_a_jpeg_of_8_bits_is_an_export_also_where_more_bits_are_told(read, colours):
    """What the window tells belongs to the radiograph that it was made of."""
    gray = np.tile(np.linspace(20, 235, COLUMNS).astype(np.uint8), (ROWS, 1))
    picture, buffer = Image.fromarray(gray), io.BytesIO()
    (picture.convert("RGB") if colours else picture).save(buffer, "JPEG", quality=95)
    pixels = np.zeros((ROWS, COLUMNS, 3) if colours else (ROWS, COLUMNS), np.uint16)
    for window in (
        {},
        {"WindowCenter": 2048, "WindowWidth": 4096},
        {"WindowCenter": 300, "WindowWidth": 600},
    ):
        dataset = encapsulated(pixels, JPEGBaseline8Bit, buffer.getvalue(), **window)
        assert np.allclose(read(dataset).pixels, gray / 255, atol=0.02)
    own = encapsulated(
        pixels, JPEGBaseline8Bit, buffer.getvalue(), WindowCenter=118, WindowWidth=236
    )
    assert read(own).pixels.max() > 0.9


def test_a_stream_of_fewer_bits_keeps_its_window(read, stored):
    """12 bits in a file that tells 16, as encoders of JPEG 2000 and JPEG-LS write them."""
    dataset = compressed(stored, JPEGLSLossless)
    dataset.BitsStored, dataset.HighBit = 16, 15
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    dataset.WindowCenter, dataset.WindowWidth = window.values()
    assert np.array_equal(read(dataset).pixels, read(dicom(stored, **window)).pixels)


@pytest.mark.parametrize("window", [{"WindowCenter": 2048, "WindowWidth": 4096}, {}])
def test_8_bits_with_an_absurd_window_are_an_export(read, window):
    gray = np.tile(np.linspace(40, 190, COLUMNS).astype(np.uint8), (ROWS, 1))
    assert np.allclose(read(dicom(gray, bits=8, **window)).pixels, gray / 255, atol=1e-6)


def test_first_of_several_windows_counts(read, stored):
    several = read(dicom(stored, WindowCenter=[2000, 9], WindowWidth=[1000, 9])).pixels
    assert np.array_equal(several, read(dicom(stored, WindowCenter=2000, WindowWidth=1000)).pixels)


def test_window_applies_to_rescaled_values(read, stored):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100}
    rescaled = read(dicom(stored, WindowCenter=3900, WindowWidth=2001, **tags)).pixels
    expected = np.clip((stored * 2.0 - 100 - 3899.5) / 2000 + 0.5, 0, 1)
    assert np.allclose(rescaled, expected, atol=1e-6)


def test_negative_slope_turns_the_grays_around(read, stored):
    tags = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    for window in ({}, {"WindowCenter": 2000, "WindowWidth": 1500}):
        pixels = read(dicom(stored, **tags, **window)).pixels
        assert pixels[0, 0] > 0.9
        assert pixels[0, -1] < 0.1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_voi_lut_of_any_depth_is_applied_before_a_window(read, stored, bits):
    most = 2**bits - 1
    table = Dataset()
    table.LUTDescriptor = [3000, 500, bits]
    table.LUTData = np.linspace(0, most, 3000).astype("<u2").tobytes()
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    pixels = read(dicom(stored, VOILUTSequence=[table], **window)).pixels
    expected = np.clip((stored - 500.0) / 2999, 0, 1)
    assert np.allclose(pixels, expected, atol=1.01 / most)


def test_lut_of_single_bytes(read, stored):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = (np.arange(4096) // 16).astype(np.uint8).tobytes()
    pixels = read(dicom(stored, VOILUTSequence=[table])).pixels
    assert np.allclose(pixels, (stored // 16) / 255, atol=1e-6)


@pytest.mark.parametrize("bits", [12, 16])
def test_modality_lut_is_applied(read, stored, bits):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, bits]
    table.LUTData = np.arange(4095, -1, -1).astype("<u2").tobytes()
    table.ModalityLUTType = "US"
    pixels = read(dicom(stored, ModalityLUTSequence=[table])).pixels
    assert pixels[0, 0] == 1
    assert pixels[0, -1] == 0


def test_signed_pixels(read, stored):
    signed = stored.astype(np.int16) - 2048
    pixels = read(dicom(signed, WindowCenter=-48, WindowWidth=1000)).pixels
    assert np.allclose(pixels, np.clip((signed + 48.5) / 999 + 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_bits_above_those_stored_are_ignored(read, stored, dtype):
    clean = (stored // 2).astype(dtype)
    dirty = clean | np.array(0x4000, dtype)
    window = {"WindowCenter": 1000, "WindowWidth": 1000}
    assert np.array_equal(read(dicom(dirty, **window)).pixels, read(dicom(clean, **window)).pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_move_the_percentiles(read, stored, photometric):
    padded = stored.copy()
    padded[:10] = 4095
    tags = {"PixelPaddingValue": 4095, "PhotometricInterpretation": photometric}
    pixels = read(dicom(padded, **tags)).pixels
    plain = read(dicom(stored, PhotometricInterpretation=photometric)).pixels
    assert not pixels[:10].any()
    assert np.allclose(pixels[10:], plain[10:], atol=1e-6)


def test_padding_range(read, stored):
    stored[:10, ::2], stored[:10, 1::2] = 0, 7
    pixels = read(dicom(stored, PixelPaddingValue=0, PixelPaddingRangeLimit=9)).pixels
    assert not pixels[:10].any()


def test_image_of_one_gray_is_finite(read):
    assert np.isfinite(read(dicom(np.full((8, 8), 77, np.uint16))).pixels).all()


def test_color_becomes_luminance(read):
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0] = 255
    tags = {"SOPClassUID": SECONDARY, "Modality": "OT"}
    assert np.allclose(read(dicom(rgb, bits=8, **tags)).pixels, 0.299, atol=1e-6)


ON_DETECTOR = {"ImagerPixelSpacing": [0.2, 0.2]}
CALIBRATED = {"PixelSpacingCalibrationType": "FIDUCIAL"}
MAGNIFIED = {"EstimatedRadiographicMagnificationFactor": 1.25}


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.3, 0.3]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": ["1e-323", "99"], "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": ["1e-323", "1e-323"]}, None),
        ({}, None),
        ({"PixelSpacing": [1, 1]}, (1, 1)),
        ({"PixelSpacing": [1, 1], **ON_DETECTOR}, (0.2, 0.2)),
        ({"PixelSpacing": [1, 1], **ON_DETECTOR, **CALIBRATED}, (1, 1)),
        ({**ON_DETECTOR, **MAGNIFIED}, (0.16, 0.16)),
        ({"PixelSpacing": [1, 1], **ON_DETECTOR, **MAGNIFIED}, (0.16, 0.16)),
        ({"PixelSpacing": [0.1, 0.1], **ON_DETECTOR, **MAGNIFIED}, (0.1, 0.1)),
        ({**ON_DETECTOR, "EstimatedRadiographicMagnificationFactor": 0}, (0.2, 0.2)),
        ({**ON_DETECTOR, "EstimatedRadiographicMagnificationFactor": 0.8}, (0.2, 0.2)),
        ({"NominalScannedPixelSpacing": [0.2, 0.2], **MAGNIFIED}, (0.2, 0.2)),
    ],
)
def test_spacing(read, stored, tags, spacing):
    assert read(dicom(stored, **tags)).spacing == spacing


@pytest.mark.parametrize(
    ("tags", "aspect"),
    [
        ({"PixelSpacing": [0.2, 0.4], "PixelAspectRatio": ["3", "1"]}, 0.5),
        ({"PixelAspectRatio": ["1", "2"]}, 0.5),
        ({"PixelAspectRatio": ["0", "2"]}, 1),
        ({"PixelSpacing": [0.2, 0.2]}, 1),
        ({"PixelSpacing": ["1e-323", "99"]}, 1),
        ({"PixelSpacing": ["99", "1e-323"], "PixelAspectRatio": ["1", "2"]}, 0.5),
        ({"PixelAspectRatio": ["1", "2000000000"]}, 1),
        ({}, 1),
    ],
)
def test_aspect_of_a_pixel(read, stored, tags, aspect):
    assert read(dicom(stored, **tags)).aspect == aspect


def test_absurd_windows_are_passed_over(read, stored):
    good = read(dicom(stored, WindowCenter=2000, WindowWidth=1000)).pixels
    centers, widths = [90000, 10, 2000, 2000], [100, 4, 0, 1000]
    assert np.array_equal(
        read(dicom(stored, WindowCenter=centers, WindowWidth=widths)).pixels, good
    )


def test_window_after_an_absurd_voi_lut(read, stored):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [16, 0, 12], bytes(32)
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    expected = read(dicom(stored, **window)).pixels
    assert np.array_equal(read(dicom(stored, VOILUTSequence=[table], **window)).pixels, expected)


def test_window_that_makes_a_silhouette_is_absurd(read, stored):
    stored[:, 10:25] = 0
    pixels = read(dicom(stored, WindowCenter=5, WindowWidth=4)).pixels
    assert len(np.unique(pixels)) > 10


def test_windows_as_strings_with_blanks(read, stored):
    dataset = dicom(stored, WindowCenter=[1234567, 9], WindowWidth=[7654321, 9])
    content = content_of(dataset).replace(b"1234567.0\\9", b"  2000   \\9")
    content = content.replace(b"7654321.0\\9.0", b"1000     \\   ")
    plain = read(dicom(stored, WindowCenter=2000, WindowWidth=1000)).pixels
    assert np.array_equal(read(content).pixels, plain)


def test_window_with_a_decimal_comma(read, stored):
    content = content_of(dicom(stored, WindowCenter="1234.5", WindowWidth=1000))
    assert np.array_equal(read(content.replace(b"1234.5", b"1234,5")).pixels, read(content).pixels)


def test_spacing_with_a_decimal_comma(read, stored):
    content = content_of(dicom(stored, PixelSpacing=["0.125", "0.25"]))
    assert read(content.replace(b"0.125\\0.25", b"0,125\\0,25")).spacing == (0.125, 0.25)


@pytest.mark.parametrize("representation", ["FD", "FL", "SS", "SL"])
def test_numbers_in_binary(read, stored, representation):
    texts = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    texts |= {"WindowCenter": [2000, 9], "WindowWidth": [1000, 9]}
    expected, binary = read(dicom(stored, **texts)), dicom(stored)
    for keyword, value in texts.items():
        binary.add(DataElement(keyword, representation, value))
    assert np.array_equal(read(binary).pixels, expected.pixels)


@pytest.mark.parametrize("value", [b"wide", b"1e999 ", b"nan", b""])
def test_window_that_is_no_number_gives_way_to_percentiles(read, stored, value):
    dataset = dicom(stored, WindowCenter="1234.5", WindowWidth=1000)
    content = content_of(dataset).replace(b"1234.5", value.ljust(6))
    assert np.array_equal(read(content).pixels, read(dicom(stored)).pixels)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_any_depth_in_16_bits(read, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = np.linspace(low, high, COLUMNS).astype(np.int16 if signed else np.uint16)
    window = {"WindowCenter": (low + high) / 2, "WindowWidth": high - low}
    tags = {"VOILUTFunction": "LINEAR_EXACT", **window}
    pixels = read(dicom(np.tile(values, (ROWS, 1)), bits=bits, **tags)).pixels
    expected = (values.astype(float) - low) / (high - low)
    assert np.allclose(pixels[0], expected, atol=1e-4)


def test_values_in_the_high_bits_are_shifted_down(read, stored):
    window = {"WindowCenter": 2000, "WindowWidth": 1000}
    shifted = read(dicom(stored << 4, HighBit=15, **window)).pixels
    assert np.array_equal(shifted, read(dicom(stored, **window)).pixels)


@pytest.mark.parametrize("value", [-2000, 2**16 - 2000])
def test_negative_padding_in_either_signedness(read, stored, value):
    signed = stored.astype(np.int16) - 1000
    padded = signed.copy()
    padded[:10] = -2000
    tags = {"PhotometricInterpretation": "MONOCHROME1"}  # else it would be black anyway
    dataset = dicom(padded, bits=16, **tags)
    dataset.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
    pixels = read(dataset).pixels
    assert not pixels[:10].any()
    assert np.allclose(pixels[10:], read(dicom(signed, bits=16, **tags)).pixels[10:], atol=1e-6)


def test_voi_lut_that_starts_below_zero_but_says_so_unsigned(read, stored):
    signed = stored.astype(np.int16) - 2048
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 2**16 - 2048, 16])
    table.LUTData = np.linspace(0, 65535, 4096).astype("<u2").tobytes()
    pixels = read(dicom(signed, VOILUTSequence=[table])).pixels
    assert np.allclose(pixels, stored / 4095, atol=1e-3)


@pytest.mark.parametrize("bits", [12, 14])
def test_voi_lut_of_fewer_bits_that_says_16_is_not_dark(read, stored, bits):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.arange(4096) << (bits - 12)).astype("<u2").tobytes()
    assert np.allclose(read(dicom(stored, VOILUTSequence=[table])).pixels, stored / 4095, atol=1e-3)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("border", [0, 4095])
def test_burned_in_border_does_not_move_the_percentiles(read, stored, photometric, border):
    tags = {"PhotometricInterpretation": photometric}
    plain = read(dicom(stored, **tags)).pixels
    framed = np.pad(stored, 12, constant_values=border)
    assert np.allclose(read(dicom(framed, **tags)).pixels[12:-12, 12:-12], plain, atol=1e-6)


def test_8_bits_without_a_window_are_an_export_and_stay_as_they_are(read):
    gray = np.tile(np.linspace(40, 190, COLUMNS).astype(np.uint8), (ROWS, 1))
    tags = {"SOPClassUID": SECONDARY, "Modality": "OT"}
    assert np.allclose(read(dicom(gray, bits=8, **tags)).pixels, gray / 255, atol=1e-6)


@pytest.mark.parametrize("tags", [{"RescaleSlope": 1}, {"RescaleIntercept": 0}])
def test_half_a_rescale_is_no_reason_to_refuse(read, stored, tags):
    window = {"WindowCenter": 2000, "WindowWidth": 900}
    expected = read(dicom(stored, **window)).pixels
    assert np.array_equal(read(dicom(stored, **window, **tags)).pixels, expected)


@pytest.mark.parametrize("told", [12, 16])
def test_colours_of_12_bits_are_as_bright_where_16_are_told(read, told):
    gray = np.linspace(0, 4095, 1200).astype(np.uint16).reshape(30, 40)
    pixels = read(dicom(np.repeat(gray[:, :, None], 3, axis=2), bits=told)).pixels
    assert np.allclose(pixels, gray / 4095, atol=1e-3)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_palette_becomes_luminance(read, syntax):
    places = np.tile(np.arange(COLUMNS, dtype=np.uint8), (ROWS, 1))
    dataset = dicom(places, bits=8, PhotometricInterpretation="PALETTE COLOR")
    dataset.file_meta.TransferSyntaxUID = syntax
    levels = (np.arange(256) * 256).astype("<u2" if syntax.is_little_endian else ">u2")
    for color in ("Red", "Green", "Blue"):
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{color}PaletteColorLookupTableData", levels.tobytes())
    assert np.allclose(read(dataset).pixels, places / 256, atol=1e-4)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_gray_in_colours_keeps_its_brightness(read, photometric, planar):
    gray = np.tile(np.linspace(40, 190, COLUMNS).astype(np.uint8), (ROWS, 1))
    rest = gray if photometric == "RGB" else np.full_like(gray, 128)
    pixels = np.stack([gray, rest, rest], axis=-1)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    tags = {"PhotometricInterpretation": photometric, "PlanarConfiguration": planar}
    dataset = dicom(pixels, bits=8, PixelData=np.ascontiguousarray(stored).tobytes(), **tags)
    assert np.allclose(read(dataset).pixels, gray / 255, atol=0.01)


@pytest.mark.parametrize(
    "photometric", ["HSV", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "MONOCHROME2", "PALETTE COLOR"]
)
def test_three_samples_that_are_no_colours_are_refused(refusal, photometric):
    colours = np.full((ROWS, COLUMNS, 3), 99, np.uint8)
    error = refusal(dicom(colours, bits=8, PhotometricInterpretation=photometric))
    assert error.reason == "unsupported"
    assert "neither RGB nor YBR" in str(error)


@pytest.mark.parametrize("scale", [1, 257])
def test_palette_of_8_bit_entries_in_16_bit_words(read, scale):
    """Bare, or spread over the whole word, as both are met; always told as 8 bits."""
    places = np.tile(np.arange(COLUMNS, dtype=np.uint8), (ROWS, 1))
    levels = np.arange(256) * 6 % 256
    dataset = dicom(places, bits=8, PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        entries = (levels * scale).astype("<u2").tobytes()
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(dataset, f"{color}PaletteColorLookupTableData", entries)
    assert np.allclose(read(dataset).pixels, levels[places] / 255, atol=1e-5)


def plainly(stored: np.ndarray, hidden: np.ndarray, border: int, inverted: bool) -> np.ndarray:
    """From the 0.5th to the 99.5th percentile, pixel by pixel: what a table of values must give."""
    inside = (slice(border, len(stored) - border), slice(border, stored.shape[1] - border))
    seen = np.sort(stored[inside][~hidden[inside]].astype(np.float64))
    low, high = (seen[int(np.ceil(share * len(seen))) - 1] for share in (0.005, 0.995))
    grays = np.clip((stored.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)
    grays = 1 - grays if inverted else grays
    return np.where(hidden, np.float32(0), grays)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shuttered", [False, True])
@pytest.mark.parametrize("border", [0, 9])
@pytest.mark.parametrize("inverted", [False, True])
def test_grays_are_those_of_a_plain_pixel_by_pixel_way(
    read, signed, padded, shuttered, border, inverted
):
    """Larger than a block, so that there are several of them."""
    rows, columns = 701, 503
    low, high = (-2048, 2047) if signed else (0, 4095)
    values = np.random.default_rng(1).normal((low + high) / 2, 500, (rows, columns))
    pixels = values.clip(low, high).astype(np.int16 if signed else np.uint16)
    pixels = np.pad(pixels, border, constant_values=low)
    tags = {"PhotometricInterpretation": "MONOCHROME1"} if inverted else {}
    hidden = np.zeros(pixels.shape, bool)
    if shuttered:
        right = columns // 2
        tags |= {"ShutterShape": "RECTANGULAR", "ShutterRightVerticalEdge": right}
        tags |= {"ShutterLeftVerticalEdge": 1, "ShutterUpperHorizontalEdge": 1}
        tags |= {"ShutterLowerHorizontalEdge": len(pixels)}
        hidden[:, right:] = True
    dataset = dicom(pixels, **tags)
    if padded:
        first, last = int(np.median(pixels)), int(np.median(pixels)) + 40
        dataset.add_new("PixelPaddingValue", "US", first % 2**16)
        dataset.add_new("PixelPaddingRangeLimit", "US", last % 2**16)
        hidden |= (pixels >= first) & (pixels <= last)
    assert np.array_equal(read(dataset).pixels, plainly(pixels, hidden, border, inverted))


@pytest.mark.parametrize("padding", [None, 0])
def test_a_large_radiograph_takes_little_more_than_its_grays(opened, padding):
    """As a detector of 4,000 rows gives it; several copies of it would not fit beside a model."""
    pixels = np.tile(np.linspace(0, 4095, 3000).astype(np.uint16), (4000, 1))
    dataset = dicom(pixels, WindowCenter=2000, WindowWidth=1000)
    if padding is not None:
        dataset.PixelPaddingValue = padding
    content = content_of(dataset)
    tracemalloc.start()
    radiograph = next(opened(content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert radiograph.levels.nbytes == 48_000_000
    assert peak < 60_000_000


def test_windows_and_luts_without_number_are_not_all_tried(read, stored, monkeypatch):
    stored[0, 0], stored[0, 1] = 0, 4095
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [2, 0, 12], [0, 0]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    many = {"WindowCenter": [4094] * 3000, "WindowWidth": [3] * 3000}
    tried = []
    from kirik.dicom import grays

    sense = grays._makes_sense
    monkeypatch.setattr(grays, "_makes_sense", lambda *args: tried.append(0) or sense(*args))
    radiograph = read(dicom(stored, VOILUTSequence=[item] * 3000, **many))
    assert np.array_equal(radiograph.pixels, read(dicom(stored)).pixels)
    assert 0 < len(tried) <= 64
