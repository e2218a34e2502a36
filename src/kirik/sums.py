"""The files of a bundle's folder, and SHA256SUMS, which lists them: written, read and compared."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from kirik.drafts import sync
from kirik.errors import BundleError

MANIFEST, SUMS = "bundle.json", "SHA256SUMS"

_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)


def listed_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by the name of each file that a bundle's SHA256SUMS lists; no file but that is read.

    Raises BundleError if there is none, or a line of it is no checksum.
    """
    path = folder / SUMS
    if not path.exists() and not (folder / MANIFEST).exists():
        raise BundleError(f"{folder}: not a bundle (no {MANIFEST} in it); name a bundle or a run")
    *lines, rest = bytes_of(path, folder).decode("utf-8", "replace").split("\n")
    sums: dict[str, str] = {}
    for number, line in enumerate([*lines, rest] if rest else lines, 1):
        match = _SUM_LINE.fullmatch(line)
        if not match or number > len(lines):  # the last line ends too, or it was cut
            raise BundleError(f"{path}: line {number} is not a checksum; get the bundle again")
        check_name(folder, match[2], reserved=(SUMS,))
        sums[match[2]] = match[1]
    return sums


def check_name(folder: Path, name: str, reserved: Sequence[str]) -> None:
    """Raise BundleError for what could lead out of the bundle or hide in it."""
    if not _FILE_NAME.fullmatch(name) or name in reserved:
        raise BundleError(f"{folder}: {name!r} cannot be the name of a file in a bundle")


def compare_sums(folder: Path, name: str, found: str, expected: str) -> None:
    """Raise BundleError if a file's SHA-256 is not the one that is listed."""
    if found != expected:
        raise BundleError(
            f"{folder}: {name} was changed or damaged (its SHA-256 is not the one in {SUMS}); "
            "get the bundle again"
        )


def bytes_of(path: Path, folder: Path) -> bytes:
    """All of a file in a bundle's folder. Raises BundleError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, folder, error) from error


def sha256_of(path: Path, folder: Path) -> str:
    """The SHA-256, in hex, of a file in a bundle's folder. Raises BundleError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, folder, error) from error


def _unreadable(path: Path, folder: Path, error: OSError) -> BundleError:
    name = path.relative_to(folder).as_posix()
    if isinstance(error, FileNotFoundError):
        return BundleError(f"{folder}: {name} is missing; get the bundle again")
    advice = "check its permissions" if isinstance(error, PermissionError) else "check the disk"
    return BundleError(f"{folder}: {name} cannot be read ({error.strerror}); {advice}")


def fill(draft: Path, contents: Mapping[str, bytes | Path]) -> None:
    """Write all files and their checksums into an empty folder, down to the disk. A Path is copied.

    Raises OSError if the disk refuses.
    """
    sums = []
    for name, content in sorted(contents.items()):
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        else:
            path.write_bytes(content)
        sync(path)
        sums.append(f"{sha256_of(path, draft)}  {name}\n")
    (draft / SUMS).write_text("".join(sums), encoding="utf-8")
    sync(draft / SUMS)
