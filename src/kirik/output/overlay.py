"""A reading as a picture: the radiograph on the left, the same with its evidence on the right.

The evidence is shown in warm hues over gray with a yellow contour, the findings as light blue boxes
on a dark rim, of dashes where they are faint or a person must decide: colours that people with any
colour blindness tell apart (Okabe and Ito, 2008).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kirik.operating_points import OUT_OF_SCOPE
from kirik.orientation import to_upright_box
from kirik.output.words import (
    decision_words,
    number,
    points_words,
    probability_words,
    texts,
    warnings_words,
)
from kirik.radiograph import Radiograph
from kirik.reading.evidence import upright_size
from kirik.reading.reading import Finding, Reading

_HEAT = (230, 120, 0)  # between Okabe and Ito's orange and vermillion
_TINT_FROM = 0.1  # below it the tint would only veil the bone
_CONTOUR, _CONTOUR_AT = (240, 228, 66), 0.25
_BOX, _RIM, _GROUND, _INK, _SOFT = "#56b4e9", "#000000", "#10141a", "#f2f4f7", "#a9b4c2"
_COLOURS = {
    "fracture": "#ff8c5a",
    "uncertain": "#f0e442",
    "no_fracture": "#5ad1a5",
    "out_of_scope": "#d19bff",
}
_SIDE, _GAP, _NARROWEST, _DASH = 720, 16, 640, 10
FILM = 2 * _SIDE
"""Pixels on the longer side that a radiograph to be drawn is decoded with."""


def draw_overlay(radiograph: Radiograph, reading: Reading, language: str = "en") -> Image.Image:
    """The picture of a reading, RGB. Raises SettingsError if kirik does not speak the language."""
    words = texts(language)
    plain = _film(radiograph)
    marked = _with_boxes(_with_heat(plain, reading), radiograph, reading, language)
    lines = _caption(reading, language)
    panels = 2 * plain.width + _GAP
    width = max(panels, _NARROWEST) + 2 * _GAP
    lines = [
        (row, size, colour) for text, size, colour in lines for row in _wrap(text, size, width)
    ]
    title = 30
    height = title + plain.height + 2 * _GAP + sum(size + 9 for _, size, _ in lines)
    canvas = Image.new("RGB", (width, height), _GROUND)
    draw, left = ImageDraw.Draw(canvas), (width - panels) // 2
    for film, name, x in (
        (plain, words["radiograph"], left),
        (
            marked,
            words["evidence" if reading.evidence is not None else "reading"],
            left + plain.width + _GAP,
        ),
    ):
        canvas.paste(film, (x, title))
        draw.text((x, 8), name, _SOFT, font(14))
    y = title + plain.height + _GAP
    for text, size, colour in lines:
        draw.text((_GAP, y), text, colour, font(size))
        y += size + 9
    return canvas


def draw_marked(
    radiograph: Radiograph, reading: Reading, language: str = "en", *, numbered: bool = False
) -> np.ndarray:
    """The radiograph, upright, with the evidence and the findings in it: uint8 [rows, columns, 3].

    Its longer side has 720 pixels. numbered: label findings as a table beside it numbers them, in
    letters that are legible where the picture is printed half a page wide.
    """
    film = _with_heat(_film(radiograph), reading)
    return np.asarray(_with_boxes(film, radiograph, reading, language, numbered))


def shows_places(reading: Reading) -> bool:
    """Whether a picture of the reading has any evidence or finding in it that can be seen."""
    seen = reading.evidence is not None and reading.evidence.max() > _TINT_FROM
    return bool(reading.findings or seen)


def _film(radiograph: Radiograph) -> Image.Image:
    height, width = radiograph.extent
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    film = Image.fromarray(radiograph.pixels).resize(size, Image.Resampling.BICUBIC)
    levels = np.round(np.clip(np.asarray(film), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(levels)


def _with_heat(film: Image.Image, reading: Reading) -> Image.Image:
    """The gray film in RGB, tinted where there is evidence, with a contour around what is more than
    faint.

    It stays visible under the strongest. The scale is absolute: weak evidence looks weak.
    """
    if reading.evidence is None:
        return film.convert("RGB")
    heat = np.asarray(Image.fromarray(reading.evidence).resize(film.size, Image.Resampling.BICUBIC))
    # The root lifts what is weak out of the dark.
    share = 0.6 * np.sqrt(np.clip((heat - _TINT_FROM) / (1 - _TINT_FROM), 0, 1))
    gray, contour = np.asarray(film) * (1 - share), _contour(heat)
    bands = []
    for tint, line in zip(_HEAT, _CONTOUR, strict=True):
        band = np.round(gray + tint * share).astype(np.uint8)
        band[contour] = line
        bands.append(Image.fromarray(band))
    return Image.merge("RGB", bands)


def _contour(heat: np.ndarray) -> np.ndarray:
    """bool [rows, columns]: the rim, three pixels wide, of where the evidence is not faint.

    Wide enough to be seen where the picture is shown at a quarter of its size.
    """
    from scipy import ndimage  # for pictures alone; Pillow has the filter, ten times as slow

    inside = heat >= _CONTOUR_AT
    return inside & ~ndimage.minimum_filter(inside, 7, mode="nearest")


def _with_boxes(
    film: Image.Image,
    radiograph: Radiograph,
    reading: Reading,
    language: str,
    numbered: bool = False,
) -> Image.Image:
    """The film with a box for each finding, and then the scores, which nothing may hide."""
    draw = ImageDraw.Draw(film)
    boxes = [_on_film(finding, radiograph, film.size) for finding in reading.findings]
    for colour, thick in ((_RIM, 7), (_BOX, 4)):
        for finding, box in zip(reading.findings, boxes, strict=True):
            edges = _widened(box, thick // 2)
            if reading.decision == "uncertain" or finding.score < _CONTOUR_AT:
                _dashed(draw, edges, colour, thick)
            else:
                draw.rectangle(edges, outline=colour, width=thick)
    labels = [number(finding.score, 2, language) for finding in reading.findings]
    if numbered:
        labels = [f"{place} · {score}" for place, score in enumerate(labels, 1)]
    letters, rim = (font(23), 3) if numbered else (font(14), 2)
    inks = [draw.textbbox((0, 0), label, letters, stroke_width=rim) for label in labels]
    sizes = [(right - left, bottom - top) for left, top, right, bottom in inks]
    places = _places(sizes, [_widened(box, _AIR) for box in boxes], film.size)
    for label, ink, (x, y) in zip(labels, inks, places, strict=True):
        at = (x - ink[0], y - ink[1])
        draw.text(at, label, _BOX, letters, stroke_width=rim, stroke_fill=_RIM)
    return film


_Edges = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the film as drawn; the last two are within."""


def _on_film(finding: Finding, radiograph: Radiograph, size: tuple[int, int]) -> _Edges:
    rows, columns = upright_size(radiograph)
    box = (finding.x, finding.y, finding.width, finding.height)
    upright = to_upright_box(box, radiograph.orientation, radiograph.stored_size)
    scale = np.array(size) / (columns, rows)
    left, top = (upright[:2] * scale).round().astype(int).tolist()
    right, bottom = ((upright[:2] + upright[2:]) * scale).round().astype(int).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _widened(edges: _Edges, by: int) -> _Edges:
    left, top, right, bottom = edges
    return left - by, top - by, right + by, bottom + by


def _places(
    sizes: Sequence[tuple[int, int]], boxes: Sequence[_Edges], size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Left and top of each box's label, above the box where it is free: over no other label and
    within the picture wherever that is possible, and then over as little of all boxes, and as near
    to its own, as goes together.

    sizes: width and height of the labels. size: of the picture.
    """
    size = np.max([size, *sizes], axis=0).tolist()  # a film may be narrower than a label
    crowd = Image.new("F", size)
    draw = ImageDraw.Draw(crowd)
    for box in boxes:
        draw.rectangle(box, 1)
    for box in boxes:
        draw.rectangle(box, outline=_LINE_COSTS, width=2 * _AIR)
    crowd = np.array(crowd, np.float64)
    for (wide, high), box in zip(sizes, boxes, strict=True):
        sums = np.pad(crowd.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        across = sums[:, wide:] - sums[:, :-wide]
        covered = across[high:] - across[:-high]
        y, x = np.ogrid[: covered.shape[0], : covered.shape[1]]
        left, top, right, bottom = box
        gap = _length(_gap(x, wide, left, right), _gap(y, high, top, bottom))
        moved = _length(x - left, y - (top - high))
        at = np.argmin(covered + _APART_COSTS * gap + _MOVED_COSTS * moved)
        row, column = (int(place) for place in np.unravel_index(at, covered.shape))
        crowd[row : row + high, column : column + wide] = _LABEL_COSTS
        yield column, row


_AIR = 6
"""Pixels between a label and the middle of its box's lines."""
_LABEL_COSTS, _LINE_COSTS, _APART_COSTS, _MOVED_COSTS = 10_000, 4, 10, 0.1
"""What it costs to cover a pixel of another label, or of a box's lines (within the box: 1), and to
be a pixel away from the own box, or from the place above its left corner."""


def _gap(start: np.ndarray, length: int, first: int, last: int) -> np.ndarray:
    """Pixels between a stretch that begins at `start` and one from `first` to `last`."""
    return np.maximum(0, np.maximum(first - (start + length), start - (last + 1)))


def _length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Of the way so far across and so far down: a third of the time that `hypot` takes, whose care
    for tiny and huge numbers nothing here needs."""
    return np.sqrt(across**2 + down**2)


def _dashed(draw: ImageDraw.ImageDraw, edges, colour: str, thick: int) -> None:
    """A rectangle of dashes: what it marks is for a person to decide."""
    left, top, right, bottom = edges
    for start in range(left, right + 1, 2 * _DASH):
        end = min(start + _DASH, right)
        draw.rectangle((start, top, end, top + thick - 1), colour)
        draw.rectangle((start, bottom - thick + 1, end, bottom), colour)
    for start in range(top, bottom + 1, 2 * _DASH):
        end = min(start + _DASH, bottom)
        draw.rectangle((left, start, left + thick - 1, end), colour)
        draw.rectangle((right - thick + 1, start, right, end), colour)


def _caption(reading: Reading, language: str) -> list[tuple[str, int, str]]:
    """Lines below the panels: text, size, colour."""
    words = texts(language)
    decide = words["decide"] if reading.decision == "uncertain" else ""
    decision = decide or decision_words(reading.decision, language)
    colour = _COLOURS.get(reading.decision, _INK)
    if reading.decision == OUT_OF_SCOPE:
        said = words["out_of_scope_why"]
    elif reading.probability is not None:
        said = f"{words['probability']}: {probability_words(reading.probability, language)}"
    else:
        each = reading.probabilities.items()
        said = " · ".join(f"{name} {probability_words(p, language)}" for name, p in each)
    lines = [(decision, 26, colour), (said, 18, _INK)]
    if reading.points:
        lines.append((points_words(reading.points, language), 15, _SOFT))
    if reading.evidence is not None and not shows_places(reading):
        lines.append((words["nowhere"], 15, _SOFT))
    warnings = warnings_words(reading, language)
    lines += [(f"! {warning}", 16, _COLOURS["uncertain"]) for warning in warnings]
    note = f"{words['model']}: {reading.model} · {words['disclaimer']}"
    return [*lines, (note, 15, _SOFT)]


def _wrap(text: str, size: int, width: int) -> list[str]:
    """The text in rows that fit; a word longer than a row stays whole."""
    rows = [""]
    for word in text.split():
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and font(size).getlength(longer) > width - 2 * _GAP:
            rows.append(word)
        else:
            rows[-1] = longer
    return rows


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which has the Turkish letters, out of matplotlib, which need not be imported."""
    [home] = find_spec("matplotlib").submodule_search_locations
    return ImageFont.truetype(Path(home) / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
