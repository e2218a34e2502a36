"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from kirik.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` when all has been written.

    Where writing was broken off, what there is so far is kept beside it, as NAME.partial, and
    `path` is left as it was. UTF-8; a file name's undecodable bytes become \\udcXX, which JSON
    reads back as they were. Raises OutputError if the disk refuses.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = draft.open("x", encoding="utf-8", errors="backslashreplace", newline="")
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
