"""Which files of a folder are radiographs, by names and first bytes; and names made comparable."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kirik.dataset.index import YES_OF_NO, Defect, left_out, negative_class, underscored
from kirik.dataset.tables import nearest
from kirik.errors import DataSetError
from kirik.files import READABLE, head_of, is_dicomdir, kind_of, promises_image, shown

LONGEST_CLASS = 120
"""Letters of a class's name, which a bundle holds no longer."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".dcm", ".dicom", ".dic"}
)
NO_IMAGE = "no JPEG, PNG, TIFF or DICOM; left out: convert or unpack it"
_ANSWERS = {**dict.fromkeys(YES_OF_NO, False), **dict.fromkeys(YES_OF_NO.values(), True)}
_NO_LABELS = frozenset({"nan", "na", "n/a", "<na>", "null", "?", "-"})


def is_image(path: Path) -> bool:
    """Whether a path is a record: a file with such a suffix, or, as in a reading, such first bytes.

    Modalities write DICOM files named by a UID (`1.2.840.10008.1`), or with suffixes of their own.
    """
    if not path.is_file():
        return False
    if path.suffix.casefold() in SUFFIXES:
        return True
    try:
        head = head_of(path)
    except OSError:
        return False
    return kind_of(head) in READABLE and not is_dicomdir(head)


def image_files(folder: Path) -> Iterator[Path]:
    """Image files at any depth, in sorted order; hidden files are none. Raises DataSetError."""
    return filter(is_image, files_within(folder))


def files_within(folder: Path) -> Iterator[Path]:
    """Files at any depth, in sorted order, and links that lead nowhere; nothing hidden. Raises
    DataSetError."""
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that holds it
        return
    for entry in entries(folder):
        if entry.is_dir():
            yield from _walk(Path(entry.path), above | {real})
        elif entry.is_file() or entry.is_symlink():
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


def usable(
    files: Iterable[Path], root: Path, id_of: Callable[[Path], str]
) -> tuple[list[Path], list[Defect]]:
    """Files that are records; and a defect for each that would be one, but for its name (`_odd`),
    its format, or that it is gone. What promises no radiograph at all is passed over."""
    good, defects = [], []
    for path in files:
        where = path.relative_to(root).as_posix()
        if is_image(path):
            if problem := _odd(path, id_of(path)):
                detail = f"{problem}; left out: rename it"
                defects.append(Defect("odd_name", (ascii(where),), detail))
            else:
                good.append(path)
        elif not path.exists():
            defects.append(Defect("missing_file", (shown(where),), "a link that leads nowhere"))
        elif promises_image(path.name):
            defects.append(Defect("not_an_image", (shown(where),), NO_IMAGE))
    return good, defects


def _odd(path: Path, image_id: str) -> str:
    """Why an id is no text that a table can hold: it is not valid Unicode, or begins or ends with
    a blank, which tables do not keep."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "name is not UTF-8"
    odd = image_id != image_id.strip()
    return "its name, or a folder's, begins or ends with a blank" if odd else ""


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
    names: set[str], negative: str | None, where: Path, defects: Sequence[Defect]
) -> tuple[tuple[str, ...], int | None]:
    """Classes in order, the negative one first, and the negative one's index.

    defects: found so far, of which the error for too few classes says what may be the reason.
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
        why = left_out(defects)
        raise DataSetError(
            f"{where}: {found} has radiographs in it; a classifier needs at least two classes"
            + (f". {why}" if why else "")
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
