"""Files that are there whole or not at all."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os.path import samestat
from pathlib import Path
from typing import IO, TextIO

from kirik.errors import OutputError, SettingsError
from kirik.stores import is_url

TEXT = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


def draft_of(path: Path) -> Path:
    """Where a file is written until all of it is: beside it, as NAME.partial."""
    path = path.resolve()  # a link stays, and what it leads to is replaced
    return path.with_name(f"{path.name}.partial")


def note_of(path: Path) -> Path:
    """Where it stands whose work a file's draft is: beside it, as NAME.partial.model."""
    draft = draft_of(path)
    return draft.with_name(f"{draft.name}.model")


def seen_of(path: Path) -> tuple:
    """What tells a file and its draft from others that take their places, and from themselves
    after they have grown. A file of no bytes is as none."""
    states = []
    for place in (draft_of(path), path):
        with suppress(FileNotFoundError):
            state = place.stat()
            if state.st_size:
                states.append((place.name, state.st_dev, state.st_ino, state.st_size))
    return tuple(states)


def refuse_urls(*places: Path | str | None) -> None:
    """Raise SettingsError if a place is in a store: as a path it would be a folder called s3: on
    this machine."""
    for place in places:
        if place and is_url(str(place)):
            raise SettingsError(
                f"{place}: a store is read and written with --cluster ray and --parquet alone; "
                "name a path on this machine"
            )


_OWN = {"/dev/stdout": 1, "/dev/stderr": 2}
"""This process's own streams, by name: their descriptors."""
_OWN_BY_NUMBER = re.compile(r"/(?:dev|proc/(?:self|thread-self|(\d+)))/fd/(\d+)", re.ASCII)
_MOST_LINKS = 40


def _descriptor(path: Path) -> int | None:
    """This process's own descriptor that a path, or the link that it is, stands for, if any."""
    with suppress(OSError):
        place = path.absolute()
        for _ in range(_MOST_LINKS):
            if str(place) in _OWN:
                return _OWN[str(place)]
            found = _OWN_BY_NUMBER.fullmatch(str(place))
            if found and found[1] in (None, str(os.getpid())):
                return int(found[2])
            place = place.parent / place.readlink()
    return None


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a terminal, which is written to as it goes."""
    # /dev/stdout can be a file in the end, in which others' words stand too: added to, then.
    device = path.parent == Path("/dev") or _descriptor(path) is not None
    return device or (path.exists() and not path.is_file())


def in_each_others_way(one: Path, other: Path) -> bool:
    """Whether two outputs are one file or one stream, by whatever names. What goes to /dev/null is
    in nobody's way."""
    if not (is_stream(one) or is_stream(other)):
        return draft_of(one) == draft_of(other)
    try:
        state = _state(one)
        return samestat(state, _state(other)) and not samestat(state, os.stat(os.devnull))  # noqa: PTH116
    except OSError:  # where it cannot be written either, that is said
        return one == other


def _state(path: Path) -> os.stat_result:
    own = _descriptor(path)
    return path.stat() if own is None else os.fstat(own)


@contextmanager
def replacing(
    path: Path,
    *,
    keep: int = 0,
    seen: tuple | None = None,
    note: str | None = None,
    made_of: Callable[[Path], Path] | None = None,
) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when all has been written.

    Where writing was broken off, what there is so far stays in `draft_of(path)`, and `path` is
    left as it was. keep: bytes of a draft that an earlier run left, after which to go on.
    seen: what `seen_of(path)` was when that was found out. note: stands in `note_of(path)` as long
    as there is a draft. made_of: writes, of the whole draft, the file that takes the place instead,
    and returns where it is.
    UTF-8; a file name's undecodable bytes become \\udcXX, which JSON reads back as they were.
    A pipe or a terminal (/dev/stdout) is written to as it goes.
    Raises OutputError if the disk refuses, or another process is writing the file, or has since it
    was looked at.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(path):
            with _stream(path) as stream:
                yield stream
            return
        with locked(path, seen) as file:
            file.truncate(keep)
            if note:
                note_of(path).write_text(note)
            yield file
            file.flush()
            os.fsync(file.fileno())
            draft = draft_of(path)
            whole = made_of(draft) if made_of else draft
            file.close()  # Windows replaces no file that is open
            whole.replace(path.resolve())
            if made_of:
                draft.unlink()
            note_of(path).unlink(missing_ok=True)


def _stream(path: Path) -> TextIO:
    """A pipe or a device, open to be written to. This process's own standard output and error are
    opened by their descriptors: a file that they are redirected to has its place there."""
    own = _descriptor(path)
    return path.open("a", **TEXT) if own is None else os.fdopen(os.dup(own), "w", **TEXT)


@contextmanager
def locked(path: Path, seen: tuple | None = None) -> Iterator[TextIO]:
    """A file's draft, open to be added to, while no other process writes, replaces or removes it
    or the file; also after it has been closed.

    seen: see `replacing`. A draft that is empty where the block breaks off goes. Raises OSError
    where another process has it, OutputError where another has changed what was seen.
    """
    draft = draft_of(path)
    with draft.open("a", **TEXT) as file, lock(file):
        # The one who had it may have put it in the file's place while it was opened here.
        if not (draft.exists() and samestat(os.fstat(file.fileno()), draft.stat())):
            raise OSError(0, _BUSY)
        try:
            if seen not in (None, seen_of(path)):
                raise OutputError(
                    f"{path}: another process has written it meanwhile; run the same command again"
                )
            yield file
        except BaseException:
            with suppress(OSError):
                file.close()
            with suppress(OSError):
                if not draft.stat().st_size:
                    draft.unlink()
                    note_of(path).unlink(missing_ok=True)
            raise


_BUSY = "another process is writing it"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""As of Lustre without them, and of NFS without its lock service."""


@contextmanager
def lock(file: IO) -> Iterator[None]:
    """Keep others from writing the same draft until the block ends, even if the file is closed in
    it. Raises OSError where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows refuses to replace a file that is open, late as that is
        yield
        return
    held = os.dup(file.fileno())
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(0, _BUSY) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(held)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals into OutputError: what, where, and what to do."""
    try:
        yield
    except OSError as error:
        why, advice = error.strerror or error, "name another place"
        if isinstance(error, FileExistsError):
            why = "there is a file where a folder is needed"
        elif error.errno in _FULL:
            advice = f"free some space, or {advice}"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            advice = "raise their limit (ulimit -n)"
        raise OutputError(f"{path}: cannot be written ({why}); {advice}") from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
