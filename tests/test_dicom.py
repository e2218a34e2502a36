"""DICOM into radiographs, as a viewer shows them."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from kirik.errors import RadiographError
from kirik.radiograph import Limits, read_radiograph

ROWS, COLUMNS = 30, 40
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
DX_RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
REAL = Path(__file__).parents[2] / "shared" / "dicom"
SECRET = "Yilmaz^Ayse"


@pytest.fixture
def stored() -> np.ndarray:
    """uint16 [30, 40] of 12 bits, rising from the left edge to the right one."""
    return np.tile(np.linspace(100, 4000, COLUMNS).astype(np.uint16), (ROWS, 1))


def dicom(pixels: np.ndarray, bits: int = 12, **tags) -> Dataset:
    """A CR of these pixels; `tags` set elements, and None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CR", SECRET, SECRET
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def compressed(pixels: np.ndarray, syntax: str) -> Dataset:
    """A CR of these pixels, lossless; JPEG 2000 by Pillow, as pydicom may have no encoder."""
    dataset = dicom(pixels)
    if syntax != JPEG2000Lossless:
        compress(dataset, syntax)
        return dataset
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def content_of(dataset: Dataset, **options) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, **options)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    """Read a data set, or bytes, as a file without a telling suffix."""

    def read_it(source: Dataset | bytes, **options):
        content = source if isinstance(source, bytes) else content_of(source)
        (tmp_path / "a").write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read_radiograph(tmp_path / "a", **options)

    return read_it


@pytest.fixture
def refusal(read):
    def refused(source: Dataset | bytes, **options) -> RadiographError:
        with pytest.raises(RadiographError) as caught:
            read(source, **options)
        assert "\n" not in str(caught.value)
        assert "yilmaz" not in str(caught.value).lower()
        return caught.value

    return refused


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


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 100},
        {"WindowCenter": 2000, "WindowWidth": 1_000_000},
        {"WindowCenter": 2000},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
    ],
)
def test_missing_or_absurd_window_gives_way_to_percentiles(read, stored, tags):
    pixels = read(dicom(stored, **tags)).pixels
    assert pixels.min() == 0
    assert pixels.max() == 1
    assert (np.diff(pixels[0]) >= 0).all()


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


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.1, 0.2], "ImagerPixelSpacing": [0.3, 0.3]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({}, None),
    ],
)
def test_spacing(read, stored, tags, spacing):
    assert read(dicom(stored, **tags)).spacing == spacing


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


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": DX, "Modality": "DX"},
        {"SOPClassUID": SECONDARY, "Modality": "RG"},
        {"SOPClassUID": SECONDARY, "Modality": "OT"},
        {"Modality": None},
        {"SOPClassUID": DX, "Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"},
    ],
)
def test_radiographs_of_every_usual_kind(read, stored, tags):
    assert read(dicom(stored, **tags)).pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("tags", "reason", "says"),
    [
        ({"Modality": "CT"}, "wrong_modality", "CT image"),
        ({"Modality": "MG"}, "wrong_modality", "mammogram"),
        ({"Modality": "SR", "PixelData": None}, "wrong_modality", "structured report"),
        ({"Modality": "PR", "PixelData": None}, "wrong_modality", "presentation state"),
        ({"Modality": "YILMAZ"}, "wrong_modality", "no radiograph"),
        ({"Modality": "CT", "SOPClassUID": SECONDARY}, "wrong_modality", "CT image"),
        ({"NumberOfFrames": 3}, "unsupported", "3 frames"),
        ({"SOPClassUID": DX_RAW, "Modality": "DX"}, "unsupported", "raw detector"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "unsupported", "raw detector"),
        ({"BitsAllocated": 32}, "unsupported", "32 bits"),
        ({"PixelData": None}, "truncated", "before its pixels"),
        ({"Rows": 30_000, "Columns": 30_000}, "too_large", "30,000×30,000"),
        ({"Rows": 0}, "damaged", "without pixels"),
        ({"Rows": ROWS + 1}, "truncated", "before its pixels"),
        ({"BitsStored": None}, "damaged", "damaged"),
        ({"PhotometricInterpretation": "RGB"}, "damaged", "damaged"),
    ],
)
def test_what_is_refused_and_why(refusal, stored, tags, reason, says):
    error = refusal(dicom(stored, **tags))
    assert error.reason == reason
    assert says in str(error)


def test_unknown_compression_is_named(refusal, stored):
    dataset = dicom(stored, PixelData=encapsulate([b"\xff\xd8" + bytes(50) + b"\xff\xd9"]))
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    error = refusal(dataset)
    assert error.reason == "unsupported"
    assert "JPEG Lossless" in str(error)


def test_deflated_file_cannot_take_the_memory(refusal):
    dataset = dicom(np.zeros((3000, 3000), np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert refusal(dataset).reason == "unsupported"


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


def test_nothing_of_a_patient_reaches_the_log(read, refusal, stored, caplog):
    content = content_of(dicom(stored, StudyDate="20240101"))
    with caplog.at_level(logging.WARNING):
        read(content.replace(b"20240101", b"Yilmaz!!"))
        refusal(content[:-99])
    assert caplog.text == ""


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="real DICOM files are not there")
def test_real_radiograph_lossless_and_lossy_are_alike():
    lossless = read_radiograph(REAL / "RG3_J2KR.dcm")
    lossy = read_radiograph(REAL / "RG3_J2KI.dcm")
    assert lossless.pixels.shape == (1760, 1760)
    assert lossless.mode == "MONOCHROME1"
    assert np.abs(lossless.pixels - lossy.pixels).mean() < 0.01
    # The tibia's shaft is brighter than the air beside the leg.
    assert lossless.pixels[700, 850] > lossless.pixels[700, 500] + 0.3


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="real DICOM files are not there")
def test_real_radiograph_decompressed_is_the_same(read):
    dataset = dcmread(REAL / "RG3_J2KR.dcm")
    dataset.decompress()
    again = read(dataset).pixels
    assert np.array_equal(again, read_radiograph(REAL / "RG3_J2KR.dcm").pixels)
