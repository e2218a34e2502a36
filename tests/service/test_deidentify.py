"""De-identification at the door: nothing that tells whose a radiograph is reaches the disk."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import compress
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from sqlalchemy import select

from dicom.helpers import DX, by_gdcm, compressed, content_of, dicom, encapsulated
from kirik.anonymous import without_identity
from kirik.errors import RadiographError
from kirik.radiograph import Limits, Radiograph, decode_radiographs
from kirik.service import intake, worklist
from kirik.service.access import LOCAL
from kirik.service.core import open_core
from kirik.service.tables import Study
from service.helpers import png, read_all, upload

SECRET = b"SECRET"
KEY = b"k" * 32


@pytest.fixture
def nameless(settings):
    core = open_core(settings.model_copy(update={"deidentify": True}))
    yield core
    core.close()


def film(shape=(120, 90)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return ((rows * 2 + columns) % 256).astype(np.uint8)


def image(kind: str, orientation: int = 1, **options) -> bytes:
    """A file full of what should not be known."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B], exif[0x010E] = orientation, "SECRET artist", "SECRET note"
    if "compression" not in options:  # libtiff would write these two as one
        exif.get_ifd(0x8769)[0x9286] = "SECRET comment"
        exif.get_ifd(0x8825)[29] = "SECRET place"
    file = io.BytesIO()
    if kind == "PNG":
        info = PngInfo()
        info.add_text("Author", "SECRET author")
        info.add_itxt("Comment", "SECRET")
        options["pnginfo"] = info
    if kind == "JPEG":
        options |= {"comment": b"SECRET comment", "quality": 90}
    if kind == "TIFF":
        exif[0x9C9D] = b"SECRET\0"
    Image.fromarray(film()).save(file, kind, exif=exif.tobytes(), **options)
    return file.getvalue() + b"SECRET after the end"


def told(dataset: Dataset | None = None) -> Dataset:
    """A DICOM file that tells all."""
    if dataset is None:
        dataset = dicom(np.tile(np.linspace(100, 4000, 64).astype(np.uint16), (64, 1)))
    dataset.SOPClassUID, dataset.Modality = DX, "DX"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "SECRET^Ayşe", "SECRET-1"
    dataset.InstitutionName = "SECRET hospital"
    dataset.ReferringPhysicianName = "SECRET^Doctor"
    dataset.StudyInstanceUID = "1.2.3.4.5.6.7.8"
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3.4.5.6.7.8.1", generate_uid()
    dataset.StudyDescription = "SECRET words"
    dataset.add_new(0x00091001, "LO", "SECRET private")
    item = Dataset()
    item.CodeMeaning, item.CodeValue, item.CodingSchemeDesignator = "Hand", "85562004", "SCT"
    item.PatientComments = "SECRET within"
    dataset.AnatomicRegionSequence = [item]
    return dataset


def cleared(content: bytes, like: bytes | None = None) -> tuple[bytes, Radiograph, Radiograph]:
    """The file without its secrets, and what `like` (else the file as it was) and it show, which
    are the same pixels."""
    clean = without_identity(content, "a", Limits(), KEY)
    assert SECRET not in clean
    before, after = (next(decode_radiographs(one, "a")) for one in (like or content, clean))
    assert np.array_equal(before.pixels, after.pixels)
    return clean, before, after


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_an_image_keeps_its_pixels_and_how_they_lie_and_nothing_else(kind, options, orientation):
    content = image(kind, orientation, **options)
    assert SECRET in content
    clean, before, after = cleared(content)
    assert before.orientation == after.orientation == orientation
    assert without_identity(clean, "a", Limits(), KEY) == clean


NOTES = (
    (0xE0, b"SECRET"),
    (0xE0, b"JFXX\0SECRET"),
    (0xE0, b"JFIF\0\1\2\0\0\1\0\1\1\2SECRET"),  # a small copy of 1 × 2 pixels
    (0xE8, b"SPIFF\0SECRET"),
    (0xEE, b"SECRET"),
    (0xEE, b"Adobe\0\x64\0\0\0\0\1SECRET"),
    (0xFE, b"SECRET"),
)


def with_note(jpeg: bytes, marker: int, note: bytes) -> bytes:
    segment = b"\xff" + bytes([marker]) + (len(note) + 2).to_bytes(2, "big") + note
    return jpeg[:2] + segment + jpeg[2:]


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize(("marker", "note"), NOTES)
@pytest.mark.parametrize("colours", [1, 3])
def test_a_note_in_any_segment_of_a_jpeg_goes_and_the_colours_stay(marker, note, colours):
    pixels = film() if colours == 1 else np.stack([film(), film()[::-1], film()[:, ::-1]], axis=2)
    content = with_note(jpeg(pixels), marker, note)
    clean = without_identity(content, "a", Limits(), KEY)
    assert SECRET not in clean
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (content, clean))
    assert np.array_equal(before, after)
    plain = jpeg(pixels)
    assert without_identity(plain, "a", Limits(), KEY) == plain


@pytest.mark.parametrize(("marker", "note"), NOTES)
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEGLossless])
def test_a_note_in_a_dicoms_jpeg_frames_goes_and_the_pixels_stay(syntax, marker, note, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (120, 90), dtype=np.uint8)
    films = [film(), noise]
    if syntax == JPEGBaseline8Bit:
        frames = [jpeg(one) for one in films]
    elif syntax == JPEGLSLossless:
        written = [dicom(one, 8) for one in films]
        for dataset in written:
            compress(dataset, syntax)
        frames = [next(generate_frames(one.PixelData, number_of_frames=1)) for one in written]
    else:
        written = by_gdcm(dicom(noise, 8), tmp_path, "JPEGLosslessProcess14_1")
        data = dcmread(io.BytesIO(written)).PixelData
        frames = [next(generate_frames(data, number_of_frames=1))] * 2
    plain = encapsulated(films[0], syntax, *frames, bits=8, NumberOfFrames=2)
    noted = [with_note(one, marker, note) for one in frames]
    content = content_of(told(encapsulated(films[0], syntax, *noted, bits=8, NumberOfFrames=2)))
    clean = without_identity(content, "a", Limits(), KEY)
    assert SECRET in content
    assert SECRET not in clean
    for one, other in zip(
        decode_radiographs(content_of(told(plain)), "a"),
        decode_radiographs(clean, "a"),
        strict=True,
    ):
        assert np.array_equal(one.pixels, other.pixels)


def test_a_dicom_file_keeps_what_a_reading_needs_and_nothing_else():
    content = content_of(told())
    assert SECRET in content
    clean, _, _ = cleared(content)
    assert b"1.2.3.4.5.6.7.8" not in clean
    left = dcmread(io.BytesIO(clean))
    assert (left.PatientName, left.PatientID) == ("", "")
    assert left.AnatomicRegionSequence[0].CodeMeaning == "Hand"
    again = dcmread(io.BytesIO(without_identity(content, "a", Limits(), KEY)))
    other = dcmread(io.BytesIO(without_identity(content, "a", Limits(), b"other")))
    assert again.StudyInstanceUID == left.StudyInstanceUID != other.StudyInstanceUID


@pytest.mark.parametrize("cut", [0, 1, 2, 10, 100, 300, -100, -1])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "DICOM"])
def test_damaged_bytes_end_in_a_refusal_or_in_something_nameless(kind, cut):
    from kirik.errors import RadiographError

    content = (content_of(told()) if kind == "DICOM" else image(kind))[:cut]
    try:
        left = without_identity(content, "a", Limits(), KEY)
    except RadiographError as error:
        left = str(error).encode()
    assert SECRET not in left


def test_nothing_of_a_patient_reaches_the_disk_or_the_database(nameless):
    core = nameless
    files = [upload("SECRET.dcm", content_of(told())), upload("SECRET.jpg", image("JPEG"))]
    taken = intake.take_in(core, files, "ct")
    assert len(taken.accepted) == 2
    with core.database.reading() as session:
        rows = list(session.scalars(select(Study).order_by(Study.id)))
        kept = " ".join(str(value) for row in rows for value in vars(row).values())
    assert "SECRET" not in kept
    assert all(row.patient_name is None and row.patient_id is None for row in rows)
    assert rows[0].exam
    for path in core.settings.data.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_bytes()
    read_all(core)
    with core.database.reading() as session:
        states = list(session.scalars(select(Study.state)))
    assert states == ["read", "read"]
    again = intake.take_in(core, [upload("x.dcm", content_of_first(files))], "ct")
    assert [one.new for one in again.accepted] == [False]


def content_of_first(files) -> bytes:
    files[0].file.seek(0)
    return files[0].file.read()


def test_what_cannot_be_made_nameless_is_refused_and_not_kept(nameless):
    damaged = b"\xff\xd8\xff SECRET" * 9
    taken = intake.take_in(nameless, [upload("a.jpg", damaged), upload("b.png", png(0.5))], "ct")
    assert [one.name for one in taken.refused] == ["a.jpg"]
    assert len(list((nameless.settings.data / "blobs").glob("??/*"))) == 1
    assert not list((nameless.settings.data / "incoming").iterdir())


def test_without_it_the_patient_is_kept_and_files_of_one_dicom_study_are_one_exam(core):
    files = [upload("a.dcm", content_of(told())), upload("b.dcm", content_of(told()))]
    taken = intake.take_in(core, files, "ct")
    assert not taken.refused
    with core.database.reading() as session:
        rows = list(session.scalars(select(Study)))
        found = worklist.page(session, LOCAL, worklist.Filters(q="ayse secret-1"))
    assert {row.patient_name for row in rows} == {"SECRET Ayşe"}
    assert {row.patient_id for row in rows} == {"SECRET-1"}
    assert len({row.exam for row in rows}) == 1
    assert len(found.studies) == 2


def test_no_patient_is_named_in_the_trail(core):
    from kirik.service.tables import Entry

    intake.take_in(core, [upload("SECRET.dcm", content_of(told()))], "ct")
    read_all(core)
    with core.database.reading() as session:
        lines = [f"{e.subject} {e.details}" for e in session.scalars(select(Entry))]
    assert lines
    assert not any("SECRET" in line for line in lines)


def test_a_tiff_that_does_not_say_how_large_its_pixels_are_keeps_them():
    content = bytearray(image("TIFF"))
    place = struct.unpack_from("<I", content, 4)[0]
    for n in range(struct.unpack_from("<H", content, place)[0]):
        at = place + 2 + 12 * n
        if struct.unpack_from("<H", content, at)[0] == 279:
            struct.pack_into("<H", content, at, 0x9C9C)  # none that anyone knows
    clean = without_identity(bytes(content), "a", Limits(), KEY)
    assert SECRET not in clean
    assert np.array_equal(next(decode_radiographs(clean, "a")).levels, film())


def test_colours_that_are_not_halved_as_the_file_says_stay_refused():
    pixels = np.zeros((64, 64, 3), np.uint8)
    dataset = told(dicom(pixels[..., 0], 8))
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation, dataset.PixelData = "YBR_FULL_422", pixels.tobytes()
    with pytest.raises(RadiographError, match="damaged"):
        without_identity(content_of(dataset), "a", Limits(), KEY)


def test_what_nothing_in_a_tiff_points_to_any_more_goes():
    """As an editor leaves it that writes its directory anew, at the end."""
    content = bytearray(image("TIFF"))
    place = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, place)[0]
    directory = content[place : place + 6 + 12 * count]
    content += b"\0" * (len(content) % 2)
    struct.pack_into("<I", content, 4, len(content))
    content[place : place + 8] = b"SECRET!!"
    content += directory
    clean = without_identity(bytes(content), "a", Limits(), KEY)
    assert SECRET not in clean
    assert np.array_equal(next(decode_radiographs(clean, "a")).levels, film())


def test_a_comment_in_a_tiffs_jpeg_goes():
    content = image("TIFF", compression="jpeg")
    at = content.index(b"\xff\xda")  # a strip's scan: a table before it gives its place to a note
    start = content.rindex(b"\xff\xd8", 0, at)
    note = b"\xff\xfe\0\x0aSECRET!!"
    tags = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, tags)[0]
    end = content.index(b"\xff\xd9", at) + 2
    noted = content[:start] + b"\xff\xd8" + note + content[start + 2 : end] + content[end:]
    directory = bytearray(content[tags : tags + 6 + 12 * count])
    for n in range(count):
        tag, _, _, value = struct.unpack_from("<HHII", directory, 2 + 12 * n)
        if tag == 279 or (value > start and tag in (347, 258, 282, 283, 530, 532)):
            struct.pack_into("<I", directory, 2 + 12 * n + 8, value + len(note))
    if tags > start:
        noted = noted[:4] + struct.pack("<I", tags + len(note)) + noted[8:]
        place = tags + len(note)
        noted = noted[:place] + bytes(directory) + noted[place + len(directory) :]
    cleared(noted, content)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless, None])
def test_notes_beside_a_dicoms_pixels_go(syntax):
    pixels = np.tile(np.linspace(100, 4000, 64).astype(np.uint16), (64, 1))
    if syntax is None:
        content = told(dicom(pixels))
        content.PixelData += b"SECRET behind the pixels"
    else:
        content = told(compressed(pixels, syntax))
        [frame] = generate_frames(content.PixelData, number_of_frames=1)
        if syntax == JPEG2000Lossless:
            note = b"\xff\x64\0\x0e\0\x01SECRET: A."
            at = 4 + struct.unpack_from(">H", frame, 4)[0]  # after SIZ
            frame = frame[:at] + note + frame[at:].rstrip(b"\0") + b"SECRET behind its end"
        else:
            frame += b"SECRET behind the last plane"
        content.PixelData = encapsulate([frame])
    content = content_of(content)
    assert SECRET in content
    cleared(content)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_frames_stay_as_they_are(syntax):
    pixels = np.tile(np.linspace(100, 4000, 64).astype(np.uint16), (64, 1))
    content = content_of(told(compressed(pixels, syntax)))
    cleared(content)


@pytest.mark.parametrize(
    "options",
    [{"implicit_vr": True, "little_endian": True}, {"implicit_vr": False, "little_endian": False}],
)
def test_other_encodings_read_the_same_afterwards(options):
    dataset = told()
    implicit, big = options["implicit_vr"], not options["little_endian"]
    dataset.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if implicit else ExplicitVRBigEndian
    )
    if big:
        pixels = np.frombuffer(dataset.PixelData, np.uint16)
        dataset.PixelData = pixels.astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    content = content_of(dataset, **options)
    cleared(content)
