"""A folder per class: `ROOT/transverse/a.png`, `ROOT/normal/exam7/b.dcm`, … become one index.

A folder within a class is an exam's, or a patient's: see `kirik.dataset.sources.bonds`. Where all
classes say whether there is a fracture, patients may also lie on top: `ROOT/p7/fractured/a.png`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from kirik.dataset.index import NEGATIVE_NAMES, POSITIVE_NAMES, Defect, Index, Record, bare
from kirik.dataset.sources.bonds import PARTS, crowded_folders, exam_folders
from kirik.dataset.sources.files import (
    arrange_classes,
    entries,
    files_within,
    image_files,
    is_image,
    one_spelling,
    plain_name,
    says_no_label,
    subfolders,
    tables,
    usable,
)
from kirik.errors import DataSetError

_TELLING = NEGATIVE_NAMES | POSITIVE_NAMES
_FILES = r"((image|img)s?[ _-]?\d*|masks?|labels|annotations)"
_NO_CLASS = re.compile(
    rf"({PARTS})\d*([ _-]?(set|{_FILES}))?|{_FILES}([ _-]?({PARTS}))?", re.IGNORECASE
)


def class_folders(root: Path) -> list[Path]:
    """Folders directly under `root` that hold at least one image, at any depth."""
    return [folder for folder in subfolders(root) if next(image_files(folder), None) is not None]


def says_no_class(name: str) -> bool:
    """Whether a folder's name is that of a part of a data set, or of a kind of files, as detectors'
    tools lay them out: train, valid, test2017, images, masks."""
    return _NO_CLASS.fullmatch(name.strip()) is not None


def classes_within(tops: Sequence[Path]) -> dict[str, set[str]]:
    """Names of the folders of classes in each top folder, by its name, where classes lie a level
    too deep (train/normal, patient7/fractured); empty where they do not.

    Known are classes by two names that say whether there is a fracture, or, within parts of a data
    set, by two names that several parts have.
    """
    held = {top.name: {folder.name for folder in class_folders(top)} for top in tops}
    count = Counter(name for names in held.values() for name in names)
    found = {name for name in count if bare(name) in _TELLING}
    if any(bare(top) in _TELLING for top in held):
        return {}
    if len(found) < 2 and all(re.fullmatch(PARTS, top.casefold()) for top in held):
        found = {name for name, times in count.items() if times > 1}
    return {t: n & found for t, n in held.items() if n & found} if len(found) > 1 else {}


def is_of_patients(root: Path) -> bool:
    """Whether the top folders are patients', with nothing in them but folders of classes whose
    names say whether there is a fracture. None of them holds more than a patient may, or is named
    for a part of the data set or of the body."""
    paths = [path.relative_to(root) for top in subfolders(root) for path in image_files(top)]
    within = all(len(path.parts) > 2 and bare(path.parts[1]) in _TELLING for path in paths)
    tops = [path.parts[0] for path in paths]
    return within and len({*tops}) > 1 and exam_folders(paths) == tops


def load_folders(root: Path, negative: str | None, *, of_patients: bool = False) -> Index:
    """Index of a folder per class, or of a folder per patient with those in it, who is then each
    one's group; ids are posix paths under `root`. Raises DataSetError."""
    labelled: list[tuple[Path, str, str | None]] = []
    defects: list[Defect] = []

    def id_of(path: Path) -> str:
        return path.relative_to(root).as_posix()

    tops = subfolders(root)
    folders = [own for top in tops for own in subfolders(top) or [top]] if of_patients else tops
    for folder in folders:
        if next(image_files(folder), None) is not None:
            _refuse_odd_class(folder)
        files, left_out = usable(files_within(folder), root, id_of)
        defects += left_out
        within = root if of_patients else folder
        places = [path.relative_to(within) for path in files]
        exams = exam_folders(places)
        defects += crowds(places, id_of(within))
        name = plain_name(folder.name)
        labelled += [(path, name, exam) for path, exam in zip(files, exams, strict=True)]
        if not files:
            defects.append(Defect("empty_folder", (id_of(folder),), "no radiograph in it"))
    spelled = one_spelling({name for _, name, _ in labelled})
    classes, chosen = arrange_classes(set(spelled.values()), negative, root, defects)
    records = [
        Record(id_of(path), path, classes.index(spelled[name]), group=exam)
        for path, name, exam in labelled
    ]
    defects += _not_read(root)
    ordered = tuple(sorted(records, key=lambda record: record.id))
    return Index(root, "folders", classes, chosen, ordered, tuple(defects))


def crowds(places: Sequence[PurePath], where: str) -> list[Defect]:
    """A defect for each folder of a class that is not taken for a patient's only because of how
    much it holds. places: of the class's files, within it. where: the class's folder."""
    return [
        Defect("crowded_folder", (f"{where}/{folder}",), f"{count} radiographs")
        for folder, count in crowded_folders(places).items()
    ]


def _refuse_odd_class(folder: Path) -> None:
    if says_no_label(folder.name):
        raise DataSetError(
            f"{folder}: a class of this name says nothing; rename the folder or move it away"
        )
    if folder.name != folder.name.lstrip():  # ids begin with it, and tables keep no blank there
        raise DataSetError(
            f"{str(folder)!r}: the folder's name begins with a blank; rename it without"
        )


def _not_read(root: Path) -> list[Defect]:
    loose = [Path(entry.path) for entry in entries(root) if entry.is_file()]
    defects = [
        Defect("unlisted_file", (path.name,), "lies beside the class folders: it has no label")
        for path in loose
        if is_image(path)
    ]
    detail = "not read, since there are class folders; give the table's own path to use it"
    return defects + [Defect("unused_table", (path.name,), detail) for path in tables(root)]
