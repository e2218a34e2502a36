"""An audit for people: one page, and a few lines for the terminal, in English or Turkish."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kirik.dataset.audit import SEVERITIES, Audit, Finding
from kirik.dataset.audit_texts import CLEAN, FINDINGS
from kirik.dataset.audit_words import FACTS, TURKISH, WORDS
from kirik.dataset.confounders import Confounder
from kirik.dataset.groups import LONGEST_RUN, nothing_known
from kirik.dataset.index import Record
from kirik.errors import KirikError
from kirik.orientation import to_upright_box
from kirik.page import thumbnail_uri, write_page
from kirik.radiograph import Radiograph, read_radiograph

SEED = 0
SAMPLES = 12
SAMPLE_SIDE = 240
MOST_CASES = 200
MOST_VALUES = 12
BOX_COLOUR = (255, 205, 0)
LABEL_KINDS = ("opposite_labels", "label_disagreement", "boxes_on_negative")
"""Findings that only a look at the radiographs can settle: the page shows some."""


@dataclass(frozen=True)
class Sample:
    """One radiograph of the grid: its picture as a data URI, and its id."""

    image: str
    caption: str


class _Words:
    """The texts of one language, and numbers as its readers write them."""

    def __init__(self, language: str):
        self.language = language
        self.words, self.findings = WORDS[language], FINDINGS[language]

    def text(self, key: str, **values) -> str:
        return self.words[key].format(**values)

    def name(self, word: str) -> str:
        """A class, a region, a category or a reason, where the language has a word for it."""
        if self.language == "tr":
            return "+".join(TURKISH.get(part, part) for part in word.split("+"))
        return word.replace("_", " ") if word in TURKISH else word

    def fact(self, name: str) -> str:
        return FACTS[self.language].get(name, name)

    def number(self, value: float, digits: int = 0) -> str:
        text = f"{value:,.{digits}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language == "tr" else text

    def share(self, value: float, digits: int = 1) -> str:
        text = self.number(100 * value, digits)
        return f"%{text}" if self.language == "tr" else f"{text}%"

    def count(self, key: str, count: int) -> str:
        """A text with a number in it; one of a thing has its own text."""
        return self.text(f"one_{key}" if count == 1 else key, count=self.number(count))

    def p(self, value: float) -> str:
        return f"< {self.number(0.001, 3)}" if value < 0.001 else self.number(value, 3)


def write_audit(audit: Audit, path: Path | str, language: str = "en") -> None:
    """Write the audit as one HTML file without outside links; `language` is en or tr."""
    words = _Words(language)
    title = words.text("title", name=audit.index.root.name)
    several = sum(count > 0 for count in audit.index.counts().values()) > 2
    write_page(
        Path(path),
        "audit.html.j2",
        language,
        title=title,
        words=words.words,
        verdict=_verdict(audit, words),
        ready=not audit.of("must"),
        tiles=_tiles(audit, words),
        headlines={s: [_headline(f, words) for f in audit.of(s)] for s in SEVERITIES},
        clean=_clean(audit, words),
        findings=[_finding(finding, audit, words) for finding in audit.findings],
        classes=[(words.name(name), words.number(n)) for name, n in audit.index.counts().items()],
        tables=[_table(audit, fact, words) for fact in audit.tables],
        boxes=_boxes(audit, words),
        groups=_groups(audit, words),
        patients=_patients(audit, words),
        confounders=[_confounder(one, words, several) for one in audit.confounders],
        samples={words.name(n): s for n, s in choose_samples(audit).items()},
        samples_text=words.text("samples_text", seed=SEED),
    )


def summary_lines(audit: Audit, language: str = "en") -> list[str]:
    """The audit in a few lines for the terminal, the gravest findings first."""
    words = _Words(language)
    counts = audit.index.counts().items()
    lines = [
        f"{words.number(len(audit.facts))} {words.words['radiographs']} ("
        + ", ".join(f"{words.number(n)} {words.name(name)}" for name, n in counts)
        + f"), {words.number(audit.decodable)} {words.words['decodable']}",
        _verdict(audit, words),
    ]
    for severity in SEVERITIES:
        found = audit.of(severity)
        lines += [f"{words.words[f'{severity}_heading']}:"] if found else []
        lines += [f"  - {_headline(finding, words)}" for finding in found]
    if clean := _clean(audit, words):
        lines += [f"{words.words['good_heading']}:", *(f"  + {text}" for text in clean)]
    return lines


def _verdict(audit: Audit, words: _Words) -> str:
    kinds = {finding.kind for finding in audit.findings}
    if not audit.decodable or "one_class" in kinds:
        return words.text("unusable")
    grave = audit.of("must")
    return words.count("not_ready", len(grave)) if grave else words.text("ready")


def _tiles(audit: Audit, words: _Words) -> list[tuple[str, str]]:
    tiles = [(words.number(len(audit.facts)), words.words["radiographs"])]
    tiles.append((words.number(audit.decodable), words.words["decodable"]))
    return tiles + [(str(len(audit.of(s))), words.words[s]) for s in SEVERITIES]


def _headline(finding: Finding, words: _Words) -> str:
    title = words.findings[finding.kind][0]
    if finding.kind == "confounder":
        return f"{title}: {', '.join(words.fact(item.detail) for item in finding.items)}"
    if not finding.ids:
        details = (_detail(finding.kind, item.detail, words) for item in finding.items)
        return f"{title} ({', '.join(details)})"
    return f"{title}: {words.count('files', len(finding.ids))}"


def _clean(audit: Audit, words: _Words) -> list[str]:
    """What was looked for and not found; of boxes only where there are any."""
    found = {finding.kind for finding in audit.findings}
    if not audit.boxes.boxes or "box_beyond_image" in found:
        found.add("box_outside_image")
    if not audit.confounders:
        found.add("confounder")
    if not audit.decodable:
        return []
    return [text for kind, text in CLEAN[words.language].items() if kind not in found]


def _finding(finding: Finding, audit: Audit, words: _Words) -> dict:
    title, meaning, remedy = words.findings[finding.kind]
    shown = finding.items[:MOST_CASES]
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "title": title,
        "count": _how_many(finding, audit, words) if finding.ids else "",
        "meaning": meaning,
        "remedy": remedy,
        "films": _films(finding, audit, words) if finding.kind in LABEL_KINDS else [],
        "show": words.count("show", len(finding.items)),
        "items": [
            (" · ".join(item.ids), _detail(finding.kind, item.detail, words)) for item in shown
        ],
        "cut": words.text("cut", count=words.number(len(finding.items) - len(shown)))
        if len(shown) < len(finding.items)
        else "",
    }


def _how_many(finding: Finding, audit: Audit, words: _Words) -> str:
    """Radiographs concerned, and their classes: what one class alone has gives its label away."""
    of_class = ", ".join(
        f"{words.number(n)} {words.name(name)}" for name, n in audit.classes_of(finding).items()
    )
    return words.count("files", len(finding.ids)) + (f" ({of_class})" if of_class else "")


def _films(finding: Finding, audit: Audit, words: _Words) -> list[Sample]:
    """The first radiographs of a finding about labels, each with its label."""
    records = [audit.index.by_id[i] for i in finding.ids if i in audit.index.by_id]
    films = []
    for record in records[:SAMPLES]:
        label = words.name(audit.index.classes[record.label])
        if film := _sample(record):
            films.append(Sample(film.image, f"{record.id}: {label}"))
    return films


def _detail(kind: str, detail: str, words: _Words) -> str:
    if kind == "confounder":
        return words.fact(detail)
    if kind == "no_negative":
        return ", ".join(words.name(name) for name in detail.split(", "))
    if kind == "few_radiographs":
        name, colon, count = detail.rpartition(":")
        return f"{words.name(name)}{colon}{count}"
    return words.name(detail)


def _table(audit: Audit, fact: str, words: _Words) -> dict:
    """Counts and shares of a class, values in the order of their frequency over all classes."""
    by_class = audit.tables[fact]
    totals: dict[str, int] = {}
    for counts in by_class.values():
        for value, n in counts.items():
            totals[value] = totals.get(value, 0) + n
    values = sorted(totals, key=lambda value: -totals[value])
    sizes = audit.index.counts()
    rows = [
        (
            words.name(value),
            [_count(by_class[name].get(value, 0), sizes[name], words) for name in by_class],
        )
        for value in values[:MOST_VALUES]
    ]
    return {
        "fact": words.fact(fact),
        "classes": [words.name(name) for name in by_class],
        "rows": rows,
        "further": words.text("further", count=words.number(len(values) - MOST_VALUES))
        if len(values) > MOST_VALUES
        else "",
        "several": fact in ("region", "view"),
    }


def _count(count: int, size: int, words: _Words) -> tuple[str, str]:
    return words.number(count), words.share(count / size) if size else "–"


def _boxes(audit: Audit, words: _Words) -> str:
    boxes = audit.boxes
    if not boxes.boxes:
        return words.text("boxes_none")
    return words.text(
        "boxes_text",
        boxes=words.number(boxes.boxes),
        radiographs=words.number(boxes.radiographs),
        without=words.number(boxes.fractured_without),
        share="–" if boxes.median_share is None else words.share(boxes.median_share),
    )


def _groups(audit: Audit, words: _Words) -> str:
    groups = audit.groups
    if groups is None:
        copies_alone = nothing_known(audit.index.records)
        return words.text("groups_of_copies" if copies_alone else "groups_none")
    return words.text(
        "groups_text",
        groups=words.number(groups.groups),
        radiographs=words.number(groups.radiographs),
        largest=words.number(groups.largest),
        mixed=words.number(groups.of_several_classes),
    )


def _patients(audit: Audit, words: _Words) -> str:
    """What DICOM's tags do not say of whose the radiographs are; nothing where they say it all."""
    patients = audit.patients
    if patients is None or not patients.without:
        return ""
    return words.text(
        "patients_text",
        files=words.number(patients.files),
        without=words.number(patients.without),
        most=words.number(LONGEST_RUN),
    )


def _confounder(one: Confounder, words: _Words, several: bool) -> dict:
    """several: whether there are more than two classes, so that it counts which is told apart."""
    between = one.interval and "–".join(words.number(end, 2) for end in one.interval)
    return {
        "fact": words.fact(one.fact),
        "flagged": one.flagged,
        "difference": _difference(one, words),
        "effect": f"{one.effect_name} {words.number(one.effect, 2)}",
        "auroc": words.number(one.auroc, 2),
        "interval": between,
        "leaning": words.name(one.leaning) if several else None,
        "bar": round(100 * max(0.0, 2 * one.auroc - 1), 1),
        "p": words.p(one.p_holm),
        "test": one.test,
    }


def _difference(one: Confounder, words: _Words) -> str:
    """In words: the category that stands out, or the median of each class."""
    if one.standout is None:
        medians = {words.name(name): words.number(q[1], 3) for name, q in one.quartiles.items()}
        values = ", ".join(f"{name} {value}" for name, value in medians.items())
        return words.text("quartiles", values=values)
    top = one.standout
    return words.text(
        "category",
        name=words.name(top.name),
        of=words.number(top.of_class),
        files=words.number(top.files),
        label=words.name(top.class_name),
        share=words.share(top.of_class / top.files),
        elsewhere=words.share(top.elsewhere),
    )


def choose_samples(audit: Audit, count: int = SAMPLES) -> dict[str, list[Sample]]:
    """Readable radiographs of each class, drawn at random with a fixed seed; fewer if many classes.

    Boxes are drawn; a file that has become unreadable since the audit is passed over.
    """
    count = max(4, min(count, 96 // max(1, len(audit.index.classes))))
    samples: dict[str, list[Sample]] = {}
    for label, name in enumerate(audit.index.classes):
        readable = [
            record
            for record, file in zip(audit.index.records, audit.facts, strict=True)
            if record.label == label and file.decoded
        ]
        chosen = random.Random(SEED).sample(readable, min(count, len(readable)))
        drawn = (_sample(record) for record in chosen)
        samples[name] = [sample for sample in drawn if sample]
    return samples


def _sample(record: Record) -> Sample | None:
    try:
        radiograph = read_radiograph(record.path, at_least=SAMPLE_SIDE)
    except KirikError:
        return None
    return Sample(thumbnail_uri(_with_boxes(radiograph, record), SAMPLE_SIDE), record.id)


def _with_boxes(radiograph: Radiograph, record: Record) -> np.ndarray:
    """uint8 RGB, small, with the record's boxes, which count in pixels of the file as stored."""
    rows, columns = radiograph.pixels.shape
    scale = SAMPLE_SIDE / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = Image.fromarray(radiograph.pixels).resize(size, Image.Resampling.BOX)
    levels = np.clip(np.asarray(small) * 255 + 0.5, 0, 255).astype(np.uint8)
    image = Image.fromarray(levels).convert("RGB")
    draw = ImageDraw.Draw(image)
    stored_rows, stored_columns = radiograph.stored_size
    upright_columns = stored_rows if radiograph.orientation >= 5 else stored_columns
    for box in record.boxes:
        upright = to_upright_box(box, radiograph.orientation, radiograph.stored_size)
        x, y, width, height = np.asarray(upright) * size[0] / upright_columns
        # A frame a little outside, so that it does not hide the fracture.
        draw.rectangle([x - 3, y - 3, x + width + 3, y + height + 3], outline=BOX_COLOUR, width=2)
    return np.asarray(image)
