"""One index for every kind of data set: a table of records, one per radiograph.

Whatever reads a data set (FracAtlas, a folder per class, a CSV) hands this on, and nothing
after it asks where a record came from.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

NEGATIVE_NAMES = frozenset(
    {
        *("not_fractured", "non_fractured", "nonfractured", "no_fracture", "unfractured"),
        *("not_fracture", "non_fracture", "nonfracture", "without_fracture"),
        *("not_broken", "non_broken", "unbroken", "normal", "healthy", "negative", "intact"),
        *("kirik_yok", "kirik_degil", "kirik_olmayan", "kiriksiz", "saglam", "saglikli"),
        *("fraktur_yok", "negatif"),
    }
)
"""Class names, as `bare` has them, that mean "no fracture": a fracture's probability is 1 − such a
class's own."""
POSITIVE_NAMES = frozenset(
    {"fractured", "fracture", "broken", "positive", "kirik", "fraktur", "pozitif"}
)
YES_OF_NO = {"no": "yes", "yok": "var", "hayir": "evet", "false": "true", "0": "1", "0.0": "1.0"}
"""The words for no, casefolded and without marks on their letters, and the yes of each."""
ANSWERS = {
    **{no: (yes,) for no, yes in YES_OF_NO.items()},
    **{no: (YES_OF_NO[no], *POSITIVE_NAMES) for no in ("no", "yok")},
    "none": tuple(POSITIVE_NAMES),
}
"""Names that mean "no fracture" beside one of these alone."""
_LEFT_OUT = frozenset(
    {
        *("missing_file", "not_an_image", "odd_name", "label_disagreement"),
        *("same_name_in_both_classes", "same_name_twice"),
    }
)
_BELOW_ZERO = re.compile(r"-\d+([.]\d+)?")


@dataclass(frozen=True)
class Defect:
    """One thing wrong with a data set: its kind, the records or files concerned, and the details.

    kind: a stable word in snake_case (`missing_file`, `label_disagreement`, …).
    ids: record ids, or paths relative to the data set's folder where there is no record.
    """

    kind: str
    ids: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Record:
    """One radiograph of a data set.

    id: unique in the index; the file's name in FracAtlas, the path under the root elsewhere.
    label: index into `Index.classes`.
    group: the user's own group (patient, exam), if the data set names one.
    region, view: sorted names, several where the data set sets several flags; empty if unknown.
    boxes: fractures as (x, y, width, height), in pixels of the file as stored, before EXIF turns.
    polygons: outlines of the same fractures as (x0, y0, x1, y1, …), same pixels; may be empty.
    drawn_on: (columns, rows) of the file that these were drawn on, where the annotations say it.
    facts: further columns of the data set, as text.
    """

    id: str
    path: Path
    label: int
    group: str | None = None
    region: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    hardware: bool | None = None
    multiscan: bool | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    polygons: tuple[tuple[float, ...], ...] = ()
    drawn_on: tuple[float, float] | None = field(default=None, compare=False)  # of its source
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """All records of a data set, in a stable order, with the defects found while indexing.

    classes: names; `negative` is the index of the one that means "no fracture", or None.
    records: only those whose file exists.
    """

    root: Path
    kind: Literal["fracatlas", "folders", "csv"]
    classes: tuple[str, ...]
    negative: int | None
    records: tuple[Record, ...]
    defects: tuple[Defect, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Record]:
        return {record.id: record for record in self.records}

    def counts(self) -> dict[str, int]:
        """Radiographs per class, in the order of `classes`."""
        seen = Counter(record.label for record in self.records)
        return {name: seen[i] for i, name in enumerate(self.classes)}


def left_out(defects: Sequence[Defect], there: Container[str] = ()) -> str:
    """How many files are no records though they were to be some, and the first of them; empty if
    there are none. there: ids of the records."""
    gone = [d for d in defects if d.kind in _LEFT_OUT and not any(i in there for i in d.ids)]
    if not gone:
        return ""
    count = "1 file was left out" if len(gone) == 1 else f"{len(gone)} files were left out; first"
    return f"{count}: {gone[0].ids[0]} ({gone[0].detail})"


def overlaps(box: tuple[float, float, float, float], columns: float, rows: float) -> bool:
    """Whether a box (x, y, width, height) holds anything of an image of that size, in pixels."""
    x, y, width, height = box
    return x < columns and y < rows and x + width > 0 and y + height > 0


def box_around(polygons: Sequence[tuple[float, ...]]) -> tuple[float, float, float, float]:
    """The box (x, y, width, height) around one outline (x0, y0, x1, y1, …) or more."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def box_corners(box: tuple[float, float, float, float]) -> tuple[float, ...]:
    """A box (x, y, width, height) as an outline: its four corners, x0, y0, x1, y1, …, in order
    around it."""
    x, y, width, height = box
    return (x, y, x + width, y, x + width, y + height, x, y + height)


def placed(box: tuple[float, float, float, float], columns: int, rows: int) -> str:
    """A box and the size of its image, as a defect's detail."""
    return f"[{', '.join(f'{number:g}' for number in box)}] / {columns}×{rows}"


def bare(name: str) -> str:
    """A name casefolded, without marks on its letters, blanks and hyphens as underscores, so that
    KIRIK DEĞİL, kırık değil and kirik-degil are one."""
    letters = unicodedata.normalize("NFKD", name.strip().casefold().replace("ı", "i"))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return underscored(plain)


def underscored(name: str) -> str:
    """A name with one underscore for each run of blanks, hyphens and underscores in it. Of a number
    the hyphen is its sign: where 1 is a fracture, -1 is something else."""
    if _BELOW_ZERO.fullmatch(name):
        return name
    return "_".join(name.replace("-", " ").replace("_", " ").split())


def negative_class(classes: tuple[str, ...]) -> int | None:
    """Index of the class that means "no fracture", judged by its name; None if there is none."""
    names = [bare(name) for name in classes]
    for i, name in enumerate(names):
        if name in NEGATIVE_NAMES:
            return i
    if len(names) == 2:
        for i, name in enumerate(names):
            if names[1 - i] in ANSWERS.get(name, ()):
                return i
    return None
