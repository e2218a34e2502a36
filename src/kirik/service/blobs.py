"""Files in the data folder, each named by the SHA-256 of its bytes.

    incoming/…      what is still being written, bundles too; no name of the user's
    blobs/ab/cd…    what is whole, and safe on disk before its name appears

A file is first written elsewhere, flushed to the disk, and only then given its name, and the
folder is flushed, too: after a power cut it is there whole or not at all.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from kirik.drafts import sync
from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES
from kirik.service.refusals import StorageFull

_PIECE = 2**20
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Draft:
    """A file that is safe on disk but has no name yet.

    head: its first bytes, as many as tell its kind.
    """

    path: Path
    sha256: str
    size: int
    head: bytes

    def drop(self) -> None:
        """Delete it, if it was not kept."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class Blobs:
    """The files of a data folder, which others than its owner cannot read."""

    def __init__(self, data: Path):
        self.data = data
        self.incoming, self._kept = data / "incoming", data / "blobs"
        for folder in (data, self.incoming, self._kept):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the bytes of this hash are, or would be."""
        return self._kept / sha256[:2] / sha256[2:]

    def draft(self, file: BinaryIO, most: int, name: str) -> Draft:
        """Write a stream to the disk. Raises RadiographError (too_large, empty), StorageFull.

        name: how errors call it.
        """
        return self.draft_of(iter(lambda: file.read(_PIECE), b""), most, name)

    def draft_of(self, pieces: Iterable[bytes], most: int, name: str) -> Draft:
        """The same for bytes in pieces."""
        path = self.incoming / uuid4().hex
        digest, size, head = hashlib.sha256(), 0, b""
        with refused_when_full():
            try:
                with os.fdopen(os.open(path, _NEW, 0o600), "wb") as out:
                    for piece in pieces:
                        size += len(piece)
                        if size > most:
                            raise _too_large(name, most)
                        head = head or bytes(piece[:HEAD_BYTES])
                        digest.update(piece)
                        out.write(piece)
                    out.flush()
                    os.fsync(out.fileno())
                if not size:
                    raise RadiographError(f"{name}: empty (0 bytes); copy it again", reason="empty")
            except BaseException:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
                raise
        return Draft(path, digest.hexdigest(), size, head)

    def keep(self, draft: Draft) -> None:
        """Give a draft its name; where the same bytes have it already, they are replaced.

        Call it in the transaction that writes the row, after `lock`, or a sweep that found no row
        of these bytes could delete them in between. Raises StorageFull.
        """
        place = self.path(draft.sha256)
        with refused_when_full():
            if not place.parent.is_dir():
                place.parent.mkdir(mode=0o700, exist_ok=True)
                sync(self._kept)
            draft.path.replace(place)
            sync(place.parent)

    def remove(self, sha256: str) -> None:
        """Delete the bytes of this hash, if they are there."""
        self.path(sha256).unlink(missing_ok=True)

    def stale(self, hours: float) -> Iterator[str]:
        """Hashes of the files that have lain for so long; left-over drafts are deleted."""
        before = time.time() - hours * 3600
        for path in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    remove = shutil.rmtree if path.is_dir() else Path.unlink
                    remove(path)
        for path in self._kept.glob("??/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    yield path.parent.name + path.name

    def free(self) -> int:
        """Bytes left on the disk."""
        return shutil.disk_usage(self.data).free


@contextmanager
def refused_when_full() -> Iterator[None]:
    """Turn a full disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFull("the disk is full; free some space and try again") from error


def _too_large(name: str, most: int) -> RadiographError:
    message = f"{name}: more than the limit of {most / 2**20:,.0f} MiB; export it smaller"
    return RadiographError(message, reason="too_large")
