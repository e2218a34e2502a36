"""DICOM bytes into a data set of what kirik looks at, within bounds.

Only the elements in `_TAGS` are read: what names a patient stays in the file's bytes, and so
cannot reach an error.
"""

import io
import zlib
from itertools import islice

from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.filereader import read_dataset, read_preamble, read_sequence_item
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kirik.errors import RadiographError
from kirik.limits import Limits

SHARED_GROUPS = "SharedFunctionalGroupsSequence"
FRAMES_GROUPS = "PerFrameFunctionalGroupsSequence"
_SEQUENCES = ("AnatomicRegionSequence", "ModalityLUTSequence", "VOILUTSequence")
_COLORS = ("Red", "Green", "Blue")
_TAGS = [
    *("SOPClassUID", "Modality", "PresentationIntentType"),
    *("BodyPartExamined", "AnatomicRegionSequence"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth"),
    "PresentationLUTShape",
    *(f"{color}PaletteColorLookupTableDescriptor" for color in _COLORS),
    *(f"{color}PaletteColorLookupTableData" for color in _COLORS),
    *(f"Segmented{color}PaletteColorLookupTableData" for color in _COLORS),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    *("PixelSpacingCalibrationType", "EstimatedRadiographicMagnificationFactor"),
    "PixelAspectRatio",
    *("ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge"),
    *("ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge"),
    *("CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *(SHARED_GROUPS, FRAMES_GROUPS),
]
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_PLAIN = (
    "",
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_UNDEFINED, _ITEM = 0xFFFFFFFF, b"\xfe\xff\0\xe0"
_READS, _BYTES_A_READ = 200_000, 4096
_FEW_READS, _MOST_ITEMS = 2000, 32
_PIECE = 16 * 2**20


def parsed(data: bytes, name: str, limits: Limits) -> Dataset:
    """The file's data set; its transfer syntax is the one it is written in, also where untold, its
    photometric interpretation in capitals, and its sequences no longer than a reading looks at.

    Raises RadiographError, and nearly anything else for damaged bytes.
    """
    try:
        dataset = dcmread(bounded_source(data, name, limits), force=True, specific_tags=_TAGS)
    except EOFError:
        raise truncated(name) from None
    implicit, little = dataset.original_encoding
    if not _is_encapsulated(dataset):
        # Some files tell one encoding and are written in another; the parser saw which.
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        written = ImplicitVRLittleEndian if implicit else explicit
        dataset.file_meta.TransferSyntaxUID = written
    if isinstance(dataset.get("PhotometricInterpretation"), str):  # some write "Monochrome2"
        told = dataset.PhotometricInterpretation.strip(" \0").upper()
        dataset.PhotometricInterpretation = told
    _bound(dataset, SHARED_GROUPS, 1, _READS)
    _bound(dataset, FRAMES_GROUPS, limits.frames, _READS)
    bound_sequences(dataset)
    return dataset


def _is_encapsulated(dataset: Dataset) -> bool:
    """Whether the pixels are fragments, as all that is compressed is; the bytes tell it best."""
    told = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if "PixelData" not in dataset:
        return bool(told) and told not in _PLAIN
    element = dataset.get_item("PixelData")
    if getattr(element, "length", 0) == _UNDEFINED:
        if told in _PLAIN:
            raise ValueError("fragments in a transfer syntax that has none")
        return True
    return told not in _PLAIN and (element.value or b"")[:4] == _ITEM


def bound_sequences(dataset: Dataset) -> None:
    """Let those sequences that functional groups may hold as well be their first items, parsed."""
    for keyword in _SEQUENCES:
        _bound(dataset, keyword, _MOST_ITEMS, _FEW_READS)


def _bound(dataset: Dataset, keyword: str, most: int, reads: int) -> None:
    if keyword in dataset:
        items = first_items(dataset, keyword, most, reads)
        dataset[keyword] = DataElement(Tag(keyword), "SQ", items)


def first_items(dataset: Dataset, keyword: str, most: int, reads: int = _FEW_READS) -> Sequence:
    """At most so many of a sequence's items, none if it is absent or no sequence.

    Not by pydicom, which parses a sequence that tells its length when it is looked at, all of it
    at once, however many items and elements it has. Raises ValueError, and others, for damaged
    bytes, and for those that take more than so many reads.
    """
    items = Sequence()
    element = dataset.get_item(keyword) if keyword in dataset else None
    if element is None or not element.value or element.VR not in (None, "SQ", "UN"):
        return items
    if isinstance(element, DataElement):
        # Copies: what is looked at is decoded for good, by rules that do not suit each reader.
        items.extend(item[:] for item in islice(element.value, most))
        return items
    source = _Bounded(element.value, reads)
    written = element.is_implicit_VR, element.is_little_endian, dataset.original_character_set
    while len(items) < most and source.tell() < len(element.value):
        item = read_sequence_item(source, *written)
        if item is None:
            break
        items.append(item)
    return items


def share_pixels(dataset: Dataset) -> None:
    """Let plain pixels be a view of the file's bytes, in the place of the parser's copy of them."""
    if "PixelData" in dataset and not _is_encapsulated(dataset):
        element = dataset.get_item("PixelData")
        content = memoryview(dataset.buffer.getvalue())[element.value_tell :]
        dataset["PixelData"] = element._replace(value=content[: len(element.value or b"")])


def truncated(name: str) -> RadiographError:
    message = f"{name}: truncated, the DICOM file ends before its pixels; send or copy it again"
    return RadiographError(message, reason="truncated")


class _Bounded(io.BytesIO):
    """Bytes that may be read only so many times.

    Each element and each item of a sequence, however deep, costs the parser a read or more and
    some hundred bytes of memory. A radiograph has hundreds of them, a hostile file could have
    one in every eight bytes.
    """

    def __init__(self, data: bytes = b"", reads: int = _READS):
        super().__init__(data)
        self._reads = reads
        self.allow(len(data))

    def allow(self, length: int) -> None:
        """As many reads as so many bytes of a radiograph may take."""
        self._left = self._reads + length // _BYTES_A_READ

    def read(self, size: int | None = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise ValueError("more elements than a radiograph has")
        return super().read(size)


def bounded_source(data: bytes, name: str, limits: Limits) -> _Bounded:
    """The file to parse; a deflated one not deflated, as pydicom would inflate it in one go,
    whatever it takes."""
    if _DEFLATED not in data:
        return _Bounded(data)
    source = io.BytesIO(data)
    read_preamble(source, force=True)
    meta = read_dataset(source, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    told = str(meta.get("TransferSyntaxUID") or "")
    if not told:
        raise ValueError("no transfer syntax where one was expected")
    if told != _DEFLATED.decode():
        return _Bounded(data)
    plain = ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
    inflated = _Bounded()
    inflated.write(data[: source.tell()].replace(_DEFLATED, plain))
    _inflate(memoryview(data)[source.tell() :], inflated, name, limits)
    inflated.allow(inflated.tell())
    inflated.seek(0)
    return inflated


def _inflate(body: memoryview, into: io.BytesIO, name: str, limits: Limits) -> None:
    """In pieces, so that not more is ever held than the limit."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflate.eof:
        piece = inflate.decompress(body, _PIECE)
        if not piece and not inflate.eof:
            raise truncated(name)
        if into.tell() + len(piece) > limits.file_bytes:
            message = f"{name}: inflates to more than {limits.file_bytes / 2**20:,.0f} MiB"
            raise RadiographError(f"{message}; export it smaller", reason="too_large")
        into.write(piece)
        body = inflate.unconsumed_tail
