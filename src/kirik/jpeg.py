"""JPEGs for Pillow that are decoded whole or not at all.

Where a scan ends too early, libjpeg paints the rest gray and only warns, which Pillow does not
pass on. It does stop, however, where there are no more bytes at all.
"""

import io
import re
import struct
from collections.abc import Iterator, Sequence

from PIL.JpegImagePlugin import MARKER, JpegImageFile

_END = b"\xff\xd9"
_SEQUENTIAL, _PROGRESSIVE = (b"\xff\xc0", b"\xff\xc1"), b"\xff\xc2"
_ODD = {
    **dict.fromkeys((b"\xff\xc3", b"\xff\xc7"), "lossless"),
    **dict.fromkeys((b"\xff\xc5", b"\xff\xc6"), "hierarchical"),
    **{bytes((0xFF, 0xC0 + number)): "arithmetic" for number in (9, 10, 11, 13, 14, 15)},
}
"""Frame headers of the codings that libjpeg does not decode (ITU-T T.81, table B.1)."""
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_SCAN = b"\xff\xda"
_RESTARTS = [bytes((0xFF, 0xD0 + number)) for number in range(8)]
_TABLES = (b"\xff\xc4", b"\xff\xdb")
_MOST_SEGMENTS = 10_000
_MOST_SLOW = 2**20
"""Bytes of a header that Pillow may go through one by one, in about a second."""
_ONES = 8 * b"\xff\0"
"""As many bits as libjpeg looks ahead. They are in no Huffman code, so that it makes two blocks of
them at most."""
_LEFT_EMPTY = b"\0"
"""What a copy that broke off leaves of a place that was kept for all of the file: to libjpeg, codes
like others."""
_OTHER_CODES = b"\0" + bytes(range(0xA5, 0xE5))
"""So varied that no table of codes makes of them what libjpeg puts in the place of codes that are
missing; after those bits that fill up the last byte, which some writers forget."""


class CutOff(Exception):
    """The file ended before its image did."""


class OddCoding(Exception):
    """The image is of a coding that is not decoded; its name is the message."""


class Source(io.BytesIO):
    """Bytes for Pillow that do not end quietly.

    Pillow can be told, for the whole process, to fill what is missing with gray; an exception
    out of `read` reaches us however it is told. Headers are read by exact lengths, pixels by
    blocks, of which the last one is shorter.
    """

    in_header = True

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        missing = len(data) < size if self.in_header and size else not data
        if missing and size != 0:
            raise CutOff
        return data


def has_scan(data: bytes) -> bool:
    """Whether a JPEG's segments lead to a scan of its image as far as Pillow can tell in reasonable
    time: it looks for the next one byte by byte. Yes where it says at once itself that they do not.
    """
    at, slow = 2, 0
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(data, at, at + _MOST_SLOW)
        slow += (found.start() if found else min(len(data), at + _MOST_SLOW)) - at
        if slow >= _MOST_SLOW:
            return False
        if not found or found[0] == _SCAN:
            return True
        known, at = MARKER.get(int.from_bytes(found[0], "big")), found.end()
        if known is None:
            return True
        if known[2] is not None:  # Pillow takes the others to have no body
            length = int.from_bytes(data[at : at + 2], "big")
            slow += length if found[0] in _TABLES else 0
            at += max(2, length)
    return False


def demand_whole(image: JpegImageFile, source: Source) -> JpegImageFile:
    """The image, or one that is decoded already, as gray. Raises CutOff, now or when it is loaded,
    where it would be filled up with gray, and OddCoding where it would not be decoded at all.

    To be called once, with the source as the opening left it. A JPEG that lacks nothing but its
    end marker is whole. Of several scans all must be there, and each have the codes of what is seen
    of it as gray. What cannot be told: that a scan lacks its last byte, or a few before it of which
    the pixels show nothing, or codes within, as between two restart markers. Changes the source.
    """
    data, start = source.getvalue(), source.tell()
    process, first = _process(image, data, start), data.rfind(_SCAN, 0, start)
    if process in _ODD:
        raise OddCoding(_ODD[process])
    if process in _SEQUENTIAL and data[first + 4] == image.layers:
        end = data.find(_END, start)  # the codes of a scan never hold these two bytes
        _end_with(_ONES, source, end if end >= 0 else len(data.rstrip(_LEFT_EMPTY)))
    elif process in (*_SEQUENTIAL, _PROGRESSIVE):
        # Of several scans libjpeg reads until it meets an end marker.
        _end_with(_END, source, len(data.rstrip(b"\xff" + _LEFT_EMPTY)))
        data = source.getvalue()
        scans, in_full = list(_scans(data, first)), process == _PROGRESSIVE
        if not _bring_all(image, scans):
            raise CutOff
        gray = _gray(data, in_full)
        if _gray(_with_other_codes(data, scans), in_full).tobytes() != gray.tobytes():
            raise CutOff
        return gray if in_full else image
    return image


def _end_with(last: bytes, source: Source, place: int) -> None:
    source.seek(place)
    source.write(last)
    source.truncate()


def _process(image: JpegImageFile, data: bytes, end: int) -> bytes:
    """The marker of the frame header, which lies before `end`."""
    columns, rows = image.size
    found = data.rfind(struct.pack(">BHHB", 8, rows, columns, image.layers), 0, end)
    return data[max(0, found - 4) : max(0, found - 2)]


def _scans(data: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """Each scan's header, and where its codes end; the first scan begins at `at`."""
    found = _MARKER.search(data, at)
    for _ in range(_MOST_SEGMENTS):
        if not found or found[0] == _END:
            return
        marker, at = found[0], found.start()
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        header = data[at + 4 : at + 2 + length]
        found = _MARKER.search(data, at + 2 + length)
        if marker == _SCAN and len(header) == length - 2 >= 6:
            yield header, found.start() if found else len(data)


def _bring_all(image: JpegImageFile, scans: Sequence[tuple[bytes, int]]) -> bool:
    """Whether the scans bring each coefficient to its last bit."""
    missing = {(layer[0], k) for layer in image.layer for k in range(64)}
    for header, _ in scans:
        first, last, bits = header[-3:]
        if bits & 15 == 0:
            missing -= {(id_, k) for id_ in header[1:-3:2] for k in range(first, last + 1)}
    return not missing


def _with_other_codes(data: bytes, scans: Sequence[tuple[bytes, int]]) -> bytes:
    """The same with others behind the codes of each scan, and behind the restart markers that may
    follow. They become pixels where those end too early, while libjpeg passes over what is behind
    the codes of a whole one."""
    changed, start = [], 0
    for _, end in scans:
        piece = data[start:end].rstrip(b"\xff")
        # They take turns; where there is none yet, the first comes next, as after the last.
        _, last = max((piece.rfind(marker), number) for number, marker in enumerate(_RESTARTS))
        turns = _RESTARTS[last + 1 :] + _RESTARTS[: last + 1]
        changed += [piece, _OTHER_CODES, *(marker + _OTHER_CODES for marker in turns)]
        start = end
    return b"".join([*changed, data[start:]])


def _gray(data: bytes, in_full: bool) -> JpegImageFile:
    """A JPEG decoded as gray, or at an eighth of its size, about a pixel for each block."""
    source = Source(data)
    image = JpegImageFile(source)
    source.in_header = False
    image.draft("L", None if in_full else (1, 1))
    image.load()
    return image
