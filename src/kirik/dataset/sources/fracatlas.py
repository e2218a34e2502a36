"""FracAtlas: class folders, `dataset.csv` and COCO masks become one index.

Abedeen et al., "FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation
of Musculoskeletal Radiographs", Scientific Data 10, 521 (2023). The label is the class folder's;
where the table or the masks say otherwise, that is a defect, and the folder wins.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kirik.dataset.index import NEGATIVE_NAMES, Defect, Index, Record, bare
from kirik.dataset.sources.bonds import bound, exam_folders
from kirik.dataset.sources.coco import MASKS, Annotations, Shapes, read_annotations
from kirik.dataset.sources.files import (
    arrange_classes,
    files_within,
    image_files,
    subfolders,
    tables,
    usable,
    yes_or_no,
)
from kirik.dataset.sources.folders import crowds
from kirik.dataset.sources.table import ALIASES, IDS, lists_radiographs
from kirik.dataset.tables import Row, Table, read_table
from kirik.errors import DataSetError

REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
FLAGS = ("mixed", "hardware", "multiscan", "fractured")
COLUMNS = ("image_id", *REGIONS, *VIEWS, *FLAGS, "fracture_count")
FRACTURED, NOT_FRACTURED = "fractured", "not_fractured"


@dataclass(frozen=True)
class _Listed:
    """What `dataset.csv` says of one radiograph; None where it says nothing."""

    flags: dict[str, bool | None]
    fracture_count: int | None
    group: str | None
    facts: dict[str, str]

    def names(self, flags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(name for name in flags if self.flags.get(name)))


UNLISTED = _Listed({}, None, None, {})


def is_fracatlas(root: Path) -> bool:
    """Whether a folder has FracAtlas's layout: `images/` with its `dataset.csv`; or with its two
    classes, where no table of radiographs says more than these, and its masks, or files that are
    known by their names alone, right in the folders of the classes. Raises DataSetError."""
    table = root / "dataset.csv"
    if table.is_file():
        return (root / "images").is_dir() and not _is_of_another(table)
    if not in_images(root):
        return False
    if (root / MASKS).is_file():
        return True
    folders, files = _class_folders(root / "images"), list(image_files(root / "images"))
    names = {path.name for path in files if path.parent in folders}
    return len(names) == len(files)


def in_images(root: Path) -> bool:
    """Whether `images/` holds FracAtlas's two classes, and no table of radiographs lies beside it.
    Raises DataSetError."""
    images = root / "images"
    both = images.is_dir() and {*_class_folders(images).values()} == {FRACTURED, NOT_FRACTURED}
    return both and not any(map(lists_radiographs, tables(root)))


def _is_of_another(table: Path) -> bool:
    """Whether a `dataset.csv` is another data set's: with a column of a path or a label, as
    FracAtlas has none, and without those of its regions."""
    columns = {*read_table(table).columns}
    others = {*ALIASES["path"], *ALIASES["label"]} - {*COLUMNS}
    return (
        lists_radiographs(table) and not columns.isdisjoint(others) and columns.isdisjoint(REGIONS)
    )


def load_fracatlas(root: Path, negative: str | None) -> Index:
    """Index of a FracAtlas folder; ids are file names. Raises DataSetError.

    Without the table, or without the masks, what they would say is unknown, and a defect tells.
    Copies to which patients were added, as columns of the table or as folders, are bound by them.
    """
    defects: list[Defect] = []
    labelled = _labelled_files(root, defects)
    there = {i for d in defects if d.kind.startswith("same_name") for i in d.ids} | set(labelled)
    listed = _listed(root, defects)
    annotations = read_annotations(root / MASKS, defects)
    classes, chosen = arrange_classes(
        {name for _, name in labelled.values()}, negative, root, defects
    )
    shapes = annotations.shapes if annotations else {}
    exams = _exams(root, [path for path, _ in labelled.values()], defects)
    records = []
    for image_id, (path, name) in sorted(labelled.items()):
        said = UNLISTED if listed is None else listed.get(image_id, UNLISTED)
        label, group = classes.index(name), said.group or exams[path]
        records.append(_record(image_id, path, label, group, said, shapes.get(image_id)))
        defects += _disagreement(image_id, name == FRACTURED, said, annotations)
    defects += _missing_and_unlisted(there, there if listed is None else set(listed), annotations)
    return Index(root, "fracatlas", classes, chosen, tuple(records), tuple(defects))


def _class_folders(images: Path) -> dict[Path, str]:
    known = {}
    for folder in subfolders(images):
        name = bare(folder.name)
        if name == FRACTURED or name in NEGATIVE_NAMES:
            known[folder] = FRACTURED if name == FRACTURED else NOT_FRACTURED
    return known


def _labelled_files(root: Path, defects: list[Defect]) -> dict[str, tuple[Path, str]]:
    folders = _class_folders(root / "images")
    found = defaultdict(list)
    files, left_out = usable(files_within(root / "images"), root, lambda path: path.name)
    defects += left_out
    for path in files:
        name = next((n for folder, n in folders.items() if folder in path.parents), None)
        if name is None:
            where = path.relative_to(root).as_posix()
            defects.append(Defect("unlisted_file", (where,), "lies in no class folder"))
        else:
            found[path.name].append((path, name))
    for image_id, places in found.items():
        if len(places) > 1:
            where = ", ".join(path.relative_to(root).as_posix() for path, _ in places)
            both = len({name for _, name in places}) > 1
            kind = "same_name_in_both_classes" if both else "same_name_twice"
            defects.append(Defect(kind, (image_id,), f"left out, since it is ambiguous: {where}"))
    return {image_id: places[0] for image_id, places in found.items() if len(places) == 1}


def _exams(root: Path, paths: Sequence[Path], defects: list[Defect]) -> dict[Path, str | None]:
    """The exam's, or patient's, folder of each file within its class."""
    exams: dict[Path, str | None] = {}
    for folder in _class_folders(root / "images"):
        own = [path for path in paths if folder in path.parents]
        places = [path.relative_to(folder) for path in own]
        exams |= dict(zip(own, exam_folders(places), strict=True))
        defects += crowds(places, folder.relative_to(root).as_posix())
    return exams


def _listed(root: Path, defects: list[Defect]) -> dict[str, _Listed] | None:
    path = root / "dataset.csv"
    if not path.is_file():
        defects.append(Defect("missing_table", ("dataset.csv",), "regions and views are unknown"))
        return None
    table = read_table(path)
    if "image_id" not in table.columns:
        raise DataSetError(f"{path}: no column image_id; FracAtlas's are {','.join(COLUMNS)}")
    for name in COLUMNS:
        if name not in table.columns:
            defects.append(Defect("missing_column", ("dataset.csv",), name))
    for name in table.columns:
        if name not in (*COLUMNS, *IDS):
            defects.append(Defect("unknown_column", ("dataset.csv",), f"{name}: kept as a fact"))
    counts = Counter(row.cells["image_id"] for row in table.rows)
    for image_id, count in counts.items():
        if count > 1:
            detail = f"{count} rows in dataset.csv; the first one counts"
            defects.append(Defect("duplicate_row", (image_id,), detail))
    rows = list(zip(table.rows, bound(table, IDS), strict=True))
    return {row.cells["image_id"]: _row(row, table, group) for row, group in reversed(rows)}


def _row(row: Row, table: Table, group: str | None) -> _Listed:
    names = [name for name in (*REGIONS, *VIEWS, *FLAGS) if row.cells.get(name)]
    flags = {name: _flag(row, name, table.path) for name in names}
    count = row.cells.get("fracture_count", "")
    if count and not count.isdecimal():
        raise DataSetError(
            f"{table.path}, line {row.line}: fracture_count is {count!r}; expected a number"
        )
    facts = {name: row.cells[name] for name in table.columns if name not in COLUMNS}
    return _Listed(flags, int(count) if count else None, group, facts)


def _flag(row: Row, name: str, path: Path) -> bool:
    said = yes_or_no(row.cells[name])
    if said is None:
        raise DataSetError(
            f"{path}, line {row.line}: {name} is {row.cells[name]!r}; expected 0 or 1"
        )
    return said


def _record(
    image_id: str, path: Path, label: int, group: str | None, said: _Listed, shapes: Shapes | None
) -> Record:
    return Record(
        image_id,
        path,
        label,
        group=group,
        region=said.names(REGIONS),
        view=said.names(VIEWS),
        hardware=said.flags.get("hardware"),
        multiscan=said.flags.get("multiscan"),
        boxes=tuple(shapes.boxes) if shapes else (),
        polygons=tuple(shapes.polygons) if shapes else (),
        drawn_on=shapes.size if shapes else None,
        facts=said.facts,
    )


def _disagreement(
    image_id: str, fractured: bool, said: _Listed, annotations: Annotations | None
) -> list[Defect]:
    """A defect if table, count and masks do not all say what the class folder says."""
    claims = [f"folder {FRACTURED if fractured else NOT_FRACTURED}"]
    flag, count = said.flags.get("fractured"), said.fracture_count
    masks = annotations.fractures(image_id) if annotations else None
    if flag is not None:
        claims.append(f"dataset.csv fractured={int(flag)}")
    if count is not None:
        claims.append(f"fracture_count={count}")
    if masks is not None:
        claims.append(f"masks={masks}")
    agreed = all(bool(claim) == fractured for claim in (flag, count, masks) if claim is not None)
    if agreed and (count is None or masks is None or count == masks):
        return []
    return [Defect("label_disagreement", (image_id,), ", ".join(claims))]


def _missing_and_unlisted(
    there: set[str], listed: set[str], annotations: Annotations | None
) -> list[Defect]:
    unknown = annotations.names - there - listed if annotations else ()
    detail = "in the COCO file, but neither in images/ nor in dataset.csv"
    return [
        *(
            Defect("missing_file", (i,), "in dataset.csv, but not in images/")
            for i in sorted(listed - there)
        ),
        *(Defect("unlisted_file", (i,), "not in dataset.csv") for i in sorted(there - listed)),
        *(Defect("annotation_of_unknown_image", (i,), detail) for i in sorted(unknown)),
    ]
