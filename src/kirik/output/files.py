"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from kirik.errors import OutputError

TEXT = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


def draft_of(path: Path) -> Path:
    """Where a file is written until all of it is: beside it, as NAME.partial."""
    path = path.resolve()  # a link stays, and what it leads to is replaced
    return path.with_name(f"{path.name}.partial")


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe or a terminal, which is written to as it goes."""
    # /dev/stdout can be a file in the end, in which others' words stand too: added to, then.
    return path.parent == Path("/dev") or (path.exists() and not path.is_file())


@contextmanager
def replacing(path: Path, *, keep: int = 0) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when all has been written.

    Where writing was broken off, what there is so far stays in `draft_of(path)`, and `path` is
    left as it was. keep: bytes of a draft that an earlier run left, after which to go on.
    UTF-8; a file name's undecodable bytes become \\udcXX, which JSON reads back as they were.
    A pipe or a terminal (/dev/stdout) is written to as it goes.
    Raises OutputError if the disk refuses, or another process is writing the file.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(path):
            with path.open("a", **TEXT) as stream:
                yield stream
            return
    draft = draft_of(path)
    with writing(path):
        file = draft.open("a", **TEXT)
    try:
        with writing(path), file:
            _lock(file)
            file.truncate(keep)
            yield file
            file.flush()
            os.fsync(file.fileno())
        with writing(path):
            draft.replace(path.resolve())
    except BaseException:
        with suppress(OSError):
            if not draft.stat().st_size:
                draft.unlink()
        raise


def _lock(file: TextIO) -> None:
    """Keep others from writing the same draft; the lock goes with the process."""
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
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free some space, or name another place"
        ) from error
