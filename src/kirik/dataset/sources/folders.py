"""A folder per class: `ROOT/transverse/a.png`, `ROOT/normal/exam7/b.dcm`, … become one index."""

from pathlib import Path

from kirik.dataset.index import Defect, Index, Record
from kirik.dataset.sources.files import (
    arrange_classes,
    entries,
    image_files,
    is_image,
    plain_name,
    subfolders,
    tables,
    without_odd_names,
)


def class_folders(root: Path) -> list[Path]:
    """Folders directly under `root` that hold at least one image, at any depth."""
    return [folder for folder in subfolders(root) if next(image_files(folder), None) is not None]


def load_folders(root: Path, negative: str | None) -> Index:
    """Index of a folder per class; ids are posix paths under `root`. Raises DataSetError."""
    labelled: list[tuple[Path, str]] = []
    defects: list[Defect] = []
    for folder in subfolders(root):
        files, odd = without_odd_names(list(image_files(folder)), root)
        defects += odd
        labelled += [(path, plain_name(folder.name)) for path in files]
        if not files:
            defects.append(Defect("empty_folder", (folder.name,), "no radiograph in it"))
    classes, chosen = arrange_classes({name for _, name in labelled}, negative, root)
    records = [
        Record(path.relative_to(root).as_posix(), path, classes.index(name))
        for path, name in labelled
    ]
    defects += _not_read(root)
    ordered = tuple(sorted(records, key=lambda record: record.id))
    return Index(root, "folders", classes, chosen, ordered, tuple(defects))


def _not_read(root: Path) -> list[Defect]:
    loose = [Path(entry.path) for entry in entries(root) if entry.is_file()]
    defects = [
        Defect("unlisted_file", (path.name,), "lies beside the class folders: it has no label")
        for path in loose
        if is_image(path)
    ]
    detail = "not read, since there are class folders; give the table's own path to use it"
    return defects + [Defect("unused_table", (path.name,), detail) for path in tables(root)]
