"""Proves a split leak-free on a data set, or names every leak.

A leak is whatever lets a classifier see in training what it is measured on: a group, a pair of
duplicates or a patient on two sides, or a radiograph of which the split does not say its side.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kirik.dataset.groups import components, exam_runs, named, nothing_known, unnamed
from kirik.dataset.index import Index, Record
from kirik.errors import SplitError

if TYPE_CHECKING:
    from kirik.dataset.split import Assignment, Split

SHOWN = 5


@dataclass(frozen=True)
class Leak:
    """One leak of a split.

    kind: group_torn (by the split's own groups), user_group_torn (by the data set's group column),
        exam_torn (by file numbers), duplicates_torn, or not_in_split.
    ids: the radiographs concerned.
    detail: where they are.
    """

    kind: str
    ids: tuple[str, ...]
    detail: str

    def __str__(self) -> str:
        return f"{_KINDS[self.kind]}: {self.detail}"


_KINDS = {
    "group_torn": "a group of the split in several parts",
    "user_group_torn": "a group of the data set in several parts",
    "exam_torn": "one exam, by its file numbers, in several parts",
    "duplicates_torn": "copies, or near copies, of one radiograph in several parts",
    "not_in_split": "not in the split",
}


def check_split(
    split: "Split", index: Index, duplicates: Iterable[tuple[str, ...]] = ()
) -> list[Leak]:
    """All leaks of a split on the radiographs that are there; empty if it is proven leak-free.

    duplicates: ids that show the same radiograph (same bytes, same pixels, or nearly so); a chain
        of them stays together, even where one in its middle is excluded.
    Radiographs that the split excludes cannot leak. Those that it names and that are absent are
    no leak: `absent` counts them. Exams are what the data set's groups say, else what the split's
    groups say; where neither knows of any, runs of file numbers, as in `make_split`.
    """
    leaks = torn_groups(split, index)
    if not _groups_of_several(split):
        leaks += _torn(split, exam_runs(unnamed(index.records)), "exam_torn")
    leaks += _torn(split, components(duplicates), "duplicates_torn")
    outside = tuple(r.id for r in index.records if r.id not in split.assignments)
    if outside:
        count = "1 radiograph" if len(outside) == 1 else f"{len(outside)} radiographs"
        detail = f"{count} of the data set: {_some(outside)}"
        leaks.append(Leak("not_in_split", outside, detail))
    return leaks


def torn_groups(split: "Split", index: Index | None = None) -> list[Leak]:
    """Leaks that no look into a file needs: groups of the split in two parts, and, with the index,
    those of the data set."""
    leaks = _torn(split, _members(split).values(), "group_torn")
    patients = named(index.records if index else ())
    return leaks + _torn(split, patients.values(), "user_group_torn")


def groups_of(split: "Split", index: Index) -> dict[str, str]:
    """Group by id: the split's, of which those that the data set itself says are of one patient or
    exam are one, under the name of the first. A split that does not tear such a patient may still
    call each of his radiographs a group."""
    assigned = split.assignments
    patients = ([i for i in ids if i in assigned] for ids in named(index.records).values())
    return {
        image_id: min(assigned[one].group for one in ids)
        for ids in components([*_members(split).values(), *patients])
        for image_id in ids
    }


def _members(split: "Split") -> dict[str, list[str]]:
    """Ids of each of the split's groups."""
    members: dict[str, list[str]] = {}
    for one in split.assignments.values():
        members.setdefault(one.group, []).append(one.image_id)
    return members


def _groups_of_several(split: "Split") -> bool:
    return len(_members(split)) < len(split.assignments)


def nothing_binds(split: "Split", index: Index) -> bool:
    """Whether neither the split nor the data set says what is of one patient or exam."""
    return not _groups_of_several(split) and nothing_known(index.records)


def absent(split: "Split", index: Index) -> tuple[str, ...]:
    """Ids that a split names, excluded ones too, and that the data set does not have."""
    return tuple(image_id for image_id in split.assignments if image_id not in index.by_id)


def select(index: Index, split: "Split", part: str) -> list[Record]:
    """Records of one part, in the split's order; excluded ones are in no part.

    Raises SplitError if there is no such part, it is empty, or radiographs of it are absent.
    """
    wanted = split.part(part)
    if not wanted:
        raise SplitError(f"split {split.name}: part {part} is empty; choose another part")
    lacking = [a.image_id for a in wanted if a.image_id not in index.by_id]
    if lacking:
        raise SplitError(
            f"{index.root}: {len(lacking)} of {len(wanted)} radiographs of part {part} of split "
            f"{split.name} are absent ({_some(lacking)}); add them or choose another part"
        )
    return [index.by_id[a.image_id] for a in wanted]


def _torn(split: "Split", together: Iterable[Iterable[str]], kind: str) -> list[Leak]:
    leaks = []
    for ids in together:
        named = [split.assignments[i] for i in ids if i in split.assignments]
        used = [a for a in named if a.split != "excluded"]
        sides: dict[str, list[str]] = {}
        for assignment in used:
            sides.setdefault(_side(assignment), []).append(assignment.image_id)
        if len(sides) > 1:
            detail = "; ".join(f"{_some(sides[side])} in {side}" for side in sorted(sides))
            leaks.append(Leak(kind, tuple(a.image_id for a in used), detail))
    return leaks


def _side(assignment: "Assignment") -> str:
    return assignment.split if assignment.fold is None else f"fold{assignment.fold}"


def _some(ids: Iterable[str]) -> str:
    ids = list(ids)
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(ids[:SHOWN]) + more
