"""What `without_identity` takes out of a DICOM file's pixels and numbers, and what it leaves."""

import io
import struct

import numpy as np
import pytest
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import compress
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from dicom.helpers import (
    SECRET,
    compressed,
    content_of,
    dicom,
    encapsulated,
    in_letters,
    of_16_bits,
    told_as,
)
from kirik.anonymous import without_identity
from kirik.errors import RadiographError
from kirik.nameless import nameless_j2k
from kirik.radiograph import Limits

COLOR = "RedPaletteColorLookupTable"
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


def frames_of(content: bytes) -> tuple[str, list[bytes]]:
    """A file's transfer syntax, and its compressed frames, without comments."""
    dataset = dcmread(io.BytesIO(content))
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = generate_frames(dataset.PixelData, number_of_frames=count)
    return dataset.file_meta.TransferSyntaxUID, [
        nameless_j2k(one) if one.startswith(b"\xff\x4f") else one.rstrip(b"\0") for one in frames
    ]


def series(films: list[np.ndarray], folder, syntax: str, **tags) -> Dataset:
    """Films of 16 bits allocated, all of them compressed, and 12 stored, as frames of a file."""
    told = {"BitsStored": 12, "HighBit": 11, "NumberOfFrames": len(films)} | WINDOW | tags
    every = [of_16_bits(one, folder, syntax, **told) for one in films]
    parts = [next(generate_frames(one.PixelData, number_of_frames=1)) for one in every]
    every[0].PixelData = encapsulate(parts)
    return every[0]


def cleared_frames(opened, dataset: Dataset) -> bytes:
    """The file without identity, each of whose frames must be shown as before."""
    content = content_of(dataset)
    clear = without_identity(content, "a", Limits(), b"k" * 32)
    for before, after in zip(opened(content), opened(clear), strict=True):
        assert np.array_equal(after.pixels, before.pixels)
        assert after.spacing == before.spacing
    return clear


BY_GDCM = ["RLELossless", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13])
@pytest.mark.parametrize("syntax", BY_GDCM)
def test_bits_beside_those_stored_go_from_lossless_frames(
    opened, tmp_path, stored, syntax, high, signed
):
    """Of the second frame alone: what it shows stays, and so does the first."""
    pixels = stored.astype(np.int16) - 2048 if signed else stored
    clean = pixels << (high - 11)
    noted = clean.copy()
    noted[5:9, ::2] ^= noted.dtype.type(1 if high > 11 else 1 << 14)
    left = dcmread(
        io.BytesIO(cleared_frames(opened, series([clean, noted], tmp_path, syntax, HighBit=high)))
    )
    kept = np.frombuffer(left.PixelData, pixels.dtype).reshape(2, *pixels.shape)
    assert np.array_equal(kept, [pixels, pixels])
    assert (left.HighBit, left.file_meta.TransferSyntaxUID.is_encapsulated) == (11, False)


@pytest.mark.parametrize("high", [11, 13])
@pytest.mark.parametrize("syntax", BY_GDCM)
def test_lossless_frames_with_nothing_but_the_bits_stored_stay(
    opened, tmp_path, stored, syntax, high
):
    films = [stored << (high - 11), stored[:, ::-1] << (high - 11)]
    dataset = series(films, tmp_path, syntax, HighBit=high)
    assert frames_of(cleared_frames(opened, dataset)) == frames_of(content_of(dataset))


def test_bits_beside_those_stored_go_from_lossless_frames_that_are_told_to_be_lossy(
    opened, tmp_path, stored
):
    dataset = series([stored | 0x4000], tmp_path, "JPEGLosslessProcess14_1")
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    left = dcmread(io.BytesIO(cleared_frames(opened, dataset)))
    assert np.array_equal(np.frombuffer(left.PixelData, np.uint16), stored.ravel())


def test_bits_below_those_stored_go_from_lossy_frames(opened, stored):
    frames = frames_of(content_of(compressed(stored << 4 | 5, JPEG2000Lossless)))[1]
    dataset = encapsulated(stored, JPEG2000, *frames, HighBit=15, **WINDOW)
    left = dcmread(io.BytesIO(cleared_frames(opened, dataset)))
    assert np.array_equal(np.frombuffer(left.PixelData, np.uint16), stored.ravel())


def test_lossy_frames_that_overshoot_stay(opened, stored):
    stored[:, -10:] = 4100
    frames = frames_of(content_of(compressed(stored, JPEG2000Lossless)))[1]
    dataset = encapsulated(stored, JPEG2000, *frames, **WINDOW)
    assert frames_of(cleared_frames(opened, dataset)) == (JPEG2000, frames)


def test_bits_beside_those_stored_go_from_compressed_colours(opened, stored):
    rgb = np.stack([stored >> 5, stored >> 6, stored >> 7], axis=-1).astype(np.uint8)
    dataset = dicom(rgb | 0x80, bits=8)
    compress(dataset, RLELossless)
    dataset.BitsStored, dataset.HighBit = 7, 6
    left = dcmread(io.BytesIO(cleared_frames(opened, dataset)))
    assert np.array_equal(np.frombuffer(left.PixelData, np.uint8), rgb.ravel())


@pytest.mark.parametrize(("damaged", "reason"), [(False, "too_large"), (True, "damaged")])
def test_frames_that_cannot_be_cleared_are_refused(tmp_path, stored, damaged, reason):
    dataset = series([stored, stored | 0x4000], tmp_path, "JPEGLSLossless")
    _, frames = frames_of(content_of(dataset))
    if damaged:
        dataset.PixelData = encapsulate([frames[0][:60] + b"\xff\xd9", frames[1]])
    limits = Limits(file_bytes=2 * stored.nbytes - 1)
    with pytest.raises(RadiographError) as caught:
        without_identity(content_of(dataset), "a.dcm", limits, b"k" * 32)
    assert caught.value.reason == reason
    assert str(caught.value).startswith("a.dcm (frame 1 of 2):" if damaged else "a.dcm:")


@pytest.mark.parametrize("told", [None, 2])
def test_frames_that_are_not_told_of_are_not_cut_off_in_silence(stored, told):
    dataset = dicom(stored, PixelData=stored.tobytes() * 3, **WINDOW)
    dataset.NumberOfFrames = told
    with pytest.raises(RadiographError, match="and 3 by its pixels") as caught:
        without_identity(content_of(dataset), "a", Limits(), b"k" * 32)
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": SECRET},
        {f"{COLOR}Descriptor": [4, 0, 16], f"{COLOR}Data": SECRET.encode() + b" "},
        {f"Segmented{COLOR}Data": SECRET.encode() + b" "},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_bytes_that_no_reading_looks_at_go(cleared, stored, tags):
    left = dcmread(io.BytesIO(cleared(dicom(stored, **WINDOW, **tags))))
    assert not [one.name for one in left if "Palette" in one.name]


@pytest.mark.parametrize("keyword", ["Rows", "PhotometricInterpretation", "BitsStored"])
@pytest.mark.parametrize("other", [None, SECRET])
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_pixels_that_no_reading_looks_at_do_not_come_in(stored, keyword, other):
    """Where they end could not be told."""
    dataset = dicom(stored, PixelData=stored.tobytes() + SECRET.encode() + b" ", **WINDOW)
    del dataset[keyword]
    if other:
        in_letters(dataset, keyword, "CS", other)
    with pytest.raises(RadiographError) as caught:
        without_identity(content_of(dataset), "a", Limits(), b"k" * 32)
    assert caught.value.reason == "damaged"
    assert SECRET not in str(caught.value)


def test_colours_that_no_reading_looks_at_do_not_come_in_and_are_told_as_such():
    colours = np.zeros((8, 8, 3), np.uint8)
    content = content_of(dicom(colours, bits=8, PhotometricInterpretation="HSV"))
    with pytest.raises(RadiographError, match="neither RGB nor YBR"):
        without_identity(content, "a", Limits(), b"k" * 32)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("beside", [False, True])
def test_pixels_of_floating_point_numbers_do_not_come_in(stored, keyword, beside):
    dataset = dicom(stored, **WINDOW)
    setattr(dataset, keyword, SECRET.encode().ljust(16))
    if not beside:
        del dataset.PixelData
    with pytest.raises(RadiographError) as caught:
        without_identity(content_of(dataset), "a", Limits(), b"k" * 32)
    assert caught.value.reason == "unsupported"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_unknown_transfer_syntax_does_not_come_in(stored):
    dataset = compressed(stored, RLELossless)
    del dataset.PixelData
    content = told_as(content_of(dataset), RLELossless, "1.2.3.YILMAZ")
    with pytest.raises(RadiographError) as caught:
        without_identity(content, "a", Limits(), b"k" * 32)
    assert caught.value.reason == "unsupported"


def in_palette(places: np.ndarray, bits: int, segmented: bool, big: bool) -> Dataset:
    """Places in a palette of three colours, all unlike."""
    dataset = dicom(places, bits=8, PhotometricInterpretation="PALETTE COLOR")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    most = 2**bits - 1
    for number, color in enumerate(("Red", "Green", "Blue")):
        keyword = f"{color}PaletteColorLookupTableData"
        table = np.linspace(0, most, 200).astype(int) // (number + 1)
        if segmented:  # the first entry, and a line from there on
            keyword, table = f"Segmented{keyword}", np.array([0, 1, 0, 1, 199, table[-1]])
        kind = "u1" if bits == 8 else ">u2" if big else "<u2"
        dataset.add_new(keyword, "OW", table.astype(kind).tobytes())
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [200, 5, bits])
    return dataset


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_a_palette_stays(cleared, bits, segmented, big):
    places = np.arange(256, dtype=np.uint8).reshape(16, 16)
    left = dcmread(io.BytesIO(cleared(in_palette(places, bits, segmented, big))))
    assert len(left.BluePaletteColorLookupTableData) == 200 * bits // 8


@pytest.mark.parametrize("segmented", [False, True])
def test_what_lies_behind_a_palette_does_not_come_in(segmented):
    dataset = in_palette(np.arange(256, dtype=np.uint8).reshape(16, 16), 16, segmented, False)
    keyword = "Segmented" * segmented + "RedPaletteColorLookupTableData"
    dataset[keyword].value += SECRET.encode() + b" "
    with pytest.raises(RadiographError) as caught:
        without_identity(content_of(dataset), "a", Limits(), b"k" * 32)
    assert caught.value.reason == "damaged"


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
        ("PresentationLUTShape", "CS", SECRET),
        ("PixelSpacingCalibrationType", "CS", SECRET),
        ("EstimatedRadiographicMagnificationFactor", "DS", SECRET),
        ("PixelPaddingValue", "LO", SECRET),
        ("HighBit", "LO", SECRET),
    ],
)
def test_text_in_the_place_of_numbers_and_of_known_words_goes(cleared, stored, keyword, vr, value):
    dataset = dicom(stored, WindowCenter=[1000, 2048], WindowWidth=[800, 3000])
    dataset.PixelSpacing, dataset.ImagerPixelSpacing = [1, 1], [0.2, 0.2]
    dataset.ShutterShape = "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = 3, 30
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = 2, 20
    in_letters(dataset, keyword, vr, value)
    cleared(dataset)


@pytest.mark.parametrize("vr", ["FD", "FL", "SS", "SL"])
def test_numbers_in_binary_stay(opened, stored, vr):
    numbers = {"RescaleSlope": -1, "RescaleIntercept": 4095, "NumberOfFrames": 2}
    numbers |= {"WindowCenter": [2000, 9], "WindowWidth": [1000, 9], "PixelSpacing": [2, 2]}
    numbers |= {"PixelSpacing": [0.1, 0.3]} if vr[0] == "F" else {}
    dataset = dicom(stored, PixelData=stored.tobytes() * 2)
    for keyword, value in numbers.items():
        dataset.add(DataElement(keyword, "US" if keyword == "NumberOfFrames" else vr, value))
    cleared_frames(opened, dataset)


def test_what_the_scale_and_the_polarity_are_told_by_stays(cleared, stored):
    tags = {"PixelSpacing": [1, 1], "ImagerPixelSpacing": [0.2, 0.2]}
    cleared(dicom(stored, PixelSpacingCalibrationType="GEOMETRY", **tags, **WINDOW))
    factor = {"EstimatedRadiographicMagnificationFactor": 1.25}
    cleared(dicom(stored, PresentationLUTShape="INVERSE", **factor, **tags, **WINDOW))


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
    ("KOPF", "SKULL"),
    ("PELVISI YILMAZ", "PELVIS"),
    ("PELVIS ABDOMENI YILMAZ", "ABDOMEN"),
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


def test_a_modality_that_is_none_of_dicoms_stays_where_it_is_read(cleared, stored):
    assert b"DR" in cleared(dicom(stored, Modality="DR", **WINDOW))


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


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("told", "kept"), [("NO", "NO"), ("YES", "YES"), ("yes", "YES"), (SECRET, None), (None, None)]
)
def test_identity_is_said_to_be_removed_only_where_no_text_is_in_the_pixels(
    cleared, stored, told, kept
):
    dataset = dicom(stored, PatientIdentityRemoved="YES", **WINDOW)
    if told:
        dataset.BurnedInAnnotation = told
    left = dcmread(io.BytesIO(cleared(dataset)))
    assert left.get("BurnedInAnnotation") == kept
    assert left.get("PatientIdentityRemoved") == ("YES" if kept == "NO" else None)
    assert "pixels not looked at" in left.DeidentificationMethod


def test_films_without_uids_are_not_taken_for_one_study(read, stored):
    """Both end in the same black rows."""
    black = stored.copy()
    black[-20:] = 0
    found = []
    for film in (black, np.where(black, black + 1, 0).astype(np.uint16)):
        dataset = dicom(film, **WINDOW)
        for keyword in {"StudyInstanceUID", "SeriesInstanceUID"} & {*dataset.dir()}:
            delattr(dataset, keyword)
        copy = dcmread(io.BytesIO(without_identity(content_of(dataset), "a", Limits(), b"key")))
        found += [copy.StudyInstanceUID, copy.SeriesInstanceUID]
    assert len(set(found)) == len(found)
