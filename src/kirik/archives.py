"""Radiographs inside other files: the members of a zip, and what a DICOMDIR lists.

An archive is never unpacked: a member is read by itself, into memory, under the same limits as a
file. Archives within archives are not entered.
"""

import errno
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from kirik.errors import RadiographError
from kirik.files import (
    HEAD_BYTES,
    OVERLAY_SUFFIX,
    access_error,
    head_of,
    is_dicomdir,
    is_own_picture,
    kind_of,
    promises_image,
    promises_radiographs,
    read_file,
    refuse_device,
    shown,
)

try:
    from lzma import LZMAError
except ImportError:  # a Python without it: a member packed so is then one of an unknown method
    LZMAError = zlib.error
try:
    from bz2 import BZ2Decompressor
except ImportError:
    BZ2Decompressor = None

MOST_MEMBERS = 1_000_000
LONGEST_NAME = 4096
"""Bytes of a member's name: of a path, file systems take as many."""
_MOST_PACKED, _SMALL = 200, 2**20
"""Times that a member may be as large as it is packed, if it has more bytes than the second: noise
does not let a radiograph be packed to a 50th."""
DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class Member:
    """A file in a zip; written as ARCHIVE/NAME."""

    archive: str
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


def is_archive(path: Path) -> bool:
    """Whether a path names a zip or a DICOMDIR; by its name, as one is told to look into it."""
    return path.suffix.lower() == ".zip" or path.name.upper() == DICOMDIR


def announces_archive(path: Path) -> bool:
    """Whether a file is a zip or a DICOMDIR by its first bytes, whatever its name."""
    head = _head(path)
    return kind_of(head) == "ZIP" or is_dicomdir(head)


def _head(path: Path) -> bytes:
    try:
        return head_of(path) if path.is_file() else b""
    except OSError:  # reading it will say so
        return b""


def read_source(source: Path | str | Member, most: int) -> bytes:
    """All bytes of a file or of a zip's member; see `kirik.files.read_file` for what is refused,
    and a zip is, too."""
    inside = isinstance(source, Member)
    content = _member_bytes(source, most) if inside else read_file(source, most)
    if kind_of(content[:HEAD_BYTES]) == "ZIP":
        what = "a zip inside a zip is not read" if inside else "a zip archive, not a radiograph"
        raise RadiographError(f"{shown(source)}: {what}; unpack it", reason="unsupported")
    return content


def _member_bytes(source: Member, most: int) -> bytes:
    name = shown(source)
    try:
        archive = _opened(source.archive)
        info = archive.getinfo(source.name)
        if info.file_size > most:
            raise _too_large(name, info.file_size, most)
        if info.file_size > max(_SMALL, _MOST_PACKED * info.compress_size):
            packed = f"{info.file_size / 2**20:,.0f} MiB packed into {info.compress_size:,} bytes"
            message = f"{name}: {packed}, as no radiograph can be; unpack it"
            raise RadiographError(message, reason="too_large")
        content = _beginning(archive, info, info.file_size)
    except KeyError as error:
        message = f"{name}: no such file in the archive; check the path"
        raise RadiographError(message, reason="missing") from error
    except (OSError, MemoryError, *_DAMAGE) as error:
        raise _refusal(source.archive, name, error) from error
    if not content:
        raise RadiographError(f"{name}: empty (0 bytes); copy it again", reason="empty")
    return content


def _beginning(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """A member's first bytes, at most so many."""
    wanted = min(most, info.file_size)
    if info.compress_type != zipfile.ZIP_BZIP2 or BZ2Decompressor is None:
        with archive.open(info) as file:
            return file.read(wanted)
    # A few bytes of bzip2 may hold gigabytes, all of which zipfile would unpack for the first one.
    packed = copy(info)
    packed.compress_type, packed.file_size, packed.CRC = (
        zipfile.ZIP_STORED,
        info.compress_size,
        None,
    )
    content, bzip2 = bytearray(), BZ2Decompressor()
    with archive.open(packed) as file:
        while len(content) < wanted and not bzip2.eof:
            some = file.read(2**16) if bzip2.needs_input else b""
            if bzip2.needs_input and not some:
                raise EOFError
            content += bzip2.decompress(some, wanted - len(content))
    if wanted == info.file_size and zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile
    return bytes(content)


def list_archive(path: Path, most: int) -> Iterator[Path | Member | RadiographError]:
    """The plausible radiographs of a zip or a DICOMDIR, in a zip sorted by name.

    Of a zip's members of one name the last is meant, as for all that unpack it; that there are
    others is an error at the end. most: bytes that a DICOMDIR may have. Raises RadiographError if
    it cannot be listed.
    """
    return (one for one in look_through(path, most) if one is not None)


def look_through(path: Path, most: int) -> Iterator[Path | Member | RadiographError | None]:
    """The same, with None for each member of a zip that is passed over: there may be a million."""
    if path.name.upper() == DICOMDIR or is_dicomdir(_head(path)):
        return _listed_by_dicomdir(path, most)
    return _zip_members(path)


_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, LZMAError, EOFError, RuntimeError),
    *(NotImplementedError, ValueError, struct.error, UnicodeError),
)


def _opened(path: str) -> zipfile.ZipFile:
    facts = os.stat(path)  # noqa: PTH116
    refuse_device(facts.st_mode, shown(path))
    return _kept_open(path, (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns))


@lru_cache(maxsize=1)
def _kept_open(path: str, facts: tuple[int, ...]) -> zipfile.ZipFile:
    """facts: that tell it from a later file of its name. It closes when nobody has it any more."""
    # Kept open: reading the list of a large archive again for each of its members takes longer
    # than decoding them.
    return zipfile.ZipFile(path)


def close_archive() -> None:
    """Let go of the zip that is kept open: once it is deleted, its space on the disk is free."""
    _kept_open.cache_clear()


def _zip_members(path: Path) -> Iterator[Member | RadiographError | None]:
    name = shown(path)
    try:
        archive = _opened(str(path))
        infos, size = archive.infolist(), path.stat().st_size
    except (OSError, *_DAMAGE) as error:
        raise _refusal(path, name, error) from error
    if len(infos) > MOST_MEMBERS:
        message = (
            f"{name}: {len(infos):,} files, more than the limit of {MOST_MEMBERS:,}; unpack it"
        )
        raise RadiographError(message, reason="too_large")
    if sum(info.compress_size for info in infos) > size:
        message = (
            f"{name}: its files lie over each other, as in no zip that is whole; pack it again"
        )
        raise RadiographError(message, reason="damaged")
    passed_over, too_long = [], 0
    for info in sorted(infos, key=lambda info: info.filename):
        found = None
        # A name that begins with a zero byte is none, which `is_dir` does not expect.
        if info.filename and not info.is_dir() and _worth_a_look(archive, info):
            if len(info.filename.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
                too_long += 1
            elif archive.getinfo(info.filename) is info:
                found = Member(str(path), info.filename)
            else:
                passed_over.append(info.filename)
        yield found
    # One of both: rows of one path are one file's frames.
    if too_long:
        message = (
            f"{name}: {too_long:,} of its files have names of more than {LONGEST_NAME:,} bytes"
        )
        yield RadiographError(f"{message}; give them shorter ones", reason="unsupported")
    elif passed_over:
        more = f" (and {len(passed_over) - 1:,} more)" if len(passed_over) > 1 else ""
        message = (
            f"{name}/{shown(passed_over[0])}{more}: another file of the same name comes later in "
            "the archive, and only the last is read; give each a name of its own"
        )
        yield RadiographError(message, reason="unsupported")


def _worth_a_look(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    inside = PurePosixPath(info.filename)
    if any(part.startswith((".", "__MACOSX")) and part != ".." for part in inside.parts):
        return False
    if inside.name.upper() == DICOMDIR:
        return False
    own = inside.name.endswith(OVERLAY_SUFFIX)
    if promises_image(inside.name) and not own:
        return True  # a zip, too, which is then refused: what was passed over would be missed
    try:
        head = _beginning(archive, info, HEAD_BYTES)
        return not is_own_picture(head) if own else promises_radiographs(inside.name, head)
    except (OSError, MemoryError, *_DAMAGE):
        return True  # to be read, which then says why it cannot be


def _listed_by_dicomdir(path: Path, most: int) -> Iterator[Path | RadiographError]:
    """The images that a DICOMDIR names, in its order, and then an error where it leads out of its
    folder, or nowhere, for others. Where it is damaged, those before the damage, and an error."""
    data, named, damaged = read_file(path, most), [], False
    from kirik.quiet import quiet_decoding

    try:
        with quiet_decoding():
            for record in _records(data):
                if str(record.get("DirectoryRecordType")).strip() == "IMAGE":
                    named.append(_parts(record.get("ReferencedFileID")))
    except Exception:
        damaged = True
    listings: dict[Path, dict[str, str]] = {}
    inside = [
        parts
        for parts in named
        if parts and all(map(_is_name, parts)) and sum(map(len, parts)) <= LONGEST_NAME
    ]
    for parts in inside:
        yield _as_it_lies(path.parent, parts, listings)
    # One of both: rows of one path are one file's frames.
    outside = len(named) - len(inside)
    if damaged:
        message = f"{shown(path)}: a damaged DICOMDIR, which does not list all of its files; "
        yield RadiographError(f"{message}name the folder that they lie in", reason="damaged")
    elif outside:
        message = f"{shown(path)}: does not say where in its folder {outside:,} of its images lie; "
        yield RadiographError(f"{message}name them, or their folder", reason="unsupported")


def _records(data: bytes) -> Iterator:
    """A DICOMDIR's records. Raises some exception where one is damaged or not there to its end."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_partial, read_sequence_item

    file, found = DicomBytesIO(data), None

    def is_sequence(tag, vr, length) -> bool:
        nonlocal found
        found = (vr is None, length) if tag == _RECORDS else None
        return found is not None

    read_partial(file, is_sequence)
    implicit, length = found
    start = file.tell() + (8 if implicit else 12)
    end = None if length == _UNDEFINED else start + length
    file.seek(start)
    while end is None or file.tell() < end:
        _, length = struct.unpack("<II", data[file.tell() : file.tell() + 8])
        if length != _UNDEFINED and file.tell() + 8 + length > len(data):
            raise EOFError
        record = read_sequence_item(file, implicit, True, "iso8859")
        if record is None:
            return
        if length == _UNDEFINED and data[file.tell() - 8 : file.tell() - 4] != _ITEM_END:
            raise EOFError
        yield record


_RECORDS, _UNDEFINED, _ITEM_END = 0x00041220, 0xFFFFFFFF, b"\xfe\xff\x0d\xe0"


def _parts(value) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value or ()]


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and not {"/", "\0"} & {*part}


def _as_it_lies(folder: Path, parts: list[str], listings: dict[Path, dict[str, str]]) -> Path:
    """A file's path by the names that its folders have for it: a file system may show those of a
    CD in lower case, or with `.` or `;1` at the end. listings: of folders, kept for the next."""
    path = folder
    for part in parts:
        if path not in listings:
            listings[path] = _names_in(path)
        names = listings[path]
        path /= names.get(part) or names.get(_plain(part), part)
    return path


def _names_in(folder: Path) -> dict[str, str]:
    """By themselves, and by what is left of them without case and ends."""
    try:
        names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208
    except OSError:
        return {}
    return {_plain(name): name for name in names} | {name: name for name in names}


def _plain(name: str) -> str:
    return name.partition(";")[0].rstrip(".").casefold()


def _too_large(name: str, size: int, most: int) -> RadiographError:
    found, limit = size / 2**20, most / 2**20
    message = f"{name}: {found:,.0f} MiB, more than the limit of {limit:,.0f} MiB"
    return RadiographError(f"{message}; export it smaller", reason="too_large")


def _refusal(archive: Path | str, name: str, error: Exception) -> RadiographError:
    # A place before the file's beginning is what a damaged list of members leads to, and an error
    # without a number is what bzip2 says of damage.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return access_error(archive, error)
    # Other errors may tell a member's name, in which any word can stand.
    if isinstance(error, RuntimeError) and "encrypt" in str(error):
        message = f"{name}: encrypted; unpack the archive with its password first"
        return RadiographError(message, reason="unsupported")
    if isinstance(error, RuntimeError):
        message = f"{name}: packed by a method that kirik does not know; pack it again as zip"
        return RadiographError(message, reason="unsupported")
    return RadiographError(
        f"{name}: a damaged zip archive; copy or make it again", reason="damaged"
    )
