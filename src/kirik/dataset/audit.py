"""The audit of a data set: what is in it, what is wrong with it, and how a classifier could cheat.

    audit(load_index("FracAtlas"))

looks at every file once and gathers all findings, the gravest first. It changes nothing.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from kirik.dataset.confounders import Confounder, find_confounders
from kirik.dataset.duplicates import Duplicates, find_duplicates
from kirik.dataset.groups import OF_PATIENT, named
from kirik.dataset.index import Index, Record, overlaps, placed
from kirik.dataset.inspect import FileFacts, inspect_files
from kirik.dataset.sources.bonds import TagBonds, bonds_of_tags
from kirik.output.files import replacing

FORMAT, VERSION = "kirik-audit", 1

Severity = Literal["must", "should", "know"]
SEVERITIES: tuple[Severity, ...] = ("must", "should", "know")

# In order of gravity. `must`: training on it as it is gives a wrong model or wrong measures;
# `should`: harmless only if the split or the user deals with it; `know`: good to know.
KINDS: dict[str, Severity] = {
    "nothing_decodes": "must",
    "one_class": "must",
    "opposite_labels": "must",
    "truncated": "must",
    "label_disagreement": "must",
    "boxes_on_negative": "must",
    "box_beyond_image": "must",
    "annotation_of_other_size": "must",
    "same_name_in_both_classes": "must",
    "undecodable": "must",
    "missing_file": "must",
    "not_an_image": "must",
    "odd_name": "must",
    "confounder": "should",
    "crowded_folder": "should",
    "no_negative": "should",
    "few_radiographs": "should",
    "byte_duplicate": "should",
    "pixel_duplicate": "should",
    "near_duplicate": "should",
    "turned_duplicate": "should",
    "inverted_duplicate": "should",
    "box_outside_image": "should",
    "bad_annotation": "should",
    "annotation_of_unknown_image": "should",
    "unlisted_file": "should",
    "same_name_twice": "should",
    "duplicate_row": "should",
    "empty_folder": "should",
    "missing_table": "should",
    "exif_orientation": "know",
    "missing_annotations": "know",
    "missing_column": "know",
    "unknown_column": "know",
    "unused_table": "know",
    "other": "know",
}
FEW = 30
TOLERANCE = 1.0
"""Pixels by which a box may pass the border: annotation tools round outwards."""


@dataclass(frozen=True)
class Item:
    """One case of a finding: the ids or files concerned, and what is particular to it."""

    ids: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of thing that is wrong, with all its cases; `kind` is a key of `KINDS`."""

    kind: str
    items: tuple[Item, ...]

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(i for item in self.items for i in item.ids))


@dataclass(frozen=True)
class BoxFacts:
    """Fractures as boxes; shares are of the side of an image as stored (square root of areas)."""

    boxes: int
    radiographs: int
    fractured_without: int
    median_share: float | None


@dataclass(frozen=True)
class GroupFacts:
    """The data set's own groups (patients, exams), those that DICOM's tags tell among them."""

    groups: int
    radiographs: int
    largest: int
    of_several_classes: int


@dataclass(frozen=True)
class PatientFacts:
    """How many DICOM files there are, and how many of them tell no patient: they have no id of one,
    or a placeholder."""

    files: int
    without: int


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    facts: of each file, in the order of `index.records`.
    findings: the gravest first, at most one of each kind.
    tables: fact → class → value → radiographs; with several regions or views each one counts.
    groups: None where the data set names none. patients: None without DICOM files.
    """

    index: Index
    facts: tuple[FileFacts, ...]
    duplicates: Duplicates
    confounders: tuple[Confounder, ...]
    findings: tuple[Finding, ...]
    tables: dict[str, dict[str, dict[str, int]]]
    boxes: BoxFacts
    groups: GroupFacts | None
    patients: PatientFacts | None

    @property
    def decodable(self) -> int:
        return sum(file.decoded for file in self.facts)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def classes_of(self, finding: Finding) -> dict[str, int]:
        """Radiographs of a finding by class name, without classes that have none."""
        records = (self.index.by_id.get(i) for i in finding.ids)
        seen = Counter(record.label for record in records if record is not None)
        return {name: seen[i] for i, name in enumerate(self.index.classes) if seen[i]}

    def to_json(self) -> dict:
        """Everything but the pixels, ready for `json.dumps`; no path of the machine is in it."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "data_set": {
                "name": self.index.root.name,
                "kind": self.index.kind,
                "classes": list(self.index.classes),
                "negative": self.index.negative,
                "radiographs": len(self.facts),
                "decodable": self.decodable,
            },
            "counts": self.index.counts(),
            "tables": self.tables,
            "boxes": asdict(self.boxes),
            "groups": asdict(self.groups) if self.groups else None,
            "patients": asdict(self.patients) if self.patients else None,
            "findings": [self._finding_json(finding) for finding in self.findings],
            "duplicates": asdict(self.duplicates),
            "confounders": [asdict(one) for one in self.confounders],
        }

    def _finding_json(self, finding: Finding) -> dict:
        return {
            "kind": finding.kind,
            "severity": finding.severity,
            "radiographs": len(finding.ids),
            "classes": self.classes_of(finding),
            "items": [asdict(item) for item in finding.items],
        }

    def write_json(self, path: Path | str) -> None:
        """Write `to_json` as UTF-8. Raises OutputError if the disk refuses."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        with replacing(Path(path)) as file:
            file.write(text + "\n")


def audit(
    index: Index,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Look at every file of a data set and gather what is wrong. A bad file is a finding.

    workers: processes that decode (None: one per processor, 0: this process alone).
    progress: called as (done, total) after each file.
    """
    facts = tuple(inspect_files(index, workers=workers, progress=progress))
    bonds = bonds_of_tags({file.id: file.whose for file in facts})
    index = bonds.bound(index)
    labels = {record.id: record.label for record in index.records}
    duplicates = find_duplicates(facts, labels)
    confounders = find_confounders(index, facts)
    return Audit(
        index,
        facts,
        duplicates,
        confounders,
        _findings(index, facts, duplicates, confounders),
        _tables(index, facts),
        _box_facts(index, facts),
        _group_facts(index),
        _patient_facts(facts, bonds),
    )


def _findings(
    index: Index,
    facts: Sequence[FileFacts],
    duplicates: Duplicates,
    confounders: Iterable[Confounder],
) -> tuple[Finding, ...]:
    found: dict[str, dict[Item, None]] = defaultdict(dict)
    for source in (
        _of_index(index),
        _of_files(facts),
        _of_duplicates(duplicates),
        _of_boxes(index, facts),
        _of_classes(index, facts),
        (("confounder", Item((), one.fact)) for one in confounders if one.flagged),
    ):
        for kind, item in source:
            found[kind][item] = None
    return tuple(Finding(kind, tuple(found[kind])) for kind in KINDS if found[kind])


Found = Iterable[tuple[str, Item]]


def _of_index(index: Index) -> Found:
    """Defects found while indexing, but for boxes of readable files: those are measured anew."""
    for defect in index.defects:
        if defect.kind == "box_outside_image":
            continue
        known = defect.kind in KINDS
        detail = defect.detail if known else f"{defect.kind}: {defect.detail}"
        yield defect.kind if known else "other", Item(defect.ids, detail)


def _of_files(facts: Sequence[FileFacts]) -> Found:
    if facts and not any(file.decoded for file in facts):
        yield "nothing_decodes", Item((), str(len(facts)))
    for file in facts:
        if file.problem == "truncated":
            missing = "" if file.missing_share is None else f"{file.missing_share:.1%}"
            yield "truncated", Item((file.id,), missing)
        elif file.problem:
            yield "undecodable", Item((file.id,), file.problem)
        if file.orientation != 1:
            yield "exif_orientation", Item((file.id,), str(file.orientation))


def _of_duplicates(duplicates: Duplicates) -> Found:
    for kind, ids in duplicates.opposite:
        yield "opposite_labels", Item(ids, kind)
    for ids in duplicates.byte:
        yield "byte_duplicate", Item(ids)
    for ids in duplicates.pixel:
        yield "pixel_duplicate", Item(ids)
    for kind, pairs in duplicates.alike().items():
        for pair in pairs:
            item = Item((pair.first, pair.second), f"r = {pair.correlation:.3f}")
            yield f"{kind}_duplicate", item


def _of_boxes(index: Index, facts: Sequence[FileFacts]) -> Found:
    for record, file in zip(index.records, facts, strict=True):
        if record.boxes and record.label == index.negative and index.kind != "fracatlas":
            yield "boxes_on_negative", Item((record.id,), str(len(record.boxes)))
        for box in record.boxes if file.rows else ():
            if _outside(box, file.columns, file.rows):
                within = min(box[2:]) <= 0 or overlaps(box, file.columns, file.rows)
                kind = "box_outside_image" if within else "box_beyond_image"
                yield kind, Item((record.id,), placed(box, file.columns, file.rows))


def _outside(box: tuple[float, float, float, float], columns: int, rows: int) -> bool:
    x, y, width, height = box
    inside = min(x, y) >= -TOLERANCE and x + width <= columns + TOLERANCE
    return not (inside and y + height <= rows + TOLERANCE and min(width, height) > 0)


def _of_classes(index: Index, facts: Sequence[FileFacts]) -> Found:
    usable = Counter(
        record.label for record, file in zip(index.records, facts, strict=True) if file.decoded
    )
    if len(usable) == 1:
        yield "one_class", Item((), index.classes[next(iter(usable))])
    if index.negative is None:
        yield "no_negative", Item((), ", ".join(index.classes))
    for label, name in enumerate(index.classes):
        if usable[label] < FEW:
            yield "few_radiographs", Item((), f"{name}: {usable[label]}")


def _tables(index: Index, facts: Sequence[FileFacts]) -> dict[str, dict[str, dict[str, int]]]:
    """Only facts that the data set has; values with most radiographs first."""
    pairs = list(zip(index.records, facts, strict=True))
    return {
        fact: {
            name: dict(
                Counter(
                    value for r, file in pairs if r.label == label for value in values(r, file)
                ).most_common()
            )
            for label, name in enumerate(index.classes)
        }
        for fact, values in _TABLES.items()
        if any(values(r, file) for r, file in pairs)
    }


def _flag(value: bool | None) -> tuple[str, ...]:
    return () if value is None else ("yes" if value else "no",)


def _text(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()


_TABLES: dict[str, Callable[[Record, FileFacts], tuple[str, ...]]] = {
    "region": lambda record, file: record.region,
    "view": lambda record, file: record.view,
    "hardware": lambda record, file: _flag(record.hardware),
    "multiscan": lambda record, file: _flag(record.multiscan),
    "size": lambda record, file: _text(file.rows and f"{file.columns}×{file.rows}"),
    "mode": lambda record, file: _text(file.mode),
    "format": lambda record, file: _text(file.format),
}


def _box_facts(index: Index, facts: Sequence[FileFacts]) -> BoxFacts:
    pairs = list(zip(index.records, facts, strict=True))
    shares = [
        (box[2] * box[3] / (file.rows * file.columns)) ** 0.5
        for record, file in pairs
        for box in record.boxes
        if file.rows and min(box[2:]) > 0
    ]
    bare = sum(not r.boxes and r.label != index.negative for r in index.records)
    return BoxFacts(
        sum(len(record.boxes) for record in index.records),
        sum(bool(record.boxes) for record in index.records),
        bare,
        median(shares) if shares else None,
    )


def _group_facts(index: Index) -> GroupFacts | None:
    groups = named(index.records).values()
    if not groups:
        return None
    return GroupFacts(
        len(groups),
        sum(map(len, groups)),
        max(map(len, groups)),
        sum(len({index.by_id[i].label for i in ids}) > 1 for ids in groups),
    )


def _patient_facts(facts: Sequence[FileFacts], bonds: TagBonds) -> PatientFacts | None:
    files = [file for file in facts if file.format == "DICOM" or file.whose]
    if not files:
        return None
    nobody = sum(not any(tag.startswith(OF_PATIENT) for tag in file.whose) for file in files)
    return PatientFacts(len(files), nobody + sum(map(len, bonds.crowds)))
