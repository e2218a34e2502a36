"""Where files are to be written, judged before the work that they are of."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kirik.dataset.index import Index
from kirik.errors import OutputError
from kirik.output.files import is_stream


def refuse_unwritable(*files: Path | None, folder: Path | None = None) -> None:
    """Raise OutputError if one of these files, or a folder, cannot be made; missing folders on the
    way can. Nothing is written."""
    for path in filter(None, files):
        with _looking_at(path):
            if path.is_dir():
                raise OutputError(f"{path}: is a folder; name a file")
            if not is_stream(path):
                _refuse_closed(path, path.parent)
    if folder is not None:
        with _looking_at(folder):
            _refuse_closed(folder, folder)


@contextmanager
def _looking_at(path: Path) -> Iterator[None]:
    # Before Python 3.14, a path within a folder that may not be entered raises.
    try:
        yield
    except OSError as problem:
        raise OutputError(
            f"{path}: cannot be looked at ({problem.strerror}); name another place"
        ) from problem


def _refuse_closed(path: Path, folder: Path) -> None:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise OutputError(f"{path}: {there} is a file, no folder; name another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: no permission to write in {there}; name another place")


def refuse_folder(out: Path, index: Index) -> None:
    """Raise OutputError if a folder to write to cannot be made, or is the data set's own, or one of
    its radiographs', or lies in one whose folders are its classes: pictures that are written there
    would count as a part of it."""
    refuse_unwritable(folder=out)
    place, root = out.resolve(), index.root.resolve()
    folders = {folder.resolve() for folder in {record.path.parent for record in index.records}}
    above = {folder for own in folders for folder in own.parents if root in folder.parents}
    within = place.relative_to(root).parts if root in place.parents else ()
    as_class = index.kind == "folders" and within and not any(p.startswith(".") for p in within)
    if as_class or place in {root, *folders, *above}:
        raise OutputError(f"{out}: is a folder of the data set; name another one with --out")
