"""A CSV of paths and labels becomes an index, and any index becomes such a CSV.

Columns: `path` and `label`; optional are `image_id` (else the path as written is the id), `group`,
`patient`, `study` and `exam` (all that are there bind, see `kirik.dataset.sources.bonds`; but for
the first they are kept as facts, too), `region` and `view` (several joined by `;`), `hardware`,
`multiscan`, `boxes` as `x y w h; x y w h` or one box a row as `x`, `y`, `width`, `height`, and
`polygons` as `x0 y0 x1 y1 …; …`, whose boxes are those around them where none are given; a box in
a row without polygons is its own outline where another row of its radiograph has some. In place of
`label`, `class_name` holds names that stay as they are, also where all say yes or no. Columns of
one's own begin with `x_` and are kept as facts.
Paths are relative to the CSV's folder; absolute ones and ones outside that folder are allowed,
since the table is the user's and archives lie elsewhere.
"""

import math
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kirik.dataset.groups import says_nothing
from kirik.dataset.index import Defect, Index, Record, box_around, box_corners
from kirik.dataset.sources.bonds import bound
from kirik.dataset.sources.files import (
    NO_IMAGE,
    arrange_classes,
    is_image,
    one_spelling,
    plain_name,
    says_no_label,
    yes_or_no,
)
from kirik.dataset.tables import Row, Table, nearest, read_table, write_table
from kirik.errors import DataSetError

ALIASES = {
    "image_id": ("image_id",),
    "path": ("path", "file", "filename", "file_name"),
    "label": ("label", "class", "fractured", "class_name"),
    "region": ("region", "body_part"),
    "view": ("view", "projection"),
    "hardware": ("hardware",),
    "multiscan": ("multiscan",),
    "boxes": ("boxes",),
    "polygons": ("polygons",),
}
IDS = ("group", "patient", "patient_id", "study", "study_id", "exam", "exam_id")
BOX = ("x", "y", "width", "height")
KNOWN = (*(name for names in ALIASES.values() for name in names), *IDS, *BOX)
WRITTEN = ("group", "region", "view", "hardware", "multiscan")


def is_table(path: Path) -> bool:
    """Whether a path is a file that can only be meant as a CSV."""
    return path.is_file() and path.suffix.casefold() in (".csv", ".tsv", ".txt")


def lists_radiographs(path: Path) -> bool:
    """Whether a CSV has columns of a path and a label, as a data set has and a split or readings
    have not. Raises DataSetError."""
    columns = {*read_table(path).columns}
    places = {*ALIASES["path"], *ALIASES["image_id"]}
    return not columns.isdisjoint(places) and not columns.isdisjoint(ALIASES["label"])


def load_table(path: Path, negative: str | None) -> Index:
    """Index of a CSV; labels 0 and 1, or the like, become not_fractured and fractured. Raises
    DataSetError."""
    table = read_table(path)
    columns = _columns(table)
    defects: list[Defect] = []
    groups = bound(table, IDS)
    rows = [
        (row, *_parsed(row, table, columns, group))
        for row, group in zip(table.rows, groups, strict=True)
    ]
    there = [item for item in rows if _exists(item[1], item[0], defects)]
    names = {name for *_, name in there}
    spelled = one_spelling(names)
    answers = {name: yes_or_no(name) for name in names}
    if None not in answers.values() and columns["label"] != "class_name":
        spelled = {n: "fractured" if yes else "not_fractured" for n, yes in answers.items()}
    found = _merged([(row, record, spelled[name]) for row, record, name in there], defects)
    classes, chosen = arrange_classes({name for _, name in found.values()}, negative, path, defects)
    records = (replace(r, label=classes.index(name)) for r, name in found.values())
    ordered = tuple(sorted(records, key=lambda record: record.id))
    return Index(path.parent, "csv", classes, chosen, ordered, tuple(defects))


def _columns(table: Table) -> dict[str, str]:
    """Column of the table for each field that it has. Raises DataSetError for unknown columns."""
    if "" in table.columns:
        raise DataSetError(f"{table.path}: a column has no name; name it, or remove it")
    for name in table.columns:
        if name not in KNOWN and not name.startswith("x_"):
            raise DataSetError(
                f"{table.path}: unknown column {name!r}; {nearest(name, KNOWN)}known are "
                f"{', '.join(KNOWN)}; begin the name of a column of your own with x_"
            )
    columns = {}
    for field, aliases in ALIASES.items():
        present = [name for name in aliases if name in table.columns]
        if len(present) > 1:
            raise DataSetError(
                f"{table.path}: columns {' and '.join(present)} mean the same; keep one of them"
            )
        if present:
            columns[field] = present[0]
    columns.setdefault("path", columns.get("image_id", ""))
    if not columns["path"] or "label" not in columns:
        wanted = "label" if columns["path"] else "path"
        raise DataSetError(f"{table.path}: no column {wanted}; a data set needs path and label")
    return columns


def _parsed(
    row: Row, table: Table, columns: dict[str, str], group: str | None
) -> tuple[Record, str]:
    """A record whose label is still open, and its class's name. Raises DataSetError."""
    where = f"{table.path}, line {row.line}"
    cells = {field: row.cells[name] for field, name in columns.items()}
    for field in ("path", "label"):
        if not cells[field]:
            raise DataSetError(f"{where}: {columns[field]} is empty; fill it in or remove the row")
    label = cells["label"]
    if says_no_label(label):
        raise DataSetError(
            f"{where}: {columns['label']} is {label!r}, which says nothing; fill it in or remove "
            "the row"
        )
    written = cells["path"].replace("\\", "/") if os.sep == "/" else cells["path"]
    others = [name for name in IDS if name in table.columns][1:]
    facts = {name: row.cells[name] for name in others}
    facts |= {name[2:]: row.cells[name] for name in table.columns if name.startswith("x_")}
    polygons = _shapes(cells.get("polygons", ""), where, "polygons", _is_polygon)
    boxes = _boxes(row, cells.get("boxes", ""), where)
    record = Record(
        id=cells.get("image_id") or Path(written).as_posix(),
        path=_as_stored(table.path.parent, written),
        label=-1,
        group=group,
        region=_names(cells.get("region", "")),
        view=_names(cells.get("view", "")),
        hardware=_flag(cells.get("hardware", ""), columns.get("hardware"), where),
        multiscan=_flag(cells.get("multiscan", ""), columns.get("multiscan"), where),
        boxes=boxes or tuple(box_around([polygon]) for polygon in polygons),
        polygons=polygons,
        facts={name: value for name, value in facts.items() if value},
    )
    return record, plain_name(label)


def _as_stored(folder: Path, written: str) -> Path:
    """A path with its letters as the disk has them: an archive made on macOS holds ğ as two, a g
    and its breve, whatever the table was typed with."""
    if written.isascii():
        return folder / written
    forms = (written, *(unicodedata.normalize(form, written) for form in ("NFC", "NFD")))
    try:
        found = next((form for form in forms if (folder / form).is_file()), written)
    except OSError:  # a name that no file can have
        found = written
    return folder / found


def _names(cell: str) -> tuple[str, ...]:
    names = {plain_name(part) for part in re.split(r"[;,|+/]", cell)}
    return tuple(sorted(names - {""}))


def _flag(cell: str, column: str | None, where: str) -> bool | None:
    said = yes_or_no(cell)
    if said is None and not says_nothing(cell):
        raise DataSetError(f"{where}: {column} is {cell!r}; expected 0, 1 or nothing")
    return said


def _boxes(row: Row, cell: str, where: str) -> tuple[tuple[float, float, float, float], ...]:
    sides = ["" if says_nothing(cell) else cell for cell in (row.cells.get(n, "") for n in BOX)]
    if any(sides) and not all(sides):
        raise DataSetError(f"{where}: a box needs all of x, y, width, height")
    none = {*sides} <= {"0", "0.0"}  # so some say that there is no box
    joined = " ".join(sides) if all(sides) and not none else ""
    return _shapes(f"{cell};{joined}", where, "boxes", _is_box)


def _shapes(cell: str, where: str, column: str, good: Callable[[tuple[float, ...]], bool]) -> tuple:
    shapes = []
    for part in (part for part in cell.split(";") if not says_nothing(part)):
        try:
            numbers = tuple(float(number) for number in re.split(r"[\s,]+", part.strip()))
        except ValueError:
            numbers = ()
        if not all(map(math.isfinite, numbers)) or not good(numbers):
            form = "x y width height" if column == "boxes" else "x0 y0 x1 y1 x2 y2 …"
            if column == "boxes" and len(numbers) == 4:
                form = f"{form}, with a width and a height above 0"
            elif "," in part:
                form = f"{form}, decimals with a point"
            raise DataSetError(f"{where}: {column} holds {part.strip()!r}; expected {form}; …")
        shapes.append(numbers)
    return tuple(shapes)


def _is_box(numbers: tuple[float, ...]) -> bool:
    return len(numbers) == 4 and numbers[2] > 0 and numbers[3] > 0


def _is_polygon(numbers: tuple[float, ...]) -> bool:
    return len(numbers) >= 6 and len(numbers) % 2 == 0


def _exists(record: Record, row: Row, defects: list[Defect]) -> bool:
    try:
        there = record.path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        detail = f"line {row.line}: no such file, seen from the table's folder"
        defects.append(Defect("missing_file", (record.id,), detail))
        return False
    if not is_image(record.path):
        detail = f"line {row.line}: {NO_IMAGE}"
        defects.append(Defect("not_an_image", (record.id,), detail))
        return False
    return True


def _merged(
    rows: list[tuple[Row, Record, str]], defects: list[Defect]
) -> dict[str, tuple[Record, str]]:
    """Rows by id: those that differ in what they outline alone, or in facts of one's own that each
    outline may have, are one radiograph with several fractures, and the first row's facts."""
    found: dict[str, tuple[Record, str]] = {}
    ambiguous = set()
    for row, record, name in rows:
        if record.id not in found:
            found[record.id] = (record, name)
            continue
        first, label = found[record.id]
        both = _with_more(first, record)
        if name != label:
            ambiguous.add(record.id)
            detail = f"line {row.line} says {name}, an earlier one {label}; left out"
            defects.append(Defect("label_disagreement", (record.id,), detail))
        elif both == first:
            detail = f"line {row.line} names it again; the first row counts"
            defects.append(Defect("duplicate_row", (record.id,), detail))
        elif others := _differing(first, record):
            detail = (
                f"line {row.line} names it again, with another {' and '.join(others)}; the first "
                "row counts, and what this one outlines is left out"
            )
            defects.append(Defect("duplicate_row", (record.id,), detail))
        else:
            found[record.id] = (both, name)
    return {image_id: item for image_id, item in found.items() if image_id not in ambiguous}


def _differing(first: Record, other: Record) -> list[str]:
    """What two rows say differently of the radiograph itself."""
    names = ("path", "group", "region", "view", "hardware", "multiscan")
    return [name for name in names if getattr(first, name) != getattr(other, name)]


def _with_more(first: Record, other: Record) -> Record:
    """The first with the boxes and polygons that the other one has besides. Where either has
    polygons, a box of a row without them is one: what has none would be on no mask."""
    outlined = first.polygons or other.polygons
    outlines = (*_outlines(first, other), *_outlines(other, first)) if outlined else ()
    return replace(
        first,
        boxes=tuple(dict.fromkeys((*first.boxes, *other.boxes))),
        polygons=tuple(dict.fromkeys(outlines)),
    )


def _outlines(record: Record, beside: Record) -> tuple[tuple[float, ...], ...]:
    """A record's polygons, or its boxes as such, but for those that are the other one's, too."""
    own = (box for box in record.boxes if box not in beside.boxes)
    return record.polygons or tuple(map(box_corners, own))


def write_index(index: Index, path: Path | str) -> None:
    """Write any index as such a CSV, so that `load_index` reads the same records again.

    Paths under the CSV's folder are written relative to it, others absolute. Defects are not
    written. Raises DataSetError if the file cannot be written.
    """
    path = Path(path)
    facts = sorted({name for record in index.records for name in record.facts})
    drawn = {name for name in ("boxes", "polygons") for r in index.records if getattr(r, name)}
    answers = None not in map(yes_or_no, index.classes)
    label = "class_name" if answers else "label"  # of classes that would be called otherwise
    head = ["image_id", "path", label, *WRITTEN]
    columns = [*head, *sorted(drawn), *(f"x_{name}" for name in facts)]
    rows = (
        [
            *_cells(record, index, path.parent),
            *(_joined(getattr(record, name)) for name in sorted(drawn)),
            *(record.facts.get(name, "") for name in facts),
        ]
        for record in index.records
    )
    write_table(path, columns, rows)


def _cells(record: Record, index: Index, folder: Path) -> list[str]:
    place, folder = record.path.absolute(), folder.absolute()
    inside = place.is_relative_to(folder)
    return [
        record.id,
        (place.relative_to(folder) if inside else place).as_posix(),
        index.classes[record.label],
        record.group or "",
        ";".join(record.region),
        ";".join(record.view),
        *("" if flag is None else str(int(flag)) for flag in (record.hardware, record.multiscan)),
    ]


def _joined(shapes: tuple[tuple[float, ...], ...]) -> str:
    return "; ".join(" ".join(repr(number) for number in shape) for shape in shapes)
