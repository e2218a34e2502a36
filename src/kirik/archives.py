"""Radiographs inside other files: the members of a zip, and what a DICOMDIR lists.

An archive is never unpacked: a member is read by itself, into memory, under the same limits as a
file. Archives within archives are not entered.
"""

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from kirik.errors import RadiographError
from kirik.files import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    READABLE,
    access_error,
    kind_of,
    read_file,
    shown,
)

MOST_MEMBERS = 1_000_000
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


def read_source(source: Path | str | Member, most: int) -> bytes:
    """All bytes of a file or of a zip's member; see `kirik.files.read_file` for what is refused."""
    if not isinstance(source, Member):
        return read_file(source, most)
    name = shown(source)
    try:
        archive = _opened(source.archive)
        info = archive.getinfo(source.name)
        if info.file_size > most:
            raise _too_large(name, info.file_size, most)
        with archive.open(info) as file:
            content = file.read(most + 1)
    except KeyError as error:
        message = f"{name}: no such file in the archive; check the path"
        raise RadiographError(message, reason="missing") from error
    except (OSError, *_DAMAGE) as error:
        raise _refusal(source.archive, name, error) from error
    if len(content) > most:
        raise _too_large(name, len(content), most)
    if not content:
        raise RadiographError(f"{name}: empty (0 bytes); copy it again", reason="empty")
    return content


def list_archive(path: Path, most: int) -> Iterator[Path | Member]:
    """The plausible radiographs of a zip or a DICOMDIR, in a zip sorted by name.

    most: bytes that a DICOMDIR may have. Raises RadiographError if it cannot be listed.
    """
    if path.name.upper() == DICOMDIR:
        return _listed_by_dicomdir(path, most)
    return _zip_members(path)


_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError),
    *(NotImplementedError, ValueError, struct.error, UnicodeError),
)


@lru_cache(maxsize=1)
def _opened(path: str) -> zipfile.ZipFile:
    # Kept open: reading the list of a large archive again for each of its members takes longer
    # than decoding them.
    return zipfile.ZipFile(path)


def _zip_members(path: Path) -> Iterator[Member]:
    name = shown(path)
    try:
        archive = _opened(str(path))
        infos = archive.infolist()
    except (OSError, *_DAMAGE) as error:
        raise _refusal(path, name, error) from error
    if len(infos) > MOST_MEMBERS:
        message = (
            f"{name}: {len(infos):,} files, more than the limit of {MOST_MEMBERS:,}; unpack it"
        )
        raise RadiographError(message, reason="too_large")
    for info in sorted(infos, key=lambda info: info.filename):
        # A name that begins with a zero byte is none, which `is_dir` does not expect.
        if info.filename and not info.is_dir() and _worth_a_look(archive, info):
            yield Member(str(path), info.filename)


def _worth_a_look(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    inside = PurePosixPath(info.filename)
    if any(part.startswith((".", "__MACOSX")) for part in inside.parts):
        return False
    if inside.name.upper() == DICOMDIR:
        return False
    if inside.suffix.lower() in IMAGE_SUFFIXES:
        return True  # a zip, too, which is then refused: what was passed over would be missed
    try:
        with archive.open(info) as file:
            return kind_of(file.read(HEAD_BYTES)) in READABLE
    except (OSError, *_DAMAGE):
        return False


def _listed_by_dicomdir(path: Path, most: int) -> Iterator[Path]:
    """The images that a DICOMDIR names, in its order; names that lead out of its folder are left
    out."""
    data, name = read_file(path, most), shown(path)
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO

    from kirik.quiet import quiet_decoding

    try:
        with quiet_decoding():
            records = dcmread(DicomBytesIO(data), force=False).DirectoryRecordSequence
            images = [r for r in records if str(r.get("DirectoryRecordType")).strip() == "IMAGE"]
            named = [_parts(record.get("ReferencedFileID")) for record in images]
    except Exception:
        message = f"{name}: not a readable DICOMDIR; name the folder that its files lie in"
        raise RadiographError(message, reason="damaged") from None
    for parts in named:
        if parts and not any(part in ("", ".", "..") or "/" in part for part in parts):
            yield path.parent.joinpath(*parts)


def _parts(value) -> list[str]:
    return [value] if isinstance(value, str) else [str(part) for part in value or ()]


def _too_large(name: str, size: int, most: int) -> RadiographError:
    found, limit = size / 2**20, most / 2**20
    message = f"{name}: {found:,.0f} MiB, more than the limit of {limit:,.0f} MiB"
    return RadiographError(f"{message}; export it smaller", reason="too_large")


def _refusal(archive: Path | str, name: str, error: Exception) -> RadiographError:
    # A place before the file's beginning is what a damaged list of members leads to.
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return access_error(archive, error)
    if "encrypted" in str(error) or "password" in str(error):
        message = f"{name}: encrypted; unpack the archive with its password first"
        return RadiographError(message, reason="unsupported")
    if isinstance(error, NotImplementedError):
        message = f"{name}: packed by a method that kirik does not know; pack it again as zip"
        return RadiographError(message, reason="unsupported")
    return RadiographError(
        f"{name}: a damaged zip archive; copy or make it again", reason="damaged"
    )
