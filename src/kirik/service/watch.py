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

from kirik.errors import KirikError
from kirik.files import find_files
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
        """Take in what is new and has not changed since the last look; how many files."""
        found = {path: mark for path in self._files() if (mark := _mark(path)) is not None}
        last, self._last = self._last, found
        ready = [
            (path, mark)
            for path, mark in found.items()
            if mark not in self._seen and last.get(path) == mark
        ]
        for start in range(0, len(ready), _TOGETHER):
            self._take(ready[start : start + _TOGETHER])
        return len(ready)

    def _files(self) -> Iterable[Path]:
        return find_files(self._folders, lambda *_: None)

    def _take(self, some: Iterable[tuple[Path, str]]) -> None:
        """Raises StorageFull or Unavailable, where they are tried again at the next look."""
        with ExitStack() as stack:
            uploads, marks = [], []
            for path, mark in some:
                try:
                    file = stack.enter_context(path.open("rb"))
                except OSError:  # gone meanwhile, or not ours to read
                    continue
                uploads.append(Upload(path.name, file))
                marks.append(mark)
            taken = take_in(self._core, uploads, BY)
        later = {StorageFull.reason, Unavailable.reason}
        refused = [one for one in taken.refused if one.reason not in later]
        if refused:
            with self._core.database.writing() as session:
                for one in refused:
                    audit_trail.record(session, BY, "file.refused", "", reason=one.reason)
        if len(refused) == len(taken.refused):
            self._remember(marks)

    def _remembered(self) -> set[str]:
        try:
            return set(self._seen_file.read_text().split())
        except OSError:
            return set()

    def _remember(self, marks: list[str]) -> None:
        self._seen.update(marks)
        with self._seen_file.open("a") as file:
            file.writelines(f"{mark}\n" for mark in marks)


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
