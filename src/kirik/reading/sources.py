"""What there is to read in files, folders and archives, found as it is needed."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from kirik.archives import Member, announces_archive, is_archive
from kirik.errors import KirikError, RadiographError
from kirik.files import access_error, find_files, promises_image, shown
from kirik.reading.decoder import Decoders
from kirik.reading.reading import Failure, failure_of

Source = Path | Member | Failure
"""A file, a zip's member, or what could not be looked into."""

KNOWN = 100_000
"""So many are found before the first is read, so that their number is known; more are counted
while the reading goes on."""


def find_sources(paths: Iterable[Path | str], decoders: Decoders) -> Iterator[Source]:
    """All radiographs in files, folders, zips and DICOMDIRs, each once, always in one order."""
    paths = [*map(Path, paths)]
    found = _found(paths, decoders)
    # A folder is entered once: only what is named or listed besides can be met again.
    return found if all(_is_folder(path) for path in paths) else once(found)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _found(paths: list[Path], decoders: Decoders) -> Iterator[Source]:
    problems: list[Failure] = []
    named = set(paths)
    for path in find_files(paths, lambda path, e: problems.append(failure_of(path, e))):
        yield from problems
        problems.clear()
        # Not each file of a folder is opened for this: where opening takes a network's time, the
        # first reading would come late. A zip with an image's suffix is refused when it is read.
        sniffed = path in named or not promises_image(path.name)
        if is_archive(path) or (sniffed and announces_archive(path)):
            yield from _archived(path, decoders)
        else:
            yield path
    yield from problems


def once(sources: Iterable[Source], seen: set[int] | None = None) -> Iterator[Source]:
    """Each but those that came before by the same path, relative or not. seen: of which sources
    came before these; added to. Hashes of 64 bits, as there may be millions."""
    seen = set() if seen is None else seen
    for source in sources:
        key = hash(_identity(source))
        if key not in seen:
            seen.add(key)
            yield source


def _identity(source: Source) -> tuple[str, ...]:
    if isinstance(source, Failure):
        return source.path, source.error
    if isinstance(source, Member):
        return _absolute(Path(source.archive)), source.name
    return (_absolute(source),)


def _absolute(path: Path) -> str:
    try:
        return str(path.absolute())
    except OSError:  # the working folder is gone
        return str(path)


def _archived(path: Path, decoders: Decoders) -> Iterator[Source]:
    try:
        for message, _ in decoders.ask(path, {"do": "list"}):
            if "error" in message:
                yield Failure(str(path), message["error"], message["reason"])
            for name in message.get("members", ()):
                yield Member(str(path), name)
            for name in message.get("paths", ()):
                yield _if_there(Path(name))
    except RadiographError as error:
        if error.reason in _BROKE_OFF:
            why = f"{shown(path)}: {_BROKE_OFF[error.reason]}; unpack it"
            error = RadiographError(why, reason=error.reason)
        yield failure_of(path, error)


_BROKE_OFF = {
    "too_slow": "an archive whose list of files takes too long",
    "crashed": "an archive on whose list of files the decoder broke down",
}


def _if_there(path: Path) -> Path | Failure:
    """A file that a DICOMDIR lists: it may never have been copied."""
    try:
        path.stat()
    except (OSError, ValueError) as error:
        return failure_of(path, access_error(path, error))
    return path


class Sources:
    """The sources of some paths, and how many there are, as far as that is known.

    count: whether to find out how many there are of more than `KNOWN`, which lists them all once
    more. Raises RadiographError if there is none.
    """

    def __init__(self, paths: Iterable[Path | str], decoders: Decoders, count: bool):
        paths = list(paths)
        found = find_sources(paths, decoders)
        self.first = list(islice(found, KNOWN))
        if not self.first:
            where = ", ".join(str(path) for path in paths)
            raise RadiographError(
                f"{where}: no radiographs in there; name files, or a folder of them"
            )
        self.all_known = len(self.first) < KNOWN
        self.total: int | None = len(self.first) if self.all_known else None
        self._rest = found
        if count and not self.all_known:
            asked, name = (paths, decoders), "kirik-count"
            with suppress(RuntimeError):  # the system gives no thread
                threading.Thread(target=self._count, args=asked, name=name, daemon=True).start()

    def _count(self, paths: list, decoders: Decoders) -> None:
        with suppress(KirikError):  # which the reading then meets, and tells
            self.total = sum(1 for _ in find_sources(paths, decoders))

    def __iter__(self) -> Iterator[Source]:
        return chain(self.first, self._rest)
