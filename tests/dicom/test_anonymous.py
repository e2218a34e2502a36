"""What `without_identity` takes out of a DICOM file's pixels and numbers, and what it leaves."""

import io
import struct

import numpy as np
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless, RLELossless

from dicom.helpers import SECRET, compressed, content_of, dicom
from kirik.anonymous import without_identity
from kirik.errors import RadiographError
from kirik.radiograph import Limits

WINDOW = {"WindowCenter": 2048, "WindowWidth": 3000}


@pytest.fixture
def cleared(read):
    """The file without identity, which must be read as before."""

    def clear(dataset: Dataset) -> bytes:
        content = content_of(dataset)
        clear = without_identity(content, "a", Limits(), b"k" * 32)
        before, after = read(content), read(clear)
        assert np.array_equal(after.levels, before.levels)
        assert (after.spacing, after.aspect) == (before.spacing, before.aspect)
        assert SECRET.encode() not in clear
        return clear

    return clear


def in_letters(dataset: Dataset, keyword: str, vr: str, value: str) -> None:
    """Put text where numbers belong, as pydicom would not."""
    content, tag = value.encode() + b" " * (len(value) % 2), Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True, True)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13])
@pytest.mark.parametrize("big", [False, True])
def test_bits_beside_those_stored_go(cleared, stored, signed, high, big):
    low = high - 11
    words = (stored << low) | np.uint16(0x4000)
    words[:, ::2] |= np.uint16(0x8001 if low else 0x8000)
    pixels = words.astype(">u2") if big else words
    dataset = dicom(pixels, HighBit=high, PixelRepresentation=int(signed), **WINDOW)
    if big:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset["PixelData"].VR = "OW"
    kept = np.frombuffer(dcmread(io.BytesIO(cleared(dataset))).PixelData, pixels.dtype)
    kept = kept.astype(np.uint16).reshape(stored.shape)
    assert np.array_equal(kept & (0xFFF << low), stored << low)
    sign = np.where((stored & 0x800) > 0, 0x10000 - (2 << high), 0) if signed else 0
    assert np.array_equal(kept & ~np.uint16(0xFFF << low), np.broadcast_to(sign, kept.shape))


def test_bits_beside_those_stored_go_from_colours(cleared, stored):
    rgb = np.stack([stored | 0xF000, stored, stored // 2], axis=-1).astype(np.uint16)
    kept = np.frombuffer(dcmread(io.BytesIO(cleared(dicom(rgb)))).PixelData, np.uint16)
    assert kept.max() < 4096


@pytest.mark.parametrize("in_bytes", [False, True])
def test_what_lies_behind_a_lut_goes(cleared, stored, in_bytes):
    item = Dataset()
    item.LUTDescriptor, item["LUTDescriptor"].VR = [4096, 0, 8 if in_bytes else 12], "US"
    table = np.arange(4096) // 16 if in_bytes else np.arange(4096)
    item.LUTData = table.astype(np.uint8 if in_bytes else np.uint16).tobytes() + SECRET.encode()
    item.LUTData += b" " * (len(item.LUTData) % 2)
    item["LUTData"].VR = "OW"
    cleared(dicom(stored, VOILUTSequence=Sequence([item])))


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("WindowCenter", "DS", f"{SECRET}\\2048"),
        ("PixelSpacing", "DS", SECRET),
        ("PixelSpacing", "DS", f"0.15\\{SECRET}"),
        ("RescaleSlope", "DS", SECRET),
        ("ShutterLeftVerticalEdge", "IS", SECRET),
        ("ShutterShape", "CS", SECRET),
        ("ShutterShape", "CS", f"RECTANGULAR\\{SECRET}"),
        ("VOILUTFunction", "CS", SECRET),
        ("PixelPaddingValue", "LO", SECRET),
        ("HighBit", "LO", SECRET),
    ],
)
def test_text_in_the_place_of_numbers_and_of_known_words_goes(cleared, stored, keyword, vr, value):
    dataset = dicom(stored, WindowCenter=[1000, 2048], WindowWidth=[800, 3000])
    dataset.ShutterShape = "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = 3, 30
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = 2, 20
    in_letters(dataset, keyword, vr, value)
    cleared(dataset)


def test_decimal_commas_stay(cleared, stored):
    dataset = dicom(stored, **WINDOW)
    in_letters(dataset, "WindowCenter", "DS", "2048,5")
    assert b"2048,5" in cleared(dataset)


BODY_PARTS = [
    ("HAND", "HAND"),
    ("LEFT WRIST", "LEFT WRIST"),
    ("Hand", "Hand"),
    ("L-SPINE", "L-SPINE"),
    ("UPRURTRACT", "UPRURTRACT"),
    ("SAĞ EL BİLEĞİ", "SAG EL BILEGI"),
    ("HAND YILMAZ^AYSE", "HAND"),
    ("HANDE YILMAZ", "EXTREMITY"),  # taken for a hand, and a woman's name
    ("CARPENTER JOHN", "EXTREMITY"),
    ("CHESTERTON", "CHEST"),
    ("SKULL 12345678901", "SKULL"),
    ("BEL AYSE", None),  # which alone would be the spine
    ("YILMAZ AYSE", None),
    ("DENTON", "TEETH"),
    ("CORONARYSTENT AYSE", "VESSELS"),
    ("", None),
]


def outcome(opened, content: bytes) -> object:
    """The grays that are shown, or why there are none."""
    try:
        return next(opened(content)).levels.tolist()
    except RadiographError as error:
        return error.reason, str(error)


@pytest.mark.filterwarnings("ignore:(Invalid value|The value length)")
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("told", "kept"), BODY_PARTS)
def test_a_body_part_is_told_in_words_that_are_nobodys_name(opened, stored, within, told, kept):
    item = Dataset()
    item.CodeMeaning = told
    where = {"AnatomicRegionSequence": Sequence([item])} if within else {}
    dataset = dicom(stored, SpecificCharacterSet="ISO_IR 192", **where, **WINDOW)
    if not within:
        in_letters(dataset, "BodyPartExamined", "CS", told)
    content = content_of(dataset)
    clear = without_identity(content, "a", Limits(), b"k" * 32)
    left = dcmread(io.BytesIO(clear))
    said = left.AnatomicRegionSequence[0].CodeMeaning if within else left.get("BodyPartExamined")
    assert (said or None) == kept
    assert outcome(opened, clear) == outcome(opened, content)


@pytest.mark.parametrize(
    ("code", "scheme", "kept"),
    [
        ("85562004", "SCT", ("85562004", "SCT")),
        ("T-D8700", "SRT", ("T-D8700", "SRT")),
        ("816094009", "SCT", ("816094009", "SCT")),
        ("12345678901", "SCT", (None, "SCT")),
        ("YILMAZ", "99YILMAZ", (None, None)),
    ],
)
def test_a_code_that_nobody_knows_goes(opened, stored, code, scheme, kept):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code, scheme
    content = content_of(dicom(stored, AnatomicRegionSequence=Sequence([item]), **WINDOW))
    clear = without_identity(content, "a", Limits(), b"k" * 32)
    [left] = dcmread(io.BytesIO(clear)).AnatomicRegionSequence
    assert (left.get("CodeValue"), left.get("CodingSchemeDesignator")) == kept
    assert outcome(opened, clear) == outcome(opened, content)


def test_a_modality_that_is_somebodys_name_goes_and_is_refused_as_before(opened, stored):
    content = content_of(dicom(stored, Modality="YILMAZ"))
    clear = without_identity(content, "a", Limits(), b"k" * 32)
    assert b"YILMAZ" not in clear
    assert outcome(opened, clear) == outcome(opened, content)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_what_lies_in_an_offset_table_goes(cleared, stored, syntax):
    dataset = compressed(stored, syntax)
    text = SECRET.encode().ljust(12)
    table = b"\xfe\xff\0\xe0" + struct.pack("<I", len(text)) + text
    assert dataset.PixelData.startswith(b"\xfe\xff\0\xe0")
    before = 8 + struct.unpack("<I", dataset.PixelData[4:8])[0]
    dataset["PixelData"].value = table + dataset.PixelData[before:]
    cleared(dataset)
