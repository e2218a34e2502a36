"""Folders that are watched: what appears in them is taken in, once it does not grow any more.

Nothing in them is changed or deleted. What was looked at stands in the data folder as hashes of
place, size and time, so that neither a new start nor the end of a study's retention brings
it back; a file that is changed is a new one.
"""

import hashlib
import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from kirik.errors import KirikError, RadiographError
from kirik.files import find_files, shown
from kirik.service import audit_trail
from kirik.service.core import Core
from kirik.service.intake import Upload, take_in
from kirik.service.refusals import StorageFull, Unavailable

log = logging.getLogger("kirik.watch")

BY = "folder"
"""Who hands it in, in the audit trail."""

LOOK_EVERY = 2.0
"""Seconds between two looks; a file must look the same at two of them."""

_TOGETHER = 16


class Watcher:
    """Takes in what appears in some folders."""

    def __init__(self, core: Core, folders: Sequence[Path]):
        self._core, self._folders = core, folders
        self._seen_file = core.settings.data / "watched.txt"
        self._seen = self._remembered()
        self._last: dict[Path, str] = {}
        self._unreadable: set[str] = set()  # tried again, but not told again

    def run(self, stop: threading.Event, *, every: float = LOOK_EVERY) -> None:
        """Look again and again, until told to stop."""
        while True:
            try:
                self.look()
            except (KirikError, OSError) as error:
                # Without its words: a file's place may tell a patient's name.
                log.warning("cannot take in what is watched (%s)", type(error).__name__)
            if stop.wait(every):
                return

    def look(self) -> int:
        """Take in what is new and has not changed since the last look; how many files are done
        with. One that cannot be read is tried again at the next look."""
        found = {path: mark for path in self._files() if (mark := _mark(path)) is not None}
        last, self._last = self._last, found
        ready = [
            (path, mark)
            for path, mark in found.items()
            if mark not in self._seen and last.get(path) == mark
        ]
        ready.sort(key=lambda one: one[1] in self._unreadable)  # a failing disk takes its time
        starts = range(0, len(ready), _TOGETHER)
        return sum(self._take(ready[start : start + _TOGETHER]) for start in starts)

    def _files(self) -> Iterable[Path]:
        return find_files(self._folders, lambda *_: None)

    def _take(self, some: Iterable[tuple[Path, str]]) -> int:
        """Raises StorageFull or Unavailable, where they are tried again at the next look."""
        with ExitStack() as stack:
            films = []
            for path, mark in some:
                try:
                    file = stack.enter_context(path.open("rb"))
                except OSError:  # gone meanwhile, or not ours to read
                    continue
                films.append(_Film(path, mark, file))
            taken = take_in(self._core, [Upload(one.path.name, one) for one in films], BY)
        later = {StorageFull.reason, Unavailable.reason}
        refused = [one for one in taken.refused if one.reason not in later]
        unreadable = {one.mark: one.error for one in films if one.error}
        told = {error for mark, error in unreadable.items() if mark in self._unreadable}
        self._record(one.reason for one in refused if one.error not in told)
        self._unreadable.update(unreadable)
        if len(refused) < len(taken.refused):
            return 0
        done = [one.mark for one in films if not one.error]
        self._remember(done)
        return len(done)

    def _record(self, reasons: Iterable[str]) -> None:
        if reasons := list(reasons):
            with self._core.database.writing() as session:
                for reason in reasons:
                    audit_trail.record(session, BY, "file.refused", "", reason=reason)

    def _remembered(self) -> set[str]:
        try:
            return set(self._seen_file.read_text().split())
        except OSError:
            return set()

    def _remember(self, marks: list[str]) -> None:
        self._seen.update(marks)
        with self._seen_file.open("a") as file:
            file.writelines(f"{mark}\n" for mark in marks)


class _Film:
    """A file to be taken in, which is refused where it cannot be read; the others go on.

    error: why it could not be read; empty as long as it could be.
    """

    def __init__(self, path: Path, mark: str, file: BinaryIO):
        self.path, self.mark, self._file = path, mark, file
        self.error = ""

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = f"{shown(self.path)}: cannot be read ({error.strerror}); copy it again"
            raise RadiographError(self.error, reason="unreadable") from error


def _mark(path: Path) -> str | None:
    """A hash of a file's place, size and time; None where it is none, or empty as yet."""
    try:
        facts = path.stat()
    except OSError:
        return None
    if not facts.st_size:
        return None
    said = f"{path.absolute()}\0{facts.st_size}\0{facts.st_mtime_ns}"
    return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:32]
