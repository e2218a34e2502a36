"""What a data set itself says belongs together: its columns of ids, its folders, DICOM's tags."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from kirik.dataset.groups import LONGEST_RUN, OF_PATIENT, OF_TAGS, components, named, says_nothing
from kirik.dataset.index import Index
from kirik.dataset.tables import Row, Table

Folder = tuple[str, ...]
"""The names of a folder and of those above it, outermost first."""
_OF_PATIENTS = ("patient", "patient_id")
PARTS = r"(train|val|valid|dev|test)(ing|idation)?|(fold|batch|part|set|site)[ _-]?\w?\d*"
"""A pattern of the names of folders that hold a part of a data set."""
_NO_EXAM = re.compile(
    rf"{PARTS}|(image|film|x-?ray|dicom|dcm|png|jpe?g|tiff?|raw|export)s?"
    r"|(xr_)?(hand|wrist|finger|forearm|elbow|humerus|shoulder|clavicle|arm|foot|ankle|leg|knee"
    r"|femur|hip|pelvis)s?|ap|pa|lat|lateral|frontal|oblique|left|right|l|r"
)
"""Names of folders that hold a part of a data set or of the body, a format, a view or a side."""


def bound(table: Table, columns: Sequence[str]) -> list[str | None]:
    """The group of each row: rows are of one group that share an id in any of these columns, or
    that a chain of such rows connects; None for a row without ids.

    Where studies, or exams, are numbered within patients, so that one number stands with several
    of them, the number binds one patient's alone. A cell that stands for nobody (NA, unknown, -)
    is no id.
    """
    there = [name for name in columns if name in table.columns]
    rows = [_ids(row, there) for row in table.rows]
    if len(there) < 2:
        return [row[there[0]] or None if there else None for row in rows]
    patients = [name for name in there if name in _OF_PATIENTS]
    within = {
        name
        for name in there
        if name not in (*_OF_PATIENTS, "group") and _numbered_within(rows, name, patients)
    }
    keys = [
        [(name, _owner(row, patients) if name in within else "", row[name]) for name in there]
        for row in rows
    ]
    keys = [[key for key in own if key[-1]] for own in keys]
    rows_of: dict[tuple, list[int]] = defaultdict(list)
    for number, own in enumerate(keys):
        for key in own:
            rows_of[key].append(number)
    groups: list[str | None] = [None] * len(keys)
    together = components(rows_of.values())
    firsts = [keys[rows[0]][0] for rows in together]
    plain = len({value for *_, value in firsts}) == len(firsts)
    for numbers, first in zip(together, firsts, strict=True):
        for number in numbers:
            groups[number] = first[-1] if plain else " ".join(filter(None, first))
    return groups


def _ids(row: Row, columns: Sequence[str]) -> dict[str, str]:
    cells = {name: row.cells[name] for name in columns}
    return {name: "" if says_nothing(cell) else cell for name, cell in cells.items()}


def _owner(row: Mapping[str, str], patients: Sequence[str]) -> str:
    return next((row[name] for name in patients if row[name]), "")


def _numbered_within(
    rows: Sequence[Mapping[str, str]], column: str, patients: Sequence[str]
) -> bool:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        owners[row[column]].add(_owner(row, patients))
    return any(len(who - {""}) > 1 for value, who in owners.items() if value)


def exam_folders(paths: Sequence[PurePath]) -> list[str | None]:
    """The exam's, or patient's, folder of each file of a class: the outermost one within the class
    that holds no more than an exam may (`LONGEST_RUN`), unless it is named for a part of the body
    or of the data set, a view or the like; None where there is none.

    paths: within the class's folder. The folder's name is the group, with those above it that are
    named for no such thing: one patient's hand and forearm are one's, whatever the class.
    """
    held = _held(paths)
    return [_exam(path.parts, held) for path in paths]


def _held(paths: Sequence[PurePath]) -> dict[Folder, int]:
    """Files of each folder, at any depth."""
    held: dict[Folder, int] = defaultdict(int)
    for path in paths:
        for depth in range(1, len(path.parts)):
            held[path.parts[:depth]] += 1
    return held


def _exam(parts: Folder, held: Mapping[Folder, int]) -> str | None:
    for depth in range(1, len(parts)):
        folder = parts[:depth]
        if held[folder] <= LONGEST_RUN and _may_be_exam(folder):
            return "/".join(name for name in folder if _may_be_exam((name,)))
    return None


def _may_be_exam(folder: Folder) -> bool:
    return not _NO_EXAM.fullmatch(folder[-1].casefold())


def crowded_folders(paths: Sequence[PurePath]) -> dict[str, int]:
    """Folders within a class that hold more files than an exam may, and how many, where they could
    be a patient's all the same: beside such as are taken for one's, or with none within them."""
    held = {folder: count for folder, count in _held(paths).items() if _may_be_exam(folder)}
    beside = {folder[:-1] for folder, count in held.items() if count <= LONGEST_RUN}
    above = {folder[:depth] for folder in held for depth in range(1, len(folder))}
    return {
        "/".join(folder): count
        for folder, count in held.items()
        if count > LONGEST_RUN and (folder[:-1] in beside or folder not in above)
    }


@dataclass(frozen=True)
class TagBonds:
    """What DICOM's tags say of whose the radiographs are, without a tag's value.

    together: ids that one study or patient connects, by however long a chain.
    crowds: ids that share a placeholder: an id of a patient with more radiographs than a patient
        may have (`LONGEST_RUN`). A study's UID is none.
    """

    together: list[list[str]]
    crowds: list[list[str]]

    def bound(self, index: Index) -> Index:
        """The index with groups that also hold these together. Radiographs that only their tags
        bind get a group with a name of its own."""
        if not self.together:
            return index
        group_of: dict[str, str] = {}
        bonds = [*self.together, *named(index.records).values()]
        for number, together in enumerate(components(bonds), 1):
            own = sorted(filter(None, (index.by_id[image_id].group for image_id in together)))
            group_of |= dict.fromkeys(together, own[0] if own else f"{OF_TAGS}{number}")
        records = (replace(record, group=group_of.get(record.id)) for record in index.records)
        return replace(index, records=tuple(records))

    def told(self) -> list[str]:
        """Lines on what is bound and on placeholders."""
        kinds = {
            "groups by DICOM's tags": self.together,
            f"patients' ids in DICOM's tags that more than {LONGEST_RUN} radiographs share, taken "
            "for placeholders": self.crowds,
        }
        return [
            f"{what}: {len(found)}, of {sum(map(len, found))} radiographs"
            for what, found in kinds.items()
            if found
        ]


def bonds_of_tags(whose: Mapping[str, Sequence[str]]) -> TagBonds:
    """The bonds of radiographs by their tags.

    whose: by record id, what stands for its study and its patient, as `kirik.dataset.inspect.whose`
    tells it.
    """
    tags: dict[str, list[str]] = defaultdict(list)
    for image_id, own in whose.items():
        for tag in own:
            tags[tag].append(image_id)
    bonds, crowds = [], []
    for tag, ids in tags.items():
        crowded = tag.startswith(OF_PATIENT) and len(ids) > LONGEST_RUN
        (crowds if crowded else bonds).append(ids)
    return TagBonds(components(ids for ids in bonds if len(ids) > 1), crowds)
