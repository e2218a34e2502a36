"""Files that are there whole or not at all."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from kirik.errors import OutputError

TEXT = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


def draft_of(path: Path) -> Path:
    """Where a file is written until all of it is: beside it, as NAME.partial."""
    path = path.resolve()  # a link stays, and what it leads to is replaced
    return path.with_name(f"{path.name}.partial")


def note_of(path: Path) -> Path:
    """Where it stands whose work a file's draft is: beside it, as NAME.partial.model."""
    draft = draft_of(path)
    return draft.with_name(f"{draft.name}.model")


_OWN = {"/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/1": 1, "/dev/fd/2": 2}
"""This process's own streams, by name: their descriptors."""


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a terminal, which is written to as it goes."""
    # /dev/stdout can be a file in the end, in which others' words stand too: added to, then.
    device = str(path) in _OWN or path.parent == Path("/dev")
    return device or (path.exists() and not path.is_file())


@contextmanager
def replacing(
    path: Path,
    *,
    keep: int = 0,
    note: str | None = None,
    made_of: Callable[[Path], Path] | None = None,
) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when all has been written.

    Where writing was broken off, what there is so far stays in `draft_of(path)`, and `path` is
    left as it was. keep: bytes of a draft that an earlier run left, after which to go on.
    note: stands in `note_of(path)` as long as there is a draft. made_of: writes, of the whole
    draft, the file that takes the place instead, and returns where it is.
    UTF-8; a file name's undecodable bytes become \\udcXX, which JSON reads back as they were.
    A pipe or a terminal (/dev/stdout) is written to as it goes.
    Raises OutputError if the disk refuses, or another process is writing the file.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(path):
            with _stream(path) as stream:
                yield stream
            return
    draft, own = draft_of(path), False
    with writing(path):
        file = draft.open("a", **TEXT)
    try:
        with writing(path), file:
            lock(file)
            own = True
            file.truncate(keep)
            if note:
                note_of(path).write_text(note)
            yield file
            file.flush()
            os.fsync(file.fileno())
            whole = made_of(draft) if made_of else draft
        with writing(path):
            whole.replace(path.resolve())
            if made_of:
                draft.unlink()
            note_of(path).unlink(missing_ok=True)
    except BaseException:
        with suppress(OSError):
            if own and not draft.stat().st_size:
                draft.unlink()
                note_of(path).unlink(missing_ok=True)
        raise


def _stream(path: Path) -> TextIO:
    """A pipe or a device, open to be written to. This process's own standard output and error are
    opened by their descriptors: a file that they are redirected to has its place there."""
    own = _OWN.get(str(path))
    return path.open("a", **TEXT) if own is None else os.fdopen(os.dup(own), "w", **TEXT)


def lock(file: TextIO) -> None:
    """Keep others from writing the same draft; the lock goes when the file is closed. Raises
    OSError where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows refuses to replace a file that is open, late as that is
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(0, "another process is writing it") from error


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
        raise OutputError(f"{path}: cannot be written ({why}); {advice}") from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
