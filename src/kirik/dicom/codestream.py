"""What a compressed frame says about itself, read before a native codec sees it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from pydicom import Dataset

from kirik.errors import RadiographError
from kirik.nameless import j2k_segments
from kirik.radiograph import Limits

_JPEG, _END = b"\xff\xd8", b"\xff\xd9"
_JPEG_2000, _JP2_BOX = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP"
_FRAME_HEADERS = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xF7)
_LOSSLESS = 0xC3
_LOSSY = (0xC0, 0xC1, 0xC2)
_TABLES, _SCAN = (0xC4, 0xDB, 0xDD), 0xDA
_COMMENTS = (*range(0xE0, 0xF0), 0xFE)
_MOST_SEGMENTS = 10_000
_MOST_BEHIND = 64
_TILE_PART, _CODING = 0xFF90, 0xFF52
_MOST_TILES, _MOST_J2K_SEGMENTS = 65_535, 2_000_000
"""Tiles that a JPEG 2000 can number, and segments, of which a tile-part takes two at least."""
_MOST_BITS = 16


@dataclass(frozen=True)
class Codestream:
    """process: the byte of a JPEG's frame header (C0 baseline, C1 extended, C2 progressive,
    C3 lossless, F7 JPEG-LS), 0 for JPEG 2000. ids: of a JPEG's components. is_transformed: whether
    a JPEG 2000 turns its components into others, and its decoder turns them back."""

    process: int
    rows: int
    columns: int
    components: int
    precision: int
    ids: bytes = b""
    is_transformed: bool = False

    @property
    def is_lossless(self) -> bool:
        return self.process == _LOSSLESS


def checked(frame: bytes, dataset: Dataset, name: str, limits: Limits) -> Codestream | None:
    """A frame's own header, which must agree with the data set's; None for RLE, which has none.

    Codecs allocate by the one and callers by the other, and what is missing they fill with gray;
    each tile of a JPEG 2000 must therefore be there.
    Raises RadiographError, and ValueError or IndexError for a header that makes no sense.
    """
    if not frame.startswith((_JPEG, _JPEG_2000, _JP2_BOX)):
        return None
    if not _has_end(frame):
        raise stream_truncated(name)
    bare = None if frame.startswith(_JPEG) else bare_jpeg_2000(frame)
    stream = _jpeg(frame) if bare is None else _jpeg_2000(bare)
    limits.check(stream.rows, stream.columns, name)
    told = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    if (stream.rows, stream.columns, stream.components) != told:
        message = f"{name}: damaged, its header and its compressed pixels differ in size"
        raise RadiographError(f"{message}; export or send it again", reason="damaged")
    if not 2 <= stream.precision <= _MOST_BITS:
        message = f"{name}: compressed with {stream.precision} bits a pixel"
        raise RadiographError(f"{message}; export it with at most 16", reason="unsupported")
    if stream.precision > dataset.BitsAllocated:
        raise ValueError("more bits in the stream than in its container")
    if bare is not None and not _has_all_tiles(bare):
        raise stream_truncated(name)
    if stream.process in _LOSSY and stream.precision > 8:
        # There is no other (ITU-T T.81, table B.2), but GDCM's own writer tells the container's 16.
        stream = replace(stream, precision=12)
    return stream


def stream_truncated(name: str) -> RadiographError:
    message = f"{name}: truncated, the compressed pixels end too early; send or copy it again"
    return RadiographError(message, reason="truncated")


def bare_jpeg(frame: bytes) -> bytes:
    """The same JPEG without comments and application segments, its header strictly in order.

    GDCM ends the whole process where libjpeg only warns: of bytes between two segments, or of a
    JFIF version that it does not know. Of numbers in a lossless scan's header that mean nothing
    there, and that some scanners do not leave at 0, it warns: they are made 0.
    """
    kept, is_lossless = [_JPEG], False
    for marker, start, end in _segments(frame):
        if marker not in (*_FRAME_HEADERS, *_TABLES, _SCAN) and marker not in _COMMENTS:
            raise ValueError("a segment that no JPEG of one frame has")
        is_lossless = is_lossless or marker == _LOSSLESS
        if marker == _SCAN and is_lossless:  # the last selected coefficient, and the bits before
            kept.append(frame[start : end - 2] + bytes([0, frame[end - 1] & 15]))
        elif marker not in _COMMENTS:
            kept.append(frame[start:end])
        if marker == _SCAN:
            return b"".join([*kept, frame[end:]])
    raise ValueError("no scan")


def ended(frame: bytes) -> bytes:
    """The same JPEG, with the end marker that some lack: whether its codes do, too, is told by
    them."""
    return frame if _has_end(frame) else frame.rstrip(b"\xff") + _END


def _has_end(frame: bytes) -> bool:
    """Whether the marker in which all of these streams end is where it should be: some writers fill
    up what follows it."""
    return _END in frame.rstrip(b"\0")[-_MOST_BEHIND:]


def unfilled(frame: bytes) -> bytes:
    """The same JPEG-LS without the zeros that some encoders put before its end marker, so that its
    length is even: CharLS refuses them."""
    return frame[: frame.rindex(_END)].rstrip(b"\0") + _END


def of_8_bits(frame: bytes) -> bytes:
    """The same JPEG, whose header says that it has 8 bits."""
    place = next(start for marker, start, _ in _segments(frame) if marker in _FRAME_HEADERS) + 4
    return frame[:place] + b"\x08" + frame[place + 1 :]


def lengthened(frame: bytes, more: bytes) -> bytes:
    """The same JPEG with other bytes behind its last codes. Raises ValueError where its end marker
    is missing."""
    codes = next(end for marker, _, end in _segments(frame) if marker == _SCAN)
    end = frame.index(_END, codes)  # the codes of a scan never hold these two bytes
    return frame[:end].rstrip(b"\xff") + more + _END  # a marker may be filled up before


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of a JPEG's header, up to the first scan's."""
    start = 2
    for _ in range(_MOST_SEGMENTS):
        while frame[start : start + 2] == b"\xff\xff":  # a marker may be filled up before
            start += 1
        length = int.from_bytes(frame[start + 2 : start + 4], "big")
        end = start + 2 + length
        if frame[start] != 0xFF or length < 2 or end > len(frame):
            raise ValueError("no segment where one was expected")
        yield frame[start + 1], start, end
        if frame[start + 1] == _SCAN:
            return
        start = end


def _jpeg(frame: bytes) -> Codestream:
    """Of a JPEG or JPEG-LS stream: its segments up to the frame header."""
    for marker, start, end in _segments(frame):
        if marker in _FRAME_HEADERS:
            body = frame[start + 4 : end]
            rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            return Codestream(marker, rows, columns, body[5], body[0], body[6::3])
    raise ValueError("no frame header")


def bare_jpeg_2000(frame: bytes) -> bytes:
    """A JPEG 2000 codestream without the boxes of a JP2 file around it. Raises ValueError where
    there is none."""
    return frame[frame.index(_JPEG_2000) :]


def _jpeg_2000(stream: bytes) -> Codestream:
    """Of a JPEG 2000 stream: its SIZ segment (ISO 15444-1 A.5.1), and the transform of its COD."""
    width, height, left, top = (int.from_bytes(stream[i : i + 4], "big") for i in range(8, 24, 4))
    count = int.from_bytes(stream[40:42], "big")
    components = stream[42 : 42 + 3 * count]
    if len(components) != 3 * count or set(components[1::3] + components[2::3]) != {1}:
        raise ValueError("components that are missing or of another size")
    if len(set(components[::3])) != 1:
        raise ValueError("components that differ")
    precision = (components[0] & 0x7F) + 1
    header = islice(j2k_segments(stream), _MOST_SEGMENTS)
    coding = next((start for marker, start, _ in header if marker == _CODING), None)
    transformed = coding is not None and stream[coding + 8] == 1
    return Codestream(0, height - top, width - left, count, precision, is_transformed=transformed)


def _has_all_tiles(stream: bytes) -> bool:
    """Whether each tile of a JPEG 2000 is there, with all the tile-parts that it tells of.

    The decoder fills up those that are missing. That a tile-part itself ends too early it sees.
    """
    tiles, parts, told = _tiles(stream), {}, {}
    segments = islice(j2k_segments(stream), _MOST_J2K_SEGMENTS)
    for start in (start for marker, start, _ in segments if marker == _TILE_PART):
        tile = int.from_bytes(stream[start + 4 : start + 6], "big")
        number, count = stream[start + 10 : start + 12]
        parts.setdefault(tile, set()).add(number)
        told[tile] = max(told.get(tile, 1), count)  # 0 where it is not told
    return all(len(parts.get(tile, ())) >= told.get(tile, 1) for tile in range(tiles))


def _tiles(stream: bytes) -> int:
    """How many tiles a JPEG 2000 has by its SIZ segment."""
    numbers = (int.from_bytes(stream[start : start + 4], "big") for start in range(8, 40, 4))
    width, height, _, _, across, down, left, top = numbers
    if not across or not down or left > width or top > height:
        raise ValueError("tiles of no size, or beside the picture")
    tiles = -(-(width - left) // across) * -(-(height - top) // down)
    if tiles > _MOST_TILES:
        raise ValueError("more tiles than can be numbered")
    return tiles
