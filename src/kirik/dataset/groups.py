"""Groups: radiographs that must stay on one side of a split.

One patient's or one exam's radiographs resemble each other more than their diagnosis explains;
a classifier that has seen one of them is measured too well on the others.
"""

import re
from collections.abc import Iterable, Sequence

from kirik.dataset.index import Record

UNKNOWN = (
    r"anon(ym(ous|i[sz]ed?)?)?|anonim|de-?identified|unknown|bilinmiyor|none|null|nan"
    r"|[<#]?n[/.]?a\.?>?|removed|no ?(name|id)|isimsiz"
)
"""A pattern of the words that stand where somebody did not know, or took away, who it is."""
_NOTHING = re.compile(rf"[\s*_.?-]*|({UNKNOWN})[\s*_.?-]*", re.IGNORECASE)
OF_PATIENT = "patient "
"""What the mark of a patient begins with, as DICOM's tags tell it; a study's does not."""
OF_TAGS = "dicom "
"""What the name of a group begins with that DICOM's tags alone make."""
LONGEST_RUN = 40
"""Radiographs in a run at most: FracAtlas's longest is below 30. Where a data set has one region
alone, a run would hold all of it; cut here, only neighbours at the cuts are torn."""


def says_nothing(cell: str) -> bool:
    """Whether a table's cell is as good as empty: NA, nan, none, unknown, -, ? and the like."""
    return _NOTHING.fullmatch(cell) is not None


def bind(records: Sequence[Record], duplicates: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Group name by record id: `g0000` … in the order of each group's first id.

    Bound are the records of one group, exams of `unnamed` records, as `exam_runs` finds them, and
    duplicates.
    """
    ids = sorted(record.id for record in records)
    known = set(ids)
    bonds = [[i for i in bond if i in known] for bond in [*_exams(records), *duplicates]]
    group_of = {
        image_id: f"g{number:04d}"
        for number, group in enumerate(components([*bonds, *([i] for i in ids)]))
        for image_id in group
    }
    return {image_id: group_of[image_id] for image_id in ids}


def nothing_known(records: Sequence[Record]) -> bool:
    """Whether neither the data set nor its file numbers say what is of one patient or exam."""
    return all(len(bond) < 2 for bond in _exams(records))


def components(bonds: Iterable[Sequence[str]]) -> list[list[str]]:
    """Ids that any chain of bonds connects: sorted lists, in the order of their first ids."""
    first: dict[str, str] = {}
    for bond in bonds:
        for image_id in bond:
            first.setdefault(image_id, image_id)
            low, high = sorted((_root(first, bond[0]), _root(first, image_id)))
            first[high] = low
    found: dict[str, list[str]] = {}
    for image_id in sorted(first):
        found.setdefault(_root(first, image_id), []).append(image_id)
    return list(found.values())


def _root(first: dict[str, str], image_id: str) -> str:
    while first[image_id] != image_id:
        first[image_id] = first[first[image_id]]
        image_id = first[image_id]
    return image_id


def exam_runs(records: Sequence[Record]) -> list[list[str]]:
    """Runs of ids that are likely one exam: consecutive file numbers, one region, same prefix.

    Names like IMG0000012.jpg number radiographs in the order of filing. A run ends at a missing
    number, at a change of region, and after LONGEST_RUN; an unknown region makes no run.
    """
    numbered = sorted(
        (prefix, number, record.region, record.id)
        for record in records
        for prefix, number in [_numbered(record.id)]
        if number is not None and record.region
    )
    runs: list[list[str]] = []
    before = None
    for prefix, number, region, image_id in numbered:
        follows = before == (prefix, number - 1, region) and len(runs[-1]) < LONGEST_RUN
        if follows:
            runs[-1].append(image_id)
        else:
            runs.append([image_id])
        before = (prefix, number, region)
    return runs


def _numbered(image_id: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.*?)([0-9]{1,18})(\.[A-Za-z]+)?", image_id)
    return (found[1], int(found[2])) if found else (image_id, None)


def _exams(records: Sequence[Record]) -> list[list[str]]:
    return [*named(records).values(), *exam_runs(unnamed(records))]


def named(records: Iterable[Record]) -> dict[str, list[str]]:
    """Ids of each group that the data set, or a tag in its files, names."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record.group is not None:
            found.setdefault(record.group, []).append(record.id)
    return found


def unnamed(records: Sequence[Record]) -> list[Record]:
    """Records whose exams file numbers alone can tell: those without a group, but none where the
    data set itself names groups. A group that DICOM's tags made says nothing of other files."""
    its_own = any(not name.startswith(OF_TAGS) for name in named(records))
    return [] if its_own else [record for record in records if record.group is None]
