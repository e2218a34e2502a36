"""A reading as a report to hand on: one PDF, A4, in English or Turkish.

The radiograph, the same with its evidence and findings, the decision and what the number means,
what people said of it, the model in short; the disclaimer stands on each page. Nothing of the
patient's is in it that is not in the radiograph's own pixels.
"""

import io
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as Pictures
from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from kirik.bundle import Manifest
from kirik.operating_points import OUT_OF_SCOPE, OperatingPoints
from kirik.output.overlay import draw_marked, shows_places
from kirik.output.report_words import TEXTS
from kirik.output.words import (
    decision_words,
    network_words,
    number,
    points_words,
    probability_words,
    texts,
    warnings_words,
)
from kirik.radiograph import Radiograph
from kirik.reading.reading import Reading

PLAIN, BOLD = "DejaVuSans", "DejaVuSans-Bold"
INK, SOFT, LINE, GROUND = (HexColor(c) for c in ("#1b2330", "#566173", "#d3dae5", "#f1f4f8"))
_COLOURS = {
    "fracture": HexColor("#b23a00"),
    "uncertain": HexColor("#6e5b00"),
    "no_fracture": HexColor("#0f6b4a"),
    OUT_OF_SCOPE: HexColor("#7b3fb3"),
}
_ZONES = {"no_fracture": "#8fbfa9", "uncertain": "#e8dc8a", "fracture": "#dd8f6c"}
_WIDTH, _MARGIN = A4[0] - 36 * mm, 18 * mm
_TALLEST = 80 * mm
_LOCAL = "local"
_TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))
"""The colours of an emoji's skin, which say nothing by themselves."""


class Review(Protocol):
    """What a person said of a reading. by: `_LOCAL` where nobody had signed in."""

    agrees: bool
    decision: str
    boxes: Sequence
    comment: str
    by: str
    at: datetime


def report_pdf(
    reading: Reading,
    radiograph: Radiograph,
    manifest: Manifest | None = None,
    language: str = "en",
    *,
    name: str | None = None,
    received: datetime | None = None,
    reviews: Sequence[Review] = (),
) -> bytes:
    """The report of a reading as the bytes of a PDF.

    radiograph: decoded, as the overlay's. manifest: of the model that read it, where it is at hand.
    name: of the file, as people know it. reviews: oldest first.
    Raises SettingsError if kirik does not speak the language.
    """
    texts(language)
    _fonts()
    words, buffer = TEXTS[language], io.BytesIO()
    said = {"title": words["title"], "author": "kirik", "lang": language}
    document = BaseDocTemplate(buffer, pagesize=A4, **said)
    room = Frame(_MARGIN, 21 * mm, _WIDTH, A4[1] - 42 * mm, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate("page", [room], onPage=_page(words)))
    story = [
        *_source(reading, name, received, language),
        *_verdict(reading, reviews, language),
        _pictures(reading, radiograph, language),
        *_findings(reading, language),
        *_reviews(reviews, language),
        KeepTogether(_model(reading, manifest, language)),
    ]
    document.build(story)
    return buffer.getvalue()


@cache
def _fonts() -> None:
    """DejaVu Sans, which has the Turkish letters, out of matplotlib; embedded in what is written.

    Raises LookupError if matplotlib is not there, which kirik requires.
    """
    [home] = find_spec("matplotlib").submodule_search_locations
    for font in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(font, Path(home) / f"mpl-data/fonts/ttf/{font}.ttf"))
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)


def _style(size: float = 9, colour=INK, font: str = PLAIN, **more) -> ParagraphStyle:
    values = {"leading": size * 1.42, "spaceAfter": 2} | more
    return ParagraphStyle("", fontName=font, fontSize=size, textColor=colour, **values)


def _text(said: str, *style, **more) -> Paragraph:
    """A paragraph of words that may hold anything: nothing in them is markup but their lines."""
    kind = _style(*style, **more)
    # A letter with its mark in one where that is possible: the font sets marks beside their place.
    lines = unicodedata.normalize("NFC", said).splitlines()
    lines = [escape(_in_glyphs(line, kind.fontName)) for line in lines]
    return Paragraph("<br/>".join(lines), kind)


def _in_glyphs(said: str, font: str) -> str:
    """Words with what a font cannot draw named instead, as by [thumbs up sign]: it would be an
    empty box. So is what lies beyond 16 bits, whose text ReportLab writes wrongly."""
    glyphs = pdfmetrics.getFont(font).face.charToGlyph
    return "".join(
        c if c.isspace() or (c <= "\uffff" and ord(c) in glyphs) else _named(c) for c in said
    )


def _named(character: str) -> str:
    if character in _TONES:
        return ""
    symbol = unicodedata.category(character).startswith("S")
    name = unicodedata.name(character, "") if symbol else ""
    return f"[{name.lower() or f'U+{ord(character):04X}'}]"


def _heading(said: str) -> Paragraph:
    return _text(said, 11, INK, BOLD, spaceBefore=10, spaceAfter=4, keepWithNext=1)


def _page(words: dict[str, str]):
    """What stands on each page: whose it is, what it is not."""

    def draw(canvas, document) -> None:
        top, bottom = A4[1] - 14 * mm, 14 * mm
        canvas.saveState()
        canvas.setFillColor(INK)
        canvas.setFont(BOLD, 11)
        canvas.drawString(_MARGIN, top, "kirik")
        canvas.setFont(PLAIN, 9)
        canvas.setFillColor(SOFT)
        canvas.drawRightString(A4[0] - _MARGIN, top, words["title"])
        canvas.setStrokeColor(LINE)
        canvas.line(_MARGIN, top - 6, A4[0] - _MARGIN, top - 6)
        room = A4[0] - 2 * _MARGIN
        canvas.setFont(
            BOLD, min(7.5, 7.5 * room / pdfmetrics.stringWidth(words["disclaimer"], BOLD, 7.5))
        )
        canvas.setFillColor(INK)
        canvas.drawString(_MARGIN, bottom, words["disclaimer"])
        canvas.setFont(PLAIN, 7.5)
        said = words["page"].format(number=document.page)
        canvas.drawRightString(A4[0] - _MARGIN, bottom - 11, said)
        canvas.restoreState()

    return draw


def _source(
    reading: Reading, name: str | None, received: datetime | None, language: str
) -> list[Flowable]:
    words, facts = TEXTS[language], []
    if name:
        frame = words["frame"].format(number=reading.frame) if reading.frame else ""
        facts.append(f"{words['file']}: {' · '.join(filter(None, (name, frame)))}")
    if received:
        facts.append(f"{words['received']}: {_moment(received, language)}")
    return [_text(" · ".join(facts), 9, SOFT, spaceAfter=6)] if facts else []


def _moment(moment: datetime, language: str) -> str:
    return moment.astimezone(UTC).strftime(TEXTS[language]["moment"])


def _verdict(reading: Reading, reviews: Sequence[Review], language: str) -> list[Flowable]:
    """The model's decision, what counts of people's reviews, the number on its scale, and what it
    means."""
    words, decision = texts(language), reading.decision
    said = words["decide"] if decision == "uncertain" else decision_words(decision, language)
    parts: list[Flowable] = [
        _text(TEXTS[language]["whose"], 9, SOFT, spaceAfter=0, keepWithNext=1),
        _text(_capital(said, language), 18, _COLOURS.get(decision, INK), BOLD, spaceAfter=4),
    ]
    if reviews:
        parts.append(_text(_reviewed(reviews[-1], language), 11.5, INK, BOLD, spaceAfter=5))
    if decision == OUT_OF_SCOPE:
        parts.append(_text(_capital(words["out_of_scope_why"], language) + "."))
    elif reading.probability is not None:
        parts += _chance(reading.probability, reading.points, decision, language)
    else:
        each = (f"{n} {probability_words(p, language)}" for n, p in reading.probabilities.items())
        parts.append(_text(" · ".join(each)))
    warnings = [f"! {warning}" for warning in warnings_words(reading, language)]
    parts += [_text(warning, 9, _COLOURS["uncertain"], BOLD) for warning in warnings]
    return [*parts, Spacer(0, 6)]


def _reviewed(review: Review, language: str) -> str:
    """What a person says instead of the model, or with it."""
    words = TEXTS[language]
    return words["reviewed_here" if review.by == _LOCAL else "reviewed"].format(
        by=review.by,
        decision=_opinion(review, language),
        opinion=words["agrees_with" if review.agrees else "disagrees_with"],
    )


def _opinion(review: Review, language: str) -> str:
    if review.decision == "unsure":
        return TEXTS[language]["unsure"]
    return decision_words(review.decision, language)


def _chance(
    probability: float, points: OperatingPoints | None, decision: str, language: str
) -> list[Flowable]:
    words = TEXTS[language]
    said = probability_words(probability, language)
    line = f"{escape(texts(language)['probability'])}: <b>{said}</b>"
    parts: list[Flowable] = [Paragraph(line, _style(11))]
    if points:
        parts.append(_scale(probability, points, language))
        limits = {n: number(getattr(points, n), 3, language) for n in ("low", "high")}
        parts.append(_text(words[f"means_{decision}"].format(**limits)))
        count = min(99, max(1, round(100 * probability)))
        parts.append(_text(words["frequency"].format(count=count), 8, SOFT))
    return parts


def _scale(probability: float, points: OperatingPoints, language: str) -> Drawing:
    """0 to 1, in three zones, with the probability marked."""
    width, bar = _WIDTH * 0.62, 9
    drawing = Drawing(width, bar + 20)
    edges = {
        "no_fracture": (0, points.low),
        "uncertain": (points.low, points.high),
        "fracture": (points.high, 1),
    }
    for zone, (start, end) in edges.items():
        colour = HexColor(_ZONES[zone])
        drawing.add(
            Rect(start * width, 13, (end - start) * width, bar, fillColor=colour, strokeColor=None)
        )
    marks, wide = {at: number(at, 3, language) for at in (points.low, points.high)}, 0.06
    if 0 < points.high - points.low < 0.13:  # too close for each number to stand at its point
        marks, wide = {(points.low + points.high) / 2: " – ".join(marks.values())}, 0.12
    # An end's number gives way to that of a point close by.
    ends = {end: f"{end}" for end in (0, 1) if all(abs(end - at) > wide for at in marks)}
    for at, said in (ends | marks).items():
        anchor = "start" if at <= wide else "end" if at >= 1 - wide else "middle"
        drawing.add(
            String(
                at * width, 3, said, fontName=PLAIN, fontSize=7, fillColor=SOFT, textAnchor=anchor
            )
        )
    x = probability * width
    drawing.add(Line(x, 10, x, 25, strokeColor=INK, strokeWidth=2.4))
    return drawing


def _pictures(reading: Reading, radiograph: Radiograph, language: str) -> Flowable:
    """The radiograph, and the same as marked, unless nothing could be seen on it."""
    words = TEXTS[language]
    film = radiograph.reduced(1400, square=True)
    levels = np.round(np.clip(film.pixels, 0, 1) * 255).astype(np.uint8)
    pictures, names = [_picture(Pictures.fromarray(levels))], [words["plain"]]
    if shows_places(reading):
        marked = draw_marked(radiograph, reading, language, numbered=True)
        pictures.append(_picture(Pictures.fromarray(marked)))
        names.append(words["marked"])
    elif reading.decision != OUT_OF_SCOPE:
        known = reading.evidence is not None
        names = [f"{words['plain']}; {texts(language)['nowhere'] if known else words['unmarked']}"]
    rows = [pictures, [_text(name, 8, SOFT) for name in names]]
    table = Table(rows, colWidths=[_WIDTH / 2] * len(pictures), hAlign="LEFT")
    table.setStyle(
        [
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (0, -1), 8),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ("VALIGN", (0, 0), (-1, 0), "TOP"),
        ]
    )
    return table


def _picture(picture: Pictures.Image) -> Flowable:
    """As a JPEG: of a photograph's kind, and a twentieth of the bytes. In a thin frame, or a white
    rim of a film would melt into the page."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    width, height = ImageReader(buffer).getSize()
    scale = min((_WIDTH / 2 - 8) / width, _TALLEST / height)
    buffer.seek(0)
    film = Image(buffer, width * scale, height * scale)
    frame = Table([[film]], [film.drawWidth], [film.drawHeight], hAlign="LEFT")
    bare = [(f"{side}PADDING", (0, 0), (0, 0), 0) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")]
    frame.setStyle([*bare, ("BOX", (0, 0), (0, 0), 0.5, SOFT)])
    return frame


def _findings(reading: Reading, language: str) -> list[Flowable]:
    words = TEXTS[language]
    if reading.decision == OUT_OF_SCOPE:
        return []
    if not reading.findings:
        return [_heading(words["findings"]), _text(words["no_findings"])]
    rows = [[words["finding"], words["evidence"], words["place"], words["size"]]]
    for place, finding in enumerate(reading.findings, 1):
        x, y, width, height = (round(getattr(finding, n)) for n in ("x", "y", "width", "height"))
        size = "–"
        if finding.millimetres:
            across, down = (number(side, 0, language) for side in finding.millimetres)
            size = f"{across} × {down} mm"
        score = number(finding.score, 2, language)
        rows.append([str(place), score, f"{x}, {y}, {width} × {height}", size])
    return [_heading(words["findings"]), _table(rows, (0.12, 0.14, 0.5, 0.24))]


def _table(rows: list[list[str]], shares: Sequence[float]) -> Table:
    table = Table(rows, colWidths=[share * _WIDTH for share in shares], hAlign="LEFT")
    table.setStyle(
        [
            ("FONT", (0, 0), (-1, -1), PLAIN, 8.5),
            ("TEXTCOLOR", (0, 0), (-1, -1), INK),
            ("TEXTCOLOR", (0, 0), (-1, 0), SOFT),
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 2.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def _reviews(reviews: Sequence[Review], language: str) -> list[Flowable]:
    """Newest first: it is the one that counts."""
    words, parts = TEXTS[language], []
    for review in reversed(reviews):
        by = words["local_user"] if review.by == _LOCAL else review.by
        agrees = words["agrees" if review.agrees else "disagrees"]
        said = [by, _moment(review.at, language), agrees, _opinion(review, language)]
        if review.boxes:
            said.append(words["boxes"].format(count=len(review.boxes)))
        parts.append(_text(" · ".join(said), 9, INK, BOLD))
        if review.comment:
            parts.append(_text(review.comment, 9, INK, leftIndent=8))
    return [_heading(words["reviews"]), *parts] if parts else []


def _model(reading: Reading, manifest: Manifest | None, language: str) -> list[Flowable]:
    """The model card in short."""
    words = TEXTS[language]
    parts: list[Flowable] = [_heading(words["model"]), _text(reading.model, 9, INK, BOLD)]
    if manifest:
        said = words["network"].format(
            network=network_words(manifest, language),
            size=manifest.preprocessing.size,
            version=manifest.version,
            created=manifest.created.strftime(words["day"]),
        )
        parts.append(_text(said))
    if reading.points:
        points = points_words(reading.points, language)
        parts.append(_text(words["points"].format(points=points)))
    if rows := _figures(manifest, language):
        parts.append(_text(words["measured"], 9, SOFT, spaceBefore=3))
        parts.append(_table(rows, (0.45, 0.2, 0.35)))
    return [*parts, Spacer(0, 4), _text(words["limits"], 8, SOFT)]


def _figures(manifest: Manifest | None, language: str) -> list[list[str]]:
    words = TEXTS[language]
    figures = manifest.provenance.get("out_of_fold", {}) if manifest else {}
    rows = []
    for name in ("auroc", "auprc", "sensitivity_at_specificity_90", "ece"):
        value, low, high = figures.get(name) or (None, None, None)
        if value is not None:
            ends = "–" if low is None else "–".join(number(v, 3, language) for v in (low, high))
            rows.append([words[name], number(value, 3, language), ends])
    return [[words["measure"], words["value"], words["interval"]], *rows] if rows else []


def _capital(said: str, language: str) -> str:
    first = {"i": "İ", "ı": "I"}.get(said[0]) if language == "tr" else None
    return (first or said[0].upper()) + said[1:]
