"""Files as they lie on a disk: found in folders, opened with care, known by their first bytes."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from kirik.errors import KirikError, RadiographError

HEAD_BYTES = 512
"""As many first bytes as `kind_of` needs."""

_IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "dcm", "dicom", "dic"),
        ("bmp", "gif", "webp", "jp2", "heic"),
        ("zip", "tar", "tgz", "7z", "rar"),
    )
    for name in names
)
_PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})

OVERLAY_SUFFIX = ".overlay.png"
"""How the names of kirik's own pictures of readings end."""
OVERLAY_NOTE = "kirik-of"
"""The keyword in such a picture of the hash of its file's path."""

_NUMBERED = re.compile(r"[^.]*[0-9]|[0-9.]*[0-9]")

READABLE = ("JPEG", "PNG", "TIFF", "DICOM")

_DICOMDIR = b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"
"""What a DICOMDIR says in its first bytes that it is: Media Storage SOP Class UID."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
)
_PACKED = ("ZIP", "gzip", "bzip2", "xz", "Zstandard", "tar", "7z", "RAR")
# Group 2 or 8, then an element that stands first in a data set: in explicit encoding its value
# representation follows, in implicit encoding a short length.
_BARE_DICOM = re.compile(
    rb"(\x02\0[\0\x01\x02]\0|\x08\0[\0\x01\x05\x06\x08\x12-\x18]\0)"
    rb"(UL\x04\0|CS|UI|DA|TM|SQ|OB\0\0|[\x02-\x40]\0\0\0)",
    re.DOTALL,
)


def kind_of(head: bytes) -> str | None:
    """The format that a file's first bytes announce (`READABLE` or another's name), or None."""
    if head[128:132] == b"DICM":
        return "DICOM"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[257:262] == b"ustar":
        return "tar"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "HEIC"
    return "DICOM" if _BARE_DICOM.match(head) else None


def not_readable(name: str, kind: str | None) -> RadiographError:
    """The error for a file that is no radiograph by its first bytes. kind: see `kind_of`."""
    if kind is None:
        message = f"{name}: not an image; give a JPEG, PNG, TIFF or DICOM file"
        return RadiographError(message, reason="not_an_image")
    advice = "unpack it first" if kind in _PACKED else "save it as JPEG, PNG or DICOM"
    message = f"{name}: a {kind} file, which kirik does not read; {advice}"
    return RadiographError(message, reason="unsupported")


def is_dicomdir(head: bytes) -> bool:
    """Whether a file's first bytes say that it lists others, and is no radiograph itself."""
    return head[128:132] == b"DICM" and _DICOMDIR in head


def promises_image(name: str) -> bool:
    """Whether a file's name ends as those of images or archives do, packed once more or not: it is
    looked at even if its bytes say otherwise."""
    path = PurePath(name)
    if path.suffix.lower() in _PACKED_SUFFIXES:
        path = PurePath(path.stem)
    return path.suffix.lower() in _IMAGE_SUFFIXES


def promises_radiographs(name: str, head: bytes) -> bool:
    """Whether the first bytes of a file without an image's suffix make it one to read, or a zip; or
    its name, if nothing is in it."""
    if is_hollow(name, head):
        return True
    kind = kind_of(head)
    if kind == "ZIP":
        # Documents and programs are zips, too, and have a suffix that says so.
        return not Path(name).suffix.strip(".0123456789")
    return kind in READABLE and not is_dicomdir(head)


def is_hollow(name: str, head: bytes) -> bool:
    """Whether a file is called as archives of images call theirs, by a number or a UID (IM0001,
    1.2.840.55), and its first bytes are none, or zeros: what a broken export leaves."""
    return not head.strip(b"\0") and bool(_NUMBERED.fullmatch(name))


def is_own_picture(head: bytes) -> bool:
    """Whether a PNG's first bytes say that kirik drew it of a reading."""
    return f"tEXt{OVERLAY_NOTE}\0".encode() in head


def head_of(path: Path | str) -> bytes:
    """A file's first bytes. Raises OSError. Waits for a pipe: ask for a regular file only."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(HEAD_BYTES)


def shown(path: Path | str) -> str:
    """A path as text that stays on one line and can be printed on any terminal."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_file(path: Path | str, most: int) -> bytes:
    """All bytes of a regular file. Raises RadiographError, also for one of more than `most` bytes.

    Never waits: a pipe or a device is refused before it is opened for good.
    """
    name = shown(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _refuse_special(Path(path).stat().st_mode, name)
        # Looked at again once open, in case that another file took its place in between.
        with os.fdopen(os.open(path, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            _refuse_special(facts.st_mode, name)
            if facts.st_size > most:
                found, limit = facts.st_size / 2**20, most / 2**20
                message = f"{name}: {found:,.0f} MiB, more than the limit of {limit:,.0f} MiB"
                raise RadiographError(f"{message}; export it smaller", reason="too_large")
            content = file.read(min(facts.st_size + 1, most))  # room is made for all that is asked
    except (OSError, ValueError) as error:
        raise access_error(path, error) from error
    if not content:
        raise RadiographError(f"{name}: empty (0 bytes); copy it again", reason="empty")
    return content


def access_error(path: Path | str, error: OSError | ValueError) -> RadiographError:
    """The system's refusal to open a path, in the user's words."""
    name = shown(path)
    if isinstance(error, PermissionError):
        message = f"{name}: no permission to read; change its rights, or run as another user"
        return RadiographError(message, reason="no_permission")
    if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError):
        return RadiographError(f"{name}: no such file; check the path", reason="missing")
    why = error.strerror or type(error).__name__
    message = f"{name}: cannot be read ({why}); check the disk and the path"
    return RadiographError(message, reason="unreadable")


def refuse_device(mode: int, name: str) -> None:
    """Raise RadiographError for what is neither a file nor a folder: to open it may wait."""
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = f"{name}: a pipe or device, not a file; name a file"
        raise RadiographError(what, reason="not_a_file")


def _refuse_special(mode: int, name: str) -> None:
    refuse_device(mode, name)
    if stat.S_ISDIR(mode):
        raise RadiographError(f"{name}: a folder, not a file; name a file", reason="not_a_file")


def find_files(
    paths: Sequence[Path], on_error: Callable[[Path, KirikError], None]
) -> Iterator[Path]:
    """Files to read: those named, and the plausible images in the folders named, sorted.

    Folders are entered to any depth, each once, however many links lead to it. Hidden entries
    are passed over, and so are kirik's own pictures of readings, and what neither its suffix nor
    its first bytes make an image or a zip.
    A file whose first bytes cannot be read is given, to fail by name. A path that is absent and a
    folder that cannot be listed go to `on_error`, and the rest goes on.
    """
    seen: set[tuple[int, int | str]] = set()
    for path in map(Path, paths):
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            on_error(path, access_error(path, error))
            continue
        if is_folder:
            yield from _walk(path, seen, on_error)
        else:
            yield path


def _walk(
    top: Path, seen: set[tuple[int, int | str]], on_error: Callable[[Path, KirikError], None]
) -> Iterator[Path]:
    # Names alone, each folder's apart: of a folder's millions, whole paths take five times as much.
    waiting: list[tuple[Path, list[str]]] = [(top, [""])]
    while waiting:
        folder, names = waiting[-1]
        if not names:
            waiting.pop()
            continue
        path = folder / names.pop()
        try:
            if not path.is_dir():
                yield path
                continue
            facts = path.stat()
            # Network drives of Windows tell no number of a folder's.
            place = facts.st_ino or os.path.realpath(path)
            if (facts.st_dev, place) in seen:
                continue
            seen.add((facts.st_dev, place))
            with os.scandir(path) as listing:
                inside = sorted((e.name for e in listing if _worth_a_look(e)), reverse=True)
        except OSError as error:
            on_error(path, _folder_error(path, error))
            continue
        waiting.append((path, inside))


def _worth_a_look(entry: os.DirEntry) -> bool:
    if entry.name.startswith("."):
        return False
    promises = promises_image(entry.name)
    try:
        if entry.is_dir():
            return True
        if entry.name.upper() == "DICOMDIR":
            return False
        if promises:
            there = entry.is_file() or entry.is_symlink()
            return there and not (entry.name.endswith(OVERLAY_SUFFIX) and _is_own_picture(entry))
        return entry.is_file() and _head_promises(entry)
    except OSError as error:  # a link to itself, or into a folder without permission
        return promises or isinstance(error, PermissionError)


def _is_own_picture(entry: os.DirEntry) -> bool:
    return entry.is_file() and is_own_picture(head_of(entry.path))


def _head_promises(entry: os.DirEntry) -> bool:
    try:
        return promises_radiographs(entry.name, head_of(entry.path))
    except FileNotFoundError:  # gone meanwhile
        return False
    except OSError:
        return True


def _folder_error(path: Path, error: OSError) -> KirikError:
    if isinstance(error, PermissionError):
        message = f"{shown(path)}: no permission to list this folder; change its rights"
        return RadiographError(message, reason="no_permission")
    return access_error(path, error)
