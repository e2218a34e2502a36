"""Whose a DICOM file is; and the same file with nothing in it that tells.

To be called in the decoding child alone: the files come from anywhere.
"""

import hashlib
import hmac
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import index

import numpy as np
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from kirik.dicom import checked_frames, colored, frame_name, holds_pixels, with_our_errors
from kirik.dicom.frames import (
    compressed_frames,
    decoded_samples,
    plain_frames,
    refuse_compression,
)
from kirik.dicom.grays import BINARY, number, numbers
from kirik.dicom.groups import MACROS, lay_shared_groups
from kirik.dicom.parsing import (
    FRAMES_GROUPS,
    bound_sequences,
    bounded_source,
    first_items,
    parsed,
)
from kirik.dicom.samples import Samples
from kirik.dicom.scope import (
    body_part_examined,
    in_turkish_letters,
    keep_known_codes,
    without_names,
)
from kirik.errors import RadiographError
from kirik.nameless import nameless_j2k, nameless_jpeg, nameless_rle
from kirik.radiograph import Limits

_WHOSE = ["SpecificCharacterSet", "PatientName", "PatientID", "StudyInstanceUID"]
_UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
_SYNTAX = "1.2.840.10008.1.2.4."
_JPEGS = tuple(f"{_SYNTAX}{end}" for end in (50, 51, 53, 55, 57, 70, 80, 81))
_JPEGS_2000 = tuple(f"{_SYNTAX}{end}" for end in (90, 91, 92, 93, 201, 202, 203))
"""Transfer syntaxes whose frames have room for notes: JPEG and JPEG-LS, and JPEG 2000."""
_COLORS = ("Red", "Green", "Blue")
_WHOLE_NUMBERS = ("US", "SS", "US or SS")
_WITHIN_ITEMS = frozenset(
    Tag(keyword)
    for keyword in (
        *("CodeValue", "CodingSchemeDesignator", "CodeMeaning"),
        *("LUTDescriptor", "LUTData", "ModalityLUTType"),
    )
)
"""What may stay within the sequences that a reading looks at."""
_WORDS = {
    "SOPClassUID": r"[0-9.]{1,64}",
    "PhotometricInterpretation": r"(MONOCHROME[12]|PALETTE COLOR|A?RGB|CMYK|HSV|XYB|YBR_[IR]CT|"
    r"YBR_(FULL|PARTIAL)(_42[02])?)",
    "ShutterShape": r"(RECTANGULAR|CIRCULAR|POLYGONAL|BITMAP)",
    "PixelSpacingCalibrationType": r"(GEOMETRY|FIDUCIAL)",
    "PresentationLUTShape": r"(IDENTITY|INVERSE)",
    "VOILUTFunction": r"(LINEAR|LINEAR_EXACT|SIGMOID)",
    "PresentationIntentType": r"FOR (PRESENTATION|PROCESSING)",
    "SpecificCharacterSet": r"(ISO[ _]?(2022[ _]?)?IR[ _-]?\d{1,3}|GB18030|GBK|)",
    "ModalityLUTType": r"(OD|HU|US|MGML|Z_EFF|ED|EDW|HU_MOD|PCT)",
}
"""Elements of a few known words: what else is told there, a reading passes over."""
_MODALITIES = r"(CR|DX|RG|DR|XR|OT|SC|CT|MR|US|MG|XA|RF|NM|PT|PX|IO|SR|PR|KO|SEG|DOC|ECG|)"


@dataclass(frozen=True)
class Identity:
    """What a file says of its patient and its study; None where it says nothing."""

    patient_name: str | None
    patient_id: str | None
    study_uid: str | None


def identity(data: bytes, name: str, limits: Limits) -> Identity:
    """Whose a DICOM file's bytes are. Raises RadiographError (damaged)."""
    dataset = _read(data, name, limits, _WHOSE, stop_before_pixels=True)
    values = (_text(dataset, keyword) for keyword in _WHOSE[1:])
    return Identity(*values)


def anonymous(data: bytes, name: str, limits: Limits, key: bytes) -> bytes:
    """The file with only what a reading looks at, which names no patient, place or person.

    key: a secret by which UIDs become others, the same ones always the same. What is written into
    the pixels themselves stays. Raises RadiographError, also where compressed pixels would have to
    be looked at and cannot be decoded.
    """
    return with_our_errors(partial(_anonymous, data, name, limits, key), name)


def _anonymous(data: bytes, name: str, limits: Limits, key: bytes) -> bytes:
    dataset = parsed(data, name, limits)
    lay_shared_groups(dataset)
    _keep_numbers(dataset)
    _keep_known_parts(dataset)
    found = _read(data, name, limits, [*_UIDS, "BurnedInAnnotation"], stop_before_pixels=True)
    _keep_what_is_known(dataset)
    for groups in dataset.get(FRAMES_GROUPS) or ():
        _keep_known_groups(groups)
    for keyword in _UIDS:
        own = found.get(keyword) or f"{keyword} of {hashlib.sha256(data).hexdigest()}"
        setattr(dataset, keyword, _other(str(own), key))
    _clear_pixels(dataset, name, limits)
    dataset.PatientName = dataset.PatientID = ""
    _tell_what_was_removed(dataset, str(found.get("BurnedInAnnotation") or "").strip().upper())
    return _written(dataset)


def _tell_what_was_removed(dataset: Dataset, burned_in: str) -> None:
    """burned_in: whether the file says that text is in its pixels, YES or NO, or nothing of it."""
    dataset.DeidentificationMethod = "kirik: only what a reading needs; pixels not looked at"
    if burned_in in ("YES", "NO"):
        dataset.BurnedInAnnotation = burned_in
    # By the standard it is of pixels as well as of tags, and nobody has looked at those.
    if burned_in == "NO":
        dataset.PatientIdentityRemoved = "YES"


def _keep_numbers(dataset: Dataset) -> None:
    """Let elements of numbers in letters hold nothing else, and numbers that some write in binary
    instead become letters; the place of what is none stays."""
    for tag in list(dataset.keys()):
        letters = dictionary_VR(tag)
        if letters not in ("DS", "IS"):
            continue
        element = dataset.get_item(tag)
        if not isinstance(element.value, bytes):
            del dataset[tag]
            continue
        parts = element.value.decode("latin-1").split("\\")
        binary = element.VR in BINARY and element.value
        if binary:
            parts = [f"{one:.17g}" for one in numbers(dataset, tag)]
        kept = [part if np.isfinite(number(part)) else "" for part in parts]
        if kept == parts and not binary:
            continue
        if tag == Tag("NumberOfFrames") and kept != parts:
            raise ValueError("a number of frames that is none")
        text = "\\".join(kept).encode("latin-1")
        text += b" " * (len(text) % 2)
        dataset[tag] = element._replace(VR=letters, value=text, length=len(text))


def _keep_known_parts(dataset: Dataset) -> None:
    """Let the body part and the modality be told in known words alone."""
    told = body_part_examined(dataset)
    kept = without_names(told)
    if kept != told.strip():
        del dataset.BodyPartExamined
        if kept:
            dataset.BodyPartExamined = kept
    if not re.fullmatch(_MODALITIES, str(dataset.get("Modality") or "").strip().upper()):
        dataset.Modality = "OTHER"  # which is refused as well


def _keep_what_is_known(dataset: Dataset) -> None:
    """Drop words that no reading knows, numbers that are none, and what else items hold."""
    for element in list(dataset):
        known = _WORDS.get(element.keyword)
        values = element.value if element.VM > 1 else [element.value]
        kept = [one for one in values if known and re.fullmatch(known, str(one).strip().upper())]
        if known and len(kept) < len(values):
            del dataset[element.tag]
            if kept and element.keyword == "ShutterShape":  # each of which counts by itself
                dataset.ShutterShape = kept
        elif dictionary_VR(element.tag) in _WHOLE_NUMBERS:
            if not all(isinstance(one, int) for one in values):
                del dataset[element.tag]
        elif element.VR == "SQ" and element.keyword != FRAMES_GROUPS:
            for item in element.value:
                _reduce(item)


def _keep_known_groups(groups: Dataset) -> None:
    """Let a frame's functional groups hold what a reading looks at, and that as the file itself."""
    told = {macro: first_items(groups, macro, 1) for macro in MACROS if macro in groups}
    groups.clear()
    for macro, items in told.items():
        for item in items:
            for tag in set(item.keys()) - {Tag(keyword) for keyword in MACROS[macro]}:
                del item[tag]
            bound_sequences(item)
            _keep_numbers(item)
            _keep_what_is_known(item)
        groups[macro] = DataElement(Tag(macro), "SQ", items)


def _reduce(item: Dataset) -> None:
    for tag in list(item.keys()):
        if tag not in _WITHIN_ITEMS:
            del item[tag]
    keep_known_codes(item)
    if not re.fullmatch(_WORDS["ModalityLUTType"], str(item.get("ModalityLUTType"))):
        item.pop("ModalityLUTType", None)
    if "LUTData" not in item:
        return
    try:
        entries, _, _ = (index(one) for one in item.LUTDescriptor)
        entries = entries % 2**16 or 2**16
    except (ValueError, TypeError, AttributeError):  # no reading uses it then
        del item.LUTData
        return
    table = item.LUTData
    if isinstance(table, bytes):  # of a byte or two for each entry
        length = entries if len(table) < 2 * entries else 2 * entries
        item.LUTData = table[:length] + b"\0" * (length % 2)
    elif not isinstance(table, int):
        item.LUTData = list(table)[:entries]


def _clear_pixels(dataset: Dataset, name: str, limits: Limits) -> None:
    """Let the elements of pixels and palette hold them alone. Raises RadiographError for pixels
    that no reading could look at."""
    refuse_compression(dataset, name)
    count = checked_frames(dataset, name, limits) if holds_pixels(dataset) else 0
    _clear_palette(dataset, count)
    if not count:
        return
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _JPEGS:
        clear_of = nameless_jpeg
    elif syntax in _JPEGS_2000:
        clear_of = nameless_j2k
    elif syntax == RLELossless:
        clear_of = partial(nameless_rle, dataset.Rows * dataset.Columns)
    else:
        plain_frames(dataset, count, name)
        _cut_behind_pixels(dataset)
        _clear_unused_bits(dataset)
        return
    _clear_frames(dataset, count, name, clear_of)
    unused = dataset.BitsStored < dataset.BitsAllocated
    if unused and any(one.holds_more() for one in _decoded(dataset, count, name, limits)):
        _decompress(dataset, count, name, limits)


def _clear_palette(dataset: Dataset, count: int) -> None:
    """Let a palette be the colours that its pixels are shown in, and no other file have one."""
    colors = None
    if count and dataset.PhotometricInterpretation == "PALETTE COLOR":
        entries, first, _ = (index(one) for one in dataset.RedPaletteColorLookupTableDescriptor)
        places = np.arange(first, first + (entries or 2**16), dtype=np.int32)
        order = "<" if dataset.original_encoding[1] else ">"
        colors = colored(places, dataset)
        colors = colors.astype(colors.dtype.newbyteorder(order))
    for place, color in enumerate(_COLORS):
        keyword = f"{color}PaletteColorLookupTableData"
        for one in (keyword, f"Segmented{keyword}", f"{color}PaletteColorLookupTableDescriptor"):
            if colors is None or not one.endswith("Descriptor"):
                dataset.pop(one, None)
        if colors is not None:
            dataset[keyword] = DataElement(Tag(keyword), "OW", colors[:, place].tobytes())


def _decoded(dataset: Dataset, count: int, name: str, limits: Limits) -> Iterator[Samples]:
    for at, frame in enumerate(compressed_frames(dataset, range(count), count, name)):
        called = frame_name(name, at, count)
        yield with_our_errors(partial(decoded_samples, frame, dataset, called, limits), called)


def _decompress(dataset: Dataset, count: int, name: str, limits: Limits) -> None:
    """Let the pixels be plain, of nothing but the bits stored: no codec that kirik has writes each
    transfer syntax anew."""
    size = dataset.BitsAllocated // 8
    length = count * dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * size
    if length > limits.file_bytes:
        raise RadiographError(
            f"{name}: something lies beside the bits of its pixels that are used, and without it, "
            f"uncompressed, they are more than {limits.file_bytes / 2**20:,.0f} MiB; export each "
            "frame as a file of its own",
            reason="too_large",
        )
    kind = f"<{'i' if dataset.PixelRepresentation == 1 else 'u'}{size}"
    frames = _decoded(dataset, count, name, limits)
    plain = b"".join(one.stored().astype(kind).tobytes() for one in frames)
    plain += b"\0" * (len(plain) % 2)
    dataset["PixelData"] = DataElement(Tag("PixelData"), "OB" if size == 1 else "OW", plain)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if dataset.SamplesPerPixel == 3:  # as which all colours are decoded
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0


def _cut_behind_pixels(dataset: Dataset) -> None:
    """What lies behind uncompressed pixels is not the picture. Raises ValueError where so much lies
    there that it must be: of colours said to be halved, but whole."""
    length, there = get_expected_length(dataset), len(dataset.PixelData)
    whole = get_expected_length(dataset, unit="pixels") * dataset.BitsAllocated // 8
    if length < whole <= there:
        raise ValueError("more pixels than the file says")
    dataset.PixelData = dataset.PixelData[: length + length % 2]


def _clear_unused_bits(dataset: Dataset) -> None:
    """Let uncompressed samples hold nothing but the bits stored, as a reading sees them: old files
    have overlays in the others, with names in them."""
    width = dataset.BitsAllocated
    if not dataset.PixelData:
        return
    order = "<" if dataset.original_encoding[1] else ">"
    kind = "i" if dataset.get("PixelRepresentation") == 1 else "u"
    even = dataset.PixelData[: len(dataset.PixelData) // (width // 8) * (width // 8)]
    values = np.frombuffer(even, f"{order}{kind}{width // 8}").astype(f"={kind}{width // 8}")
    kept = Samples.told(values, dataset).placed()
    if not np.array_equal(kept, values):
        clear = kept.astype(f"{order}{kind}{width // 8}").tobytes()
        dataset.PixelData = clear + dataset.PixelData[len(clear) :]


def _clear_frames(
    dataset: Dataset, count: int, name: str, clear_of: Callable[[bytes], bytes]
) -> None:
    """Take notes out of the compressed frames, and leave what lies in offset tables and besides."""
    frames = compressed_frames(dataset, range(count), count, name)
    dataset.PixelData = encapsulate([clear_of(frame.removesuffix(b"\0")) for frame in frames])


def _written(dataset: Dataset) -> bytes:
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or UID(
        "1.2.840.10008.5.1.4.1.1.7"
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = None
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _other(uid: str, key: bytes) -> str:
    digest = hmac.new(key, uid.encode("utf-8", "replace"), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _read(data: bytes, name: str, limits: Limits, keywords: list[str], **options) -> Dataset:
    try:
        source = bounded_source(data, name, limits)
        return dcmread(source, force=True, specific_tags=keywords, **options)
    except RadiographError:
        raise
    except Exception:
        raise _damaged(name) from None


def _text(dataset: Dataset, keyword: str) -> str | None:
    try:
        if dataset.get("SpecificCharacterSet") in (None, "", "ISO_IR 6"):
            value = in_turkish_letters(dataset, keyword)
        else:
            value = str(dataset.get(keyword) or "")
    except Exception:  # a broken character set
        return None
    return " ".join(value.strip("\0").replace("^", " ").split()) or None


def _damaged(name: str) -> RadiographError:
    message = f"{name}: a damaged DICOM file; export or send it again"
    return RadiographError(message, reason="damaged")
