"""Unpack a ZIP archive that somebody else made, and nothing but plain files below one folder."""

import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kirik.errors import DownloadError

_BLOCK = 2**20
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may grow to: number of entries, and bytes once unpacked."""

    entries: int = 100_000
    unpacked_bytes: int = 8 * 2**30


DEFAULT_LIMITS = ArchiveLimits()


class HostileArchive(DownloadError):
    """An archive that must not be unpacked, however often one tries."""


def unpack(
    archive: Path,
    folder: Path,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Unpack a ZIP into `folder`, which must not be there yet; it appears whole or not at all.

    progress: called with bytes unpacked and bytes in all.

    Raises HostileArchive for paths that lead out of the folder, links, encrypted entries, names
    that collide, too many entries, too many bytes, and damaged archives; DownloadError if the
    disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            _check(entries, archive, limits)
            folder.mkdir(parents=True)
            _write(content, entries, folder, progress)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _in_our_words(error, archive, folder) from error


def _in_our_words(error: BaseException, archive: Path, folder: Path) -> BaseException:
    if isinstance(error, DownloadError) or not isinstance(error, Exception):
        return error
    # What zipfile raises for an archive that is no archive, is damaged, or uses odd methods.
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError | RuntimeError | ValueError):
        return _hostile(archive, f"is damaged ({error})")
    if isinstance(error, OSError):
        why = error.strerror or type(error).__name__
        return DownloadError(f"{folder}: cannot unpack ({why}); make room or name another folder")
    return error


def _hostile(archive: Path, what: str) -> HostileArchive:
    return HostileArchive(f"{archive.name}: the archive {what}; it was not unpacked")


def _check(entries: list[zipfile.ZipInfo], archive: Path, limits: ArchiveLimits) -> None:
    """Judge the archive by its directory, before a single byte is written."""
    if len(entries) > limits.entries:
        raise _hostile(archive, f"has {len(entries):,} entries (limit {limits.entries:,})")
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_bytes:
        most = limits.unpacked_bytes / 2**30
        raise _hostile(archive, f"would unpack to {total / 2**30:,.1f} GiB (limit {most:g} GiB)")
    kinds: dict[str, bool] = {}
    for entry in entries:
        _check_entry(entry, archive)
        _check_collision(entry, kinds, archive)


def _check_entry(entry: zipfile.ZipInfo, archive: Path) -> None:
    # zipfile cuts a name at a null byte; only the original shows it.
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    if (
        any(part in ("", ".", "..") or part != part.strip() for part in parts)
        or any(c in name for c in '\\:*?"<>|')
        or not name.isprintable()
        or len(name) > 1000
    ):
        raise _hostile(archive, f"has an entry with a dangerous path ({name[:60]!r})")
    form = stat.S_IFMT(entry.external_attr >> 16)
    if form not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _hostile(archive, f"has a link or a special file ({name[:60]!r})")
    if entry.flag_bits & _ENCRYPTED:
        raise _hostile(archive, "is encrypted")


def _check_collision(entry: zipfile.ZipInfo, kinds: dict[str, bool], archive: Path) -> None:
    """`kinds`: names so far, as a file system that ignores case has them: whether a folder."""
    name = unicodedata.normalize("NFC", entry.filename).casefold()
    parts = name.removesuffix("/").split("/")
    own = "/".join(parts)
    folders = ["/".join(parts[:n]) for n in range(1, len(parts))]
    twice = own in kinds and not (entry.is_dir() and kinds[own])
    if twice or any(not kinds.get(folder, True) for folder in folders):
        raise _hostile(archive, f"has two entries of one name ({entry.filename[:60]!r})")
    kinds[own] = entry.is_dir()
    kinds.update(dict.fromkeys(folders, True))


def _write(
    content: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    total, done = sum(entry.file_size for entry in entries), 0
    for entry in entries:
        target = folder / entry.filename
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        done += _write_entry(content, entry, target)
        if progress:
            progress(done, total)


def _write_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> int:
    written = 0
    with content.open(entry) as source, target.open("xb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > entry.file_size:
                raise zipfile.BadZipFile("an entry is longer than said")
            file.write(block)
    if written != entry.file_size:
        raise zipfile.BadZipFile("an entry is shorter than said")
    return written
