"""A folder to write to, on this machine or in a store, in which files are whole or not there."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from kirik.errors import KirikError, OutputError
from kirik.files import shown
from kirik.output.files import writing
from kirik.stores import explained, is_url, local_path, opened, patiently

_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"})
"""Stores in which a file appears when all of it is there."""


class Folder:
    """A folder on this machine or in a store, in which files are there whole or not at all.

    Its methods raise OutputError if it refuses. Raises SettingsError if there is no such store.
    """

    def __init__(self, place: str):
        self.place = local_path(place) or place.rstrip("/")
        self._local = None if is_url(self.place) else Path(self.place)
        if self._local is None:
            self._system, self._path = opened(self.place)
            protocols = self._system.protocol
            names = {protocols} if isinstance(protocols, str) else set(protocols)
            self._whole = bool(names & _WHOLE)

    def __str__(self) -> str:
        return shown(self.place)

    def names(self) -> list[str]:
        """The names of the files in it, sorted; none if there is no such folder."""
        if self._local is not None:
            with writing(self._local), suppress(FileNotFoundError):
                return sorted(entry.name for entry in os.scandir(self._local))
            return []
        with self._asking():
            self._system.invalidate_cache()
            try:
                found = patiently(lambda: self._system.ls(self._path, detail=False))
            except FileNotFoundError:
                return []
            return sorted(PurePosixPath(one).name for one in found)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes | None:
        """A file's bytes, or those from `start` (from the end, if negative) up to `end`; None if
        there is no such file."""
        with self._asking():
            try:
                if self._local is not None:
                    return _slice(self._local / name, start, end)
                return patiently(lambda: self._cut(self._inside(name), start, end))
            except FileNotFoundError:
                return None

    def _cut(self, path: str, start: int | None, end: int | None) -> bytes:
        if start is not None and start < 0:
            size = self._system.info(path)["size"]
            start, end = max(0, size + start), size
        return self._system.cat_file(path, start=start, end=end)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, in the place of one of that name."""
        if self._local is not None or not self._whole:
            with self.writing(name) as file:
                file.write(content)
            return
        with self._asking():
            patiently(lambda: self._system.pipe_file(self._inside(name), content))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, which takes its name when the block ends well."""
        draft = f".{name}.{uuid.uuid4().hex[:8]}.partial"
        if self._local is not None:
            with self._writing_here(self._local / draft, self._local / name) as file:
                yield file
            return
        target = self._inside(name)
        written = target if self._whole else self._inside(draft)
        with self._asking():
            if not self._whole:
                self._system.makedirs(self._path, exist_ok=True)
            file = self._system.open(written, "wb")
        try:
            yield _Careful(file, self._asking)
        except BaseException:
            with suppress(Exception):
                file.discard()
                file.closed = True  # closing it would show what there is so far
            if written != target:
                with suppress(Exception):
                    self._system.rm_file(written)
            raise
        with self._asking():
            file.close()
            if written != target:
                self._system.mv(written, target)

    @contextmanager
    def _writing_here(self, draft: Path, path: Path) -> Iterator[BinaryIO]:
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with draft.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise

    def _inside(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn a store's refusals into OutputError."""
        try:
            yield
        except KirikError:
            raise
        except Exception as error:
            raise OutputError(f"{self}: {explained(error)[1]}") from error


class _Careful:
    """A store's file of which only what is written to it counts as the store's failure."""

    def __init__(self, file: BinaryIO, asking: Callable[[], AbstractContextManager[None]]):
        self._file, self._asking = file, asking

    def write(self, content: bytes) -> None:
        with self._asking():
            self._file.write(content)


def _slice(path: Path, start: int | None, end: int | None) -> bytes:
    with path.open("rb") as file:
        begin = start or 0
        if begin < 0:
            begin = max(0, file.seek(0, os.SEEK_END) + begin)
        file.seek(begin)
        return file.read() if end is None else file.read(end - begin)
