"""Every kind of data set becomes one index: FracAtlas, a folder per class, or a CSV."""

from pathlib import Path

from kirik.dataset.index import Index
from kirik.dataset.sources.beyond import without_beyond
from kirik.dataset.sources.files import entries, is_image, tables
from kirik.dataset.sources.folders import (
    class_folders,
    classes_within,
    is_of_patients,
    load_folders,
    says_no_class,
)
from kirik.dataset.sources.fracatlas import in_images, is_fracatlas, load_fracatlas
from kirik.dataset.sources.table import is_table, lists_radiographs, load_table, write_index
from kirik.errors import DataSetError

__all__ = ["load_index", "write_index"]

ADVICE = (
    "put a folder per class on top, with exams or patients within, or list the radiographs in a "
    "CSV with the columns path, label and, where known, patient"
)
EXPECTED = "expected FracAtlas (images/ and dataset.csv), a folder per class, or a CSV"


def load_index(path: Path | str, *, negative: str | None = None) -> Index:
    """Index of a data set, whose kind is seen from what lies there. No image is decoded; boxes that
    lie wholly outside their image are told as defects, and left out.

    path: a FracAtlas folder, a folder with a folder per class, a CSV, or a folder with one CSV.
    negative: the class that means "no fracture", where its name does not say so.
    Raises DataSetError, which says what was expected, if it is none of these, cannot be read, has
    fewer than two classes, or has no class `negative`.
    """
    path = Path(path)
    try:
        return without_beyond(_load(path, negative))
    except OSError as problem:
        raise DataSetError(
            f"{path}: cannot be looked through ({problem.strerror}); check its permissions"
        ) from problem


def _load(path: Path, negative: str | None) -> Index:
    table = is_table(path)
    if table and path.name == "dataset.csv" and is_fracatlas(path.parent):
        return load_fracatlas(path.parent, negative)
    if table:
        return load_table(path, negative)
    if not path.is_dir():
        state = "is no data set" if path.exists() else "does not exist"
        raise DataSetError(f"{path}: {state}; {EXPECTED}")
    if is_fracatlas(path):
        return load_fracatlas(path, negative)
    if in_images(path):
        return load_folders(path / "images", negative)
    return _folder(path, negative)


def _folder(path: Path, negative: str | None) -> Index:
    classes = class_folders(path)
    labelled = len(classes) > 1 and not all(says_no_class(folder.name) for folder in classes)
    if not labelled and (table := _own_table(path, parts=len(classes) > 1)):
        return load_table(table, negative)
    if classes:
        deeper = next((f for f in classes if is_fracatlas(f) or in_images(f)), None)
        if deeper is not None:
            raise DataSetError(f"{path}: no data set itself; did you mean {deeper}?")
        nested = classes_within(classes)
        if nested and is_of_patients(path):
            return load_folders(path, negative, of_patients=True)
        if nested:
            names = ", ".join(sorted(set.union(*nested.values())))
            tops = _some(list(nested))
            raise DataSetError(
                f"{path}: its folders ({tops}) hold those of the classes ({names}); {ADVICE}"
            )
        if len(classes) > 1 and not labelled:
            tops = _some([folder.name for folder in classes])
            raise DataSetError(f"{path}: its folders ({tops}) are named for no classes; {ADVICE}")
        return load_folders(path, negative)
    if any(is_image(Path(entry.path)) for entry in entries(path) if entry.is_file()):
        raise DataSetError(
            f"{path}: its radiographs have no labels; put them in a folder per class, or list "
            "them in a CSV with the columns path and label"
        )
    raise DataSetError(f"{path}: no radiograph in it; {EXPECTED}")


def _own_table(path: Path, *, parts: bool) -> Path | None:
    """The CSV of a folder without class folders; None if there is none, or, beside folders of
    parts, none that lists radiographs. Raises DataSetError if there are several."""
    found = tables(path)
    if parts or len(found) > 1:
        found = [table for table in found if lists_radiographs(table)] or found * (not parts)
    if len(found) > 1:
        names = ", ".join(table.name for table in found)
        raise DataSetError(f"{path}: which CSV is the data set? Give the path of one of {names}")
    return found[0] if found else None


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
