"""Pictures of readings in a folder: each under a name of its own, whole or not there at all."""

import errno
import hashlib
import os
import re
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kirik.archives import Member
from kirik.drafts import drafting
from kirik.errors import OutputError, RadiographError
from kirik.files import OVERLAY_NOTE, OVERLAY_SUFFIX, head_of, shown
from kirik.output.files import writing
from kirik.output.overlay import FILM, draw_overlay
from kirik.output.words import texts
from kirik.radiograph import Radiograph
from kirik.reading.batch import Given
from kirik.reading.cores import usable_cores
from kirik.reading.decoder import Decoders, shared_decoders
from kirik.reading.film import decode_film
from kirik.reading.reading import Failure, Reading

_LONGEST = 255
"""Bytes in a file's name that file systems take."""
_APART = len(f"-01234567{OVERLAY_SUFFIX}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""With these no further picture can be written."""
_DRAFTS = "pictures"
"""After this the folder is called, hidden, in which pictures are written before they are moved."""
_MOST_AT_ONCE = 4
"""Pictures that are drawn side by side: each takes 20 to 45 MB."""


def write_overlay(
    reading: Reading,
    path: Path | str,
    language: str = "en",
    *,
    source: Path | str | Member | None = None,
    decoders: Decoders | None = None,
) -> None:
    """Draw the reading of a file as PNG.

    source: the file, where it is not simply the one of the reading's path. decoders: see
    `Classifier`. Raises RadiographError if the file cannot be read any more, OutputError if the
    disk refuses.
    """
    path = Path(path)
    picture = draw_overlay(_film(reading, source, decoders), reading, language)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafting(path.parent / _DRAFTS) as drafts:
            draft = drafts / path.name
            _save(picture, reading.path or str(source), draft)
            draft.replace(path)


@contextmanager
def overlay_writer(
    folder: Path | str,
    names: Mapping[str, str] | None,
    decoders: Decoders | None = None,
    language: str = "en",
) -> Iterator["Pictures"]:
    """A PNG in `folder` for each reading.

    names: by path, see `overlay_names`; where None, each name is told apart by its path, and so is
    one that something else than this file's own picture has in the folder. One that is too long
    for a file is cut short.
    Raises OutputError if the disk refuses, SettingsError if kirik does not speak the language. The
    writer raises RadiographError if this picture alone cannot be written, and can be asked on.
    """
    texts(language)
    folder = Path(folder)
    with ExitStack() as held:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            drafts = held.enter_context(drafting(folder / _DRAFTS))
            (drafts / "begun").touch()  # one that is empty would stay after a kill
        pictures = Pictures(folder, names, drafts, decoders, language)
        held.callback(pictures.close)
        yield pictures


class Pictures:
    """Call it with each result, in order, as other writers of results; see `overlay_writer`."""

    def __init__(
        self,
        folder: Path,
        names: Mapping[str, str] | None,
        drafts: Path,
        decoders: Decoders | None,
        language: str,
    ):
        """drafts: a folder in which pictures are written before they are moved."""
        self._folder, self._names, self._drafts = folder, names, drafts
        self._decoders, self._language = decoders, language
        self._numbers, self._closed, self._alone = count(), False, False
        self._at_once = min(usable_cores(), _MOST_AT_ONCE)
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="kirik-draw")
        self._begun: dict[int, Future[Path]] = {}
        # Each that is decoded at the same time takes a process of its own.
        self._decoding = threading.Lock()

    def __call__(self, result: Reading | Failure) -> None:
        if isinstance(result, Failure):
            return
        places = self._places(result)
        begun = self._begun.pop(id(result), None)
        try:
            draft = begun.result() if begun else self._drawn(result)
            if not draft.exists():  # somebody has tidied up
                draft = self._drawn(result)
            with writing(places[0]), _removed_after(draft):
                _put(draft, *places, result.path)
        except (OutputError, RadiographError) as error:
            if getattr(error.__cause__, "errno", None) in _NO_ROOM:
                raise
            message = f"{shown(result.path)}: has a reading, but no picture: {error}"
            raise RadiographError(message, frame=result.frame) from error

    def ahead(self, results: Iterable[Reading | Failure]) -> Iterator[Reading | Failure]:
        """The same results, a few of them later: the pictures of those that wait are drawn
        meanwhile, side by side."""
        waiting, given = deque(), Given(results)
        for result in given:
            waiting.append(result)
            if isinstance(result, Reading):
                self._begin(result)
            if len(waiting) > self._at_once:
                yield waiting.popleft()
        yield from waiting
        if given.error is not None:
            raise given.error

    def close(self) -> None:
        """Draw no more."""
        self._closed = self._alone = True
        self._threads.shutdown(cancel_futures=True)

    def _begin(self, reading: Reading) -> None:
        """Have a thread draw its picture."""
        if self._alone:
            return
        try:
            self._begun[id(reading)] = self._threads.submit(self._drawn, reading)
        except RuntimeError:  # the system gives no more of them; it is drawn when its turn comes
            self._alone = True

    def _drawn(self, reading: Reading) -> Path:
        """The picture's draft. Raises RadiographError or OutputError where there can be none."""
        with self._decoding:
            self._go_on()
            film = _film(reading, reading.source, self._decoders)
        picture = draw_overlay(film, reading, self._language)
        draft = self._drafts / f"{next(self._numbers)}{OVERLAY_SUFFIX}"
        self._go_on()
        with writing(self._places(reading)[0]):
            self._drafts.mkdir(parents=True, exist_ok=True)
            _save(picture, reading.path, draft)
        return draft

    def _go_on(self) -> None:
        """Raise CancelledError where nobody wants a picture any more."""
        if self._closed:
            raise CancelledError

    def _places(self, reading: Reading) -> tuple[Path, Path]:
        return _places_of(self._folder, self._names, reading.path, reading.frame)


@contextmanager
def _removed_after(draft: Path) -> Iterator[None]:
    """A draft that could not be moved does not stay until the end: there may be thousands."""
    try:
        yield
    finally:
        with suppress(OSError):
            draft.unlink()


def _film(
    reading: Reading, source: Path | str | Member | None, decoders: Decoders | None
) -> Radiograph:
    return decode_film(source or reading.path, reading.frame, FILM, decoders or shared_decoders())


def _save(picture: Image.Image, path: str, draft: Path) -> None:
    """Write a picture; in it stands whose it is."""
    note = PngInfo()
    note.add_text(OVERLAY_NOTE, _hash(path))
    # In half the time of the usual level 6, by 7 % larger.
    picture.save(draft, "PNG", compress_level=3, pnginfo=note)


def _put(draft: Path, plain: Path, apart: Path, path: str) -> None:
    """Move a picture to its place, where at most an earlier one of the same file stands."""
    free = not (plain.exists() or apart.exists())
    if not (free and _put_first(draft, plain)):
        target = plain if _is_of(plain, path) else apart
        with writing(target):
            draft.replace(target)


def _put_first(draft: Path, plain: Path) -> bool:
    """Give a picture a name that nothing has; False if another process has just taken it."""
    try:
        os.link(draft, plain)  # which replaces nothing
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        draft.replace(plain)
    else:
        draft.unlink()
    return True


def _is_of(picture: Path, path: str) -> bool:
    """Whether a picture says that it is of a file."""
    try:
        said = head_of(picture) if picture.is_file() else b""
    except OSError:  # whoever's it is, it is not replaced
        return False
    return f"tEXt{OVERLAY_NOTE}\0{_hash(path)}".encode() in said


def has_pictures(
    folder: Path | str,
    names: Mapping[str, str] | None,
    path: str,
    frames: Iterable[int | None],
) -> bool:
    """Whether the pictures of a file's frames are in a folder; frame None is the only one. names:
    see `overlay_writer`."""
    places = (_places_of(Path(folder), names, path, frame) for frame in frames)
    return all(_is_of(plain, path) or apart.exists() for plain, apart in places)


def _places_of(
    folder: Path, names: Mapping[str, str] | None, path: str, frame: int | None
) -> tuple[Path, Path]:
    """Where a frame's picture goes, and where if that is taken; no other file has the second."""
    apart = _told_apart(path)
    name = apart if names is None else names[path]
    plain, apart = (folder / _numbered(one, path, frame) for one in (name, apart))
    return plain, apart


def _numbered(name: str, path: str, frame: int | None) -> str:
    """A picture's name with its frame's number, cut short where no file could have it."""
    number = "" if frame is None else f"-{frame}"
    whole = name.replace(OVERLAY_SUFFIX, f"{number}{OVERLAY_SUFFIX}")
    if len(os.fsencode(whole)) <= _LONGEST:
        return whole
    end = _told_apart(path)[-_APART:].replace(OVERLAY_SUFFIX, f"{number}{OVERLAY_SUFFIX}")
    stem = os.fsencode(Path(path).stem)[: _LONGEST - len(end)]
    return stem.decode("utf-8", "ignore") + end


def overlay_names(sources: Iterable) -> dict[str, str]:
    """A PNG's name for each file, by its own name, told apart where folders hold the same one, or
    one that a frame of another file may have.

    They depend on the files alone, not on their order, and are never the name of one of them.
    """
    paths = [str(source) for source in sources if not isinstance(source, Failure)]
    taken = {Path(path).name.casefold() for path in paths}
    plain = [f"{Path(path).stem}{OVERLAY_SUFFIX}" for path in paths]
    seen = Counter(name.casefold() for name in plain)
    framed = {_without_frame(name) for name in taken}
    names = {}
    for path, name in zip(paths, plain, strict=True):
        own = name.casefold()
        base = _without_frame(own)
        may_be_a_frames = base != own and base in seen
        several = seen[own] > 1 or own in taken or own in framed or may_be_a_frames
        names[path] = _told_apart(path) if several else name
    return names


def _without_frame(name: str) -> str:
    """A picture's name as it was before `_numbered`, if it was numbered."""
    return re.sub(rf"-\d+(?={re.escape(OVERLAY_SUFFIX)}$)", "", name)


def _told_apart(path: str) -> str:
    return f"{Path(path).stem}-{_hash(path)[:8]}{OVERLAY_SUFFIX}"


def _hash(path: str) -> str:
    where = str(Path(path).absolute()).encode("utf-8", "surrogateescape")
    return hashlib.sha256(where).hexdigest()
