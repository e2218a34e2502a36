"""The stored values of one frame: cut out of the pixel data, and decompressed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from struct import Struct

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID

from kirik.dicom.codestream import (
    Codestream,
    bare_jpeg,
    bare_jpeg_2000,
    checked,
    ended,
    lengthened,
    of_8_bits,
    stream_truncated,
    unfilled,
)
from kirik.dicom.parsing import truncated
from kirik.dicom.samples import Samples
from kirik.errors import RadiographError
from kirik.jpeg import CutOff, Source, demand_whole
from kirik.radiograph import Limits

_JPEG, _JPEG_LS = "JPEG", "pyjpegls"
_SYNTAXES = {f"1.2.840.10008.1.2.4.{end}": _JPEG for end in (50, 51, 53, 55, 57, 70)} | {
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""Transfer syntax → who decodes it: Pillow and GDCM for a JPEG, else one plugin of pydicom.

One and always the same: whichever is installed must not change a radiograph's pixels.
"""
_HEADER = Struct("<4sI")
_ITEM, _DELIMITER = b"\xfe\xff\0\xe0", b"\xfe\xff\xdd\xe0"
_MOST_FRAGMENTS = 100_000
_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP"),
    *(bytes([segments, 0, 0, 0, 64, 0, 0, 0]) for segments in range(1, 16)),
)
"""Of a frame as JPEG or JPEG-LS, as JPEG 2000, bare or in boxes, and as RLE: its segments' number,
and where the first lies."""
_PROGRESSIVE = 0xC2
_WARNED_OF = b"\xff\x01\0"
"""A marker that means nothing, and a byte that belongs nowhere, of which libjpeg warns once."""
_OTHER_BITS = bytes(range(0xA5, 0xE5))
"""Unlike the zeros that libjpeg puts where codes end too early, and so varied that no table of
codes makes the same samples of them."""


def refuse_compression(dataset: Dataset, name: str) -> None:
    """Raise for a transfer syntax that kirik does not read at all."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax in _SYNTAXES or not _is_encapsulated(dataset):
        return
    how = syntax.name if syntax.name != syntax else "an unknown method"
    message = f"{name}: compressed with {how}, which kirik cannot decode; decompress it first"
    raise RadiographError(message, reason="unsupported")


def frame_samples(dataset: Dataset, index: int, count: int, name: str, limits: Limits) -> Samples:
    """Those of frame `index` of `count`, from 0.

    Raises RadiographError, and nearly anything else for damaged bytes.
    """
    if not _is_encapsulated(dataset):
        return Samples.told(_native(dataset, index, count, name), dataset)
    [frame] = compressed_frames(dataset, [index], count, name)
    return decoded_samples(frame, dataset, name, limits)


def decoded_samples(frame: bytes, dataset: Dataset, name: str, limits: Limits) -> Samples:
    """Those of a frame's compressed bytes. Raises as `frame_samples` does."""
    codec = _SYNTAXES[dataset.file_meta.TransferSyntaxUID]
    if codec == _JPEG:
        frame = ended(frame)
    stream = checked(frame, dataset, name, limits)
    if codec == _JPEG:
        values = _decoded_jpeg(frame, stream, dataset, name)
    else:
        values = _decoded(frame, stream, codec, dataset)
    return Samples.told(values, dataset, stream)


def _decoded(frame: bytes, stream: Codestream | None, codec: str, dataset: Dataset) -> np.ndarray:
    """Of RLE, JPEG-LS and JPEG 2000."""
    if (stream is None) != (codec == "pydicom"):
        raise ValueError("a stream of another kind than the transfer syntax says")
    if stream and not stream.process:
        frame = bare_jpeg_2000(frame)
    options = _options(dataset)
    if stream and stream.is_transformed:  # and so comes out as RGB, whatever the file tells
        options["photometric_interpretation"] = "RGB"
    decode = partial(_by_pydicom, dataset=dataset, codec=codec, options=options)
    try:
        return decode(frame)
    except RuntimeError:
        if codec != _JPEG_LS:
            raise
        return decode(unfilled(frame))


def _by_pydicom(frame: bytes, dataset: Dataset, codec: str, options: dict) -> np.ndarray:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    whole = encapsulate([frame], has_bot=False)
    return decoder.as_array(whole, index=0, decoding_plugin=codec, **options)[0]


def _is_encapsulated(dataset: Dataset) -> bool:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    return not syntax.is_transfer_syntax or syntax.is_encapsulated


def _options(dataset: Dataset) -> dict:
    """A frame's description as pydicom's decoders take it."""
    options = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": dataset.SamplesPerPixel,
        "photometric_interpretation": str(dataset.PhotometricInterpretation),
        "pixel_representation": dataset.PixelRepresentation,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,  # by `Samples`, which know the high bit
    }
    if dataset.SamplesPerPixel > 1:
        options["planar_configuration"] = dataset.get("PlanarConfiguration") or 0
    return options


def plain_frames(dataset: Dataset, count: int, name: str) -> int:
    """How many of `count` frames plain pixels hold. Raises RadiographError where they hold more."""
    samples = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        samples = samples * 2 // 3
    length = samples * dataset.BitsAllocated // 8
    held = len(dataset.get_item("PixelData").value) // length
    if held > count:  # less than a frame merely fills up
        raise _miscounted(count, held, name)
    return held


def _native(dataset: Dataset, index: int, count: int, name: str) -> np.ndarray:
    element = dataset.get_item("PixelData")
    held = plain_frames(dataset, count, name)
    if index >= held:
        raise truncated(name)
    # An implicit encoding tells no VR; it matters in big endian alone, which is explicit.
    options = _options(dataset) | {"number_of_frames": held, "pixel_vr": element.VR or "OW"}
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return decoder.as_array(element.value, index=index, view_only=True, **options)[0]


def compressed_frames(
    dataset: Dataset, wanted: Iterable[int], count: int, name: str
) -> Iterator[bytes]:
    """Compressed bytes of those of `count` frames, from 0: of each, the fragment that begins it,
    and those up to the next.

    Offset tables are passed over: some lie, and what begins a frame can be told by itself.
    """
    data = dataset.PixelData
    fragments = _fragments(data)
    begins = [
        number
        for number, (start, end) in enumerate(fragments)
        if number == 0 or data.startswith(_BEGINNINGS, start, end)
    ]
    if len(fragments) <= count:  # one each, whether it can be told or is damaged
        begins = list(range(len(fragments)))
    elif len(begins) != count:
        raise _miscounted(count, len(begins), name)
    ends = [*begins[1:], len(fragments)]
    for index in wanted:
        if index >= len(begins):
            raise truncated(name)
        own = fragments[begins[index] : ends[index]]
        frame = b"".join(data[start:end] for start, end in own)
        if not frame:
            raise ValueError("a frame without bytes")
        yield frame


def _fragments(data: bytes) -> list[tuple[int, int]]:
    """Where each fragment of compressed pixels starts and ends, without the offset table before
    them, which some files lack."""
    items, start = [], 0
    while start + 8 <= len(data):
        tag, length = _HEADER.unpack_from(data, start)
        if tag == _DELIMITER:
            break
        start += 8
        # A length beyond the end does no harm to the last: whether it is whole its stream tells.
        if tag != _ITEM or (start + length > len(data) and data.find(_ITEM, start) >= 0):
            raise ValueError("no fragment where one was expected")
        items.append((start, start + length))
        start += length
        if len(items) > _MOST_FRAGMENTS:
            raise ValueError("more fragments than a radiograph has")
    return items if items and data.startswith(_BEGINNINGS, *items[0]) else items[1:]


def _miscounted(told: int, held: int, name: str) -> RadiographError:
    return RadiographError(
        f"{name}: damaged, the number of frames is {told:,} by its header and {held:,} by its "
        "pixels; export it again, or each frame as a file of its own",
        reason="damaged",
    )


def _decoded_jpeg(
    frame: bytes, stream: Codestream | None, dataset: Dataset, name: str
) -> np.ndarray:
    """By the process that the stream names for itself: some files tell another syntax."""
    if stream is None or stream.process not in (0xC0, 0xC1, _PROGRESSIVE, 0xC3):
        raise ValueError("no JPEG, or of a process that nothing decodes")
    if stream.is_lossless or stream.precision > 8:
        values = _whole_by_gdcm(bare_jpeg(frame), stream, dataset, name)
        if dataset.PhotometricInterpretation in ("YBR_FULL", "YBR_FULL_422"):
            values = convert_color_space(values, "YBR_FULL", "RGB")
    else:
        try:
            values = _by_pillow(frame, stream, dataset)
        except CutOff:
            raise stream_truncated(name) from None
    if dataset.PixelRepresentation == 1:
        values = _signed(values, stream.precision)
    return values


def _signed(values: np.ndarray, precision: int) -> np.ndarray:
    """JPEG knows no sign: the bits are those of two's complement."""
    unused = values.dtype.itemsize * 8 - precision
    return (values << unused).view(values.dtype.str.replace("u", "i")) >> unused


def _by_pillow(frame: bytes, stream: Codestream, dataset: Dataset) -> np.ndarray:
    source = Source(frame)
    image = JpegImageFile(source)
    whole = demand_whole(image, source)
    source.in_header = False
    if stream.components == 1:
        return np.asarray(whole)
    told = "jfif" in image.info or "adobe" in image.info or stream.ids in (b"RGB", b"rgb")
    if dataset.PhotometricInterpretation == "RGB" and not told:
        # Left to itself the decoder would take these for YCbCr, as in most JPEG files.
        image.draft("YCbCr", image.size)
        image.load()
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _whole_by_gdcm(frame: bytes, stream: Codestream, dataset: Dataset, name: str) -> np.ndarray:
    """What GDCM makes of a JPEG whose codes do not end too early: libjpeg goes on with zeros then,
    and only warns. Raises RadiographError (truncated) where they do."""
    decode = partial(_by_gdcm, stream=stream, dataset=dataset, name=name)
    if not stream.is_lossless and _ends_early(of_8_bits(frame)):
        raise stream_truncated(name)
    if not stream.is_lossless and stream.process != _PROGRESSIVE:
        return decode(frame)
    # GDCM bears with one warning, and this is one: with another, no scan lacks any of its codes.
    with suppress(ValueError):
        return decode(lengthened(frame, _WARNED_OF))
    values = decode(frame)
    if not _is_all_of(values, frame, decode):
        raise stream_truncated(name)
    return values


def _is_all_of(values: np.ndarray, frame: bytes, decode: Callable[[bytes], np.ndarray]) -> bool:
    """Whether a JPEG's values stay as they are with other bits behind its codes, which a warning of
    something else, such as of bytes between codes and end marker, does not hinder."""
    try:
        # After those that fill up the last byte, which some writers forget.
        return np.array_equal(values, decode(lengthened(frame, b"\0" + _OTHER_BITS)))
    except ValueError:  # of bits that are no codes, which it has come to
        return False


def _ends_early(frame: bytes) -> bool:
    """Whether the codes of a JPEG that says that it has 8 bits end too early. How many bits it has
    is nothing to the codes."""
    source = Source(frame)
    image = JpegImageFile(source)
    try:
        demand_whole(image, source)
        source.in_header = False
        image.draft("L", (1, 1))  # at an eighth of its size, which is faster
        image.load()
    except CutOff:
        return True
    return False


def _by_gdcm(frame: bytes, stream: Codestream, dataset: Dataset, name: str) -> np.ndarray:
    """Lossless JPEG, and JPEG of 12 bits; pydicom's plugin for it does not read the latter."""
    try:
        import gdcm
    except ImportError:
        message = f"{name}: JPEG Lossless or 12-bit JPEG needs GDCM; pip install python-gdcm"
        raise RadiographError(message, reason="unsupported") from None
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(frame + b"\0" * (len(frame) % 2))  # it takes no odd length
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    colors = gdcm.PhotometricInterpretation
    kind = colors.MONOCHROME2 if stream.components == 1 else colors.RGB
    image.SetPhotometricInterpretation(colors(kind))
    syntax = gdcm.TransferSyntax.GetTSType(str(dataset.file_meta.TransferSyntaxUID))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits, container = stream.precision, 8 if stream.precision <= 8 else 16
    # With the stream's own precision: told another, it gives zeros for pixels.
    image.SetPixelFormat(gdcm.PixelFormat(stream.components, container, bits, bits - 1, 0))
    decoded = image.GetBuffer()
    if decoded is None:
        raise ValueError("GDCM cannot decode it")
    values = np.frombuffer(decoded.encode("utf-8", "surrogateescape"), f"<u{container // 8}")
    shape = (stream.rows, stream.columns, stream.components)
    return values.reshape(shape if stream.components > 1 else shape[:2])
