"""Which files of a folder are radiographs, judged by their names; and names made comparable."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from kirik.dataset.index import YES_OF_NO, Defect, negative_class, underscored
from kirik.dataset.tables import nearest
from kirik.errors import DataSetError

LONGEST_CLASS = 120
"""Letters of a class's name, which a bundle holds no longer."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm", ".dicom"})
_ANSWERS = {**dict.fromkeys(YES_OF_NO, False), **dict.fromkeys(YES_OF_NO.values(), True)}
_NO_LABELS = frozenset({"nan", "na", "n/a", "<na>", "null", "?", "-"})


def is_image(path: Path) -> bool:
    """Whether a file is a record: by its suffix, or, without one, by DICOM's preamble.

    Modalities write DICOM files named by a UID (`1.2.840.10008.1`), so a number is no suffix.
    """
    suffix = path.suffix.casefold()
    if suffix in SUFFIXES:
        return True
    if suffix and not suffix[1:].isdecimal():
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def image_files(folder: Path) -> Iterator[Path]:
    """Image files at any depth, in sorted order; hidden files are none. Raises DataSetError."""
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that holds it
        return
    for entry in entries(folder):
        if entry.is_dir():
            yield from _walk(Path(entry.path), above | {real})
        elif entry.is_file() and is_image(Path(entry.path)):
            yield Path(entry.path)


def entries(folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, sorted by name, hidden things left out. Raises DataSetError."""
    try:
        with os.scandir(folder) as found:
            seen = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as problem:
        raise DataSetError(
            f"{folder}: cannot be listed ({problem.strerror}); check its permissions"
        ) from problem
    return sorted(seen, key=lambda entry: entry.name)


def subfolders(folder: Path) -> list[Path]:
    """Folders directly in a folder, sorted. Raises DataSetError."""
    return [Path(entry.path) for entry in entries(folder) if entry.is_dir()]


def tables(folder: Path) -> list[Path]:
    """CSV files directly in a folder, sorted. Raises DataSetError."""
    found = [Path(entry.path) for entry in entries(folder) if entry.is_file()]
    return [path for path in found if path.suffix.casefold() == ".csv"]


def without_odd_names(
    files: list[Path], root: Path, id_of: Callable[[Path], str]
) -> tuple[list[Path], list[Defect]]:
    """Files whose ids are text that a table can hold, and a defect for each other one: its name is
    not valid Unicode, or its id begins or ends with a blank, which tables do not keep."""
    good, defects = [], []
    for path in files:
        problem, image_id = "", id_of(path)
        try:
            str(path).encode()
            if image_id != image_id.strip():
                problem = "its name, or a folder's, begins or ends with a blank"
        except UnicodeEncodeError:
            problem = "name is not UTF-8"
        if problem:
            shown = ascii(path.relative_to(root).as_posix())
            defects.append(Defect("odd_name", (shown,), f"{problem}; left out: rename it"))
        else:
            good.append(path)
    return good, defects


def yes_or_no(cell: str) -> bool | None:
    """What a cell says of a fact that is so or is not; None if it says neither."""
    return _ANSWERS.get(cell.strip().casefold().replace("ı", "i"))


def plain_name(name: str) -> str:
    """A class's or region's name made comparable: casefolded, blanks and hyphens as underscores."""
    folded = unicodedata.normalize("NFC", name.strip()).casefold()
    folded = folded.replace("i̇", "i")  # what casefold leaves of the Turkish dotted capital İ
    return underscored(folded)


def says_no_label(name: str) -> bool:
    """Whether a class's name means that the label is not known: nan, NA, null and the like. Not
    unknown or none, which say nothing of a patient (`says_nothing`), but may be classes."""
    return name.strip().casefold() in _NO_LABELS


def one_spelling(names: set[str]) -> dict[str, str]:
    """Of names that differ in dotted and dotless i alone, the one with most dotless ones for each:
    KIRIK, made comparable without its language, is kirik, and means kırık."""
    meant: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name.count("ı")):
        meant[name.replace("ı", "i")] = name
    return {name: meant[name.replace("ı", "i")] for name in names}


def arrange_classes(
    names: set[str], negative: str | None, where: Path
) -> tuple[tuple[str, ...], int | None]:
    """Classes in order, the negative one first, and the negative one's index.

    Raises DataSetError if there are fewer than two, one is longer than a model can hold, or
    `negative` names none of them.
    """
    if too_long := next((name for name in sorted(names) if len(name) > LONGEST_CLASS), None):
        raise DataSetError(
            f"{where}: a class's name of {len(too_long)} letters ({too_long[:40]}…); use "
            f"{LONGEST_CLASS} at most"
        )
    if len(names) < 2:
        found = f"only the class {next(iter(names))!r}" if names else "no class"
        raise DataSetError(
            f"{where}: {found} has radiographs in it; a classifier needs at least two classes"
        )
    classes = tuple(sorted(names))
    if negative is not None and plain_name(negative) not in names:
        raise DataSetError(
            f"{where}: no class {negative!r} to take as the negative one; "
            f"{nearest(plain_name(negative), classes)}the classes are {', '.join(classes)}"
        )
    chosen = negative_class(classes) if negative is None else classes.index(plain_name(negative))
    if chosen is None:
        return classes, None
    first = classes[chosen]
    return (first, *(name for name in classes if name != first)), 0
