"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from kirik.errors import OutputError

_TEXT = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when all has been written.

    Where writing was broken off, what there is so far is kept beside it, as NAME.partial, and
    `path` is left as it was. UTF-8; a file name's undecodable bytes become \\udcXX, which JSON
    reads back as they were. A pipe or a terminal (/dev/stdout) is written to as it goes.
    Raises OutputError if the disk refuses.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        # /dev/stdout can be a file in the end, in which others' words stand too: added to, then.
        if path.parent == Path("/dev") or (path.exists() and not path.is_file()):
            with path.open("a", **_TEXT) as stream:
                yield stream
            return
    path = path.resolve()  # a link stays, and what it leads to is replaced
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with writing(path):
        file = draft.open("x", **_TEXT)
    try:
        with writing(path):
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.replace(path.with_name(path.name + ".partial"))
        raise


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
