"""Plots of a measured classifier: legible on a phone, and without colour vision.

Each function returns a matplotlib Figure of its own; nothing touches pyplot's global state.
"""

import io
import math
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from kirik.evaluation.calibration import Reliability
from kirik.evaluation.curves import GRID, Line
from kirik.evaluation.wording import number, percent, word
from kirik.operating_points import OperatingPoints
from kirik.page import data_uri

# Okabe & Ito's palette, safe for colour-blind readers, without its yellow, which fades on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STROKES = ("-", "--", "-.", ":")
WIDTH, HEIGHT = 4.8, 4.3
"""Inches of a plain figure."""
WIDE = 6
"""Inches from which a figure has so much in it that it wants a page's width."""
LINES, LETTERS = 6, 32
"""Lines, and letters of one, that a legend within the axes may have."""
SMALL_SVG = 45_000
"""Bytes below which a PNG of the same figure is not smaller, and need not be made."""
INK, SOFT, GRID_INK = "#1b2330", "#5a6678", "#d8dee8"

TEXTS = {
    "en": {
        "sensitivity": "Sensitivity",
        "false_alarms": "1 − specificity",
        "precision": "Precision (PPV)",
        "recall": "Recall (sensitivity)",
        "chance": "chance",
        "prevalence": "prevalence",
        "band": "95% interval",
        "true_class": "Label",
        "called": "Called",
        "said": "Probability said",
        "observed": "Share that is true",
        "perfect": "perfect",
        "probability": "Probability of a fracture",
        "confidence": "Probability of the chosen class",
        "right": "right",
        "wrong": "wrong",
        "share_of_class": "Share of the class",
        "threshold": "threshold",
        "points": "operating points",
        "epoch": "Epoch",
        "loss": "Loss",
        "accuracy": "Accuracy",
        "training": "training",
        "validation": "validation",
        "validation_auroc": "AUROC, validation",
    },
    "tr": {
        "sensitivity": "Duyarlılık",
        "false_alarms": "1 − özgüllük",
        "precision": "Kesinlik (PPD)",
        "recall": "Duyarlılık",
        "chance": "rastlantı",
        "prevalence": "prevalans",
        "band": "%95 güven aralığı",
        "true_class": "Etiket",
        "called": "Verilen karar",
        "said": "Tahmin edilen olasılık",
        "observed": "Gözlenen oran",
        "perfect": "kusursuz",
        "probability": "Kırık olasılığı",
        "confidence": "Seçilen sınıfın olasılığı",
        "right": "doğru",
        "wrong": "yanlış",
        "share_of_class": "Sınıf içindeki pay",
        "threshold": "eşik",
        "points": "çalışma noktaları",
        "epoch": "Epok",
        "loss": "Kayıp",
        "accuracy": "Doğruluk",
        "training": "eğitim",
        "validation": "doğrulama",
        "validation_auroc": "AUROC, doğrulama",
    },
}


def roc_figure(lines: dict[str, Line], language: str = "en") -> Figure:
    """ROC curves by name ("" for a single unnamed one), with their bands."""
    text = TEXTS[language]
    figure, axes = _axes(text["false_alarms"], text["sensitivity"], language)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2, label=text["chance"])
    _draw_lines(axes, lines, "AUROC", language, stepped=False)
    _square(axes)
    _curves_legend(axes, "lower right")
    return figure


def pr_figure(lines: dict[str, Line], prevalence: float | None, language: str = "en") -> Figure:
    """Precision-recall curves by name, with the line of a classifier that knows nothing."""
    text = TEXTS[language]
    figure, axes = _axes(text["recall"], text["precision"], language)
    if prevalence is not None:
        label = f"{text['prevalence']} {percent(prevalence, language)}"
        axes.axhline(prevalence, color=SOFT, linestyle=":", linewidth=1.2, label=label)
    _draw_lines(axes, lines, "AUPRC", language, stepped=True)
    _square(axes)
    _curves_legend(axes, "lower left")
    return figure


def confusion_figure(confusion: dict, language: str = "en") -> Figure:
    """The table of `measure`'s `confusion`: counts, and percent of each true class.

    It grows with the classes, and of many it says whole percents, and none of no radiographs.
    """
    text = TEXTS[language]
    k, counts = len(confusion["classes"]), confusion["counts"]
    turned, many = k > 3, k > 5
    room = 22 if turned else 40 // k
    names = [textwrap.fill(_label(word(name, language)), room) for name in confusion["classes"]]
    size = (0.62 * k + 2.4, 0.62 * k + 1.8) if turned else (WIDTH, HEIGHT)
    figure, axes = _axes(text["called"], text["true_class"], language, size)
    shares = np.array([[0.0] * k if row is None else row for row in confusion["percent"]])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=115)
    letters = 15 if k == 2 else 11
    for row, column in np.ndindex(k, k):
        count, share = counts[row][column], shares[row, column]
        said = f"{count}\n{percent(share / 100, language, 0 if many else 1)}"
        axes.text(column, row, said if count or not many else "0", ha="center", va="center",
                  fontsize=letters, color="white" if share > 78 else INK)  # fmt: skip
    turn = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(range(k), names, **turn)
    upright = {} if turned else {"rotation": 90, "va": "center"}
    axes.set_yticks(range(k), names, **upright)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


def reliability_figure(bins: Reliability, language: str = "en") -> Figure:
    """Observed share over said probability; the area of a point grows with its radiographs."""
    text = TEXTS[language]
    figure, axes = _axes(text["said"], text["observed"], language)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1.2, label=text["perfect"])
    axes.plot(bins.said, bins.observed, color=COLOURS[0], linewidth=1.5)
    area = 20 + 130 * bins.count / bins.count.max()
    axes.scatter(
        bins.said, bins.observed, s=area, color=COLOURS[0], alpha=0.75, zorder=3, clip_on=False
    )
    _square(axes)
    _legend(axes, "upper left")
    return figure


def histogram_figure(
    scores: dict[str, np.ndarray],
    language: str = "en",
    *,
    axis: str = "probability",
    threshold: float | None = None,
    points: OperatingPoints | None = None,
) -> Figure:
    """How probabilities are spread, class by class: each class's bars sum to 100 %."""
    text = TEXTS[language]
    figure, axes = _axes(text[axis], text["share_of_class"], language)
    edges = np.linspace(0, 1, 26)
    for i, (name, values) in enumerate(scores.items()):
        shares = np.histogram(values, edges)[0] / max(len(values), 1)
        label = f"{_label(word(name, language))} ({len(values)})"
        axes.stairs(shares, edges, fill=True, color=COLOURS[i % len(COLOURS)], alpha=0.25)
        axes.stairs(shares, edges, color=COLOURS[i % len(COLOURS)], linewidth=1.8,
                    linestyle=STROKES[i % len(STROKES)], label=label)  # fmt: skip
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.2, label=text["threshold"])
    if points is not None:
        for place, label in ((points.low, text["points"]), (points.high, None)):
            axes.axvline(place, color=INK, linewidth=1.2, linestyle=":", label=label)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: percent(y, language, 0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x, language, 1)))
    _legend(axes, "best")
    return figure


def loss_figure(history: dict[str, np.ndarray], language: str = "en") -> Figure | None:
    """Loss per epoch; None where the history has none."""
    text = TEXTS[language]
    columns = {"train_loss": text["training"], "validation_loss": text["validation"]}
    return _epochs(history, columns, text["loss"], language)


def accuracy_figure(history: dict[str, np.ndarray], language: str = "en") -> Figure | None:
    """Accuracy (and validation AUROC) per epoch; None where the history has neither."""
    text = TEXTS[language]
    columns = {
        "train_accuracy": text["training"],
        "validation_accuracy": text["validation"],
        "validation_auroc": text["validation_auroc"],
    }
    return _epochs(history, columns, text["accuracy"], language)


def figure_uri(figure: Figure) -> str:
    """The figure inside a page: as SVG, or as PNG where that is smaller."""
    vector, raster = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "kirik"}):
        FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None})
    svg = vector.getvalue()
    if len(svg) <= SMALL_SVG:
        return data_uri(svg, "image/svg+xml")
    figure.set_dpi(200)
    FigureCanvasAgg(figure).print_png(raster, metadata={"Software": None})
    png = raster.getvalue()
    return data_uri(svg, "image/svg+xml") if len(svg) < len(png) else data_uri(png, "image/png")


def _axes(
    x: str, y: str, language: str, size: tuple[float, float] = (WIDTH, HEIGHT)
) -> tuple[Figure, Axes]:
    """Small in inches with plain type, so that letters stay legible at a phone's width."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=12, color=INK)
    axes.set_ylabel(y, fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=SOFT)
    axes.grid(color=GRID_INK, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID_INK)
    decimals = FuncFormatter(lambda value, _: number(value, language, 1))
    axes.xaxis.set_major_formatter(decimals)
    axes.yaxis.set_major_formatter(decimals)
    return figure, axes


class _Distinct(Formatter):
    """Numbers of two decimals, or of as many as tell an axis's ticks apart."""

    def __init__(self, language: str):
        self.language = language

    def __call__(self, value: float, position: int | None = None) -> str:
        return number(value, self.language, 2)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        for decimals in range(2, 9):
            texts = [number(value, self.language, decimals) for value in values]
            if len(set(texts)) == len(texts):
                break
        return texts


def _legend(axes: Axes, place: str) -> None:
    """On white without a border, so that lines behind it do not run through its letters."""
    axes.legend(loc=place, fontsize=10, facecolor="white", framealpha=0.85, edgecolor="none")


def _curves_legend(axes: Axes, place: str) -> None:
    """Within the axes, or below them, where it has many lines and would lie over the curves."""
    lines, names = axes.get_legend_handles_labels()
    longest = max(map(len, names))
    if len(lines) <= LINES and longest <= LETTERS:
        _legend(axes, place)
        return
    columns = 2 if longest <= 26 else 1
    names = [textwrap.fill(name, 54) for name in names]
    rows = math.ceil(len(lines) / columns) + sum(name.count("\n") for name in names)
    axes.figure.set_figheight(HEIGHT + 0.4 + 0.21 * rows)
    axes.figure.legend(lines, names, loc="outside lower center", ncols=columns, fontsize=10,
                       frameon=False, borderpad=1)  # fmt: skip


def _label(name: str) -> str:
    """A name as it is: matplotlib would read "$" as mathematics and hide a leading "_"."""
    plain = name.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain


def _square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_aspect("equal")


def _draw_lines(
    axes: Axes, lines: dict[str, Line], area: str, language: str, *, stepped: bool
) -> None:
    for i, (name, line) in enumerate(lines.items()):
        colour, stroke = COLOURS[i % len(COLOURS)], STROKES[i % len(STROKES)]
        if line.low is not None:
            band = TEXTS[language]["band"] if len(lines) == 1 else None
            axes.fill_between(GRID, line.low, line.high, color=colour, alpha=0.16, linewidth=0,
                              label=band)  # fmt: skip
        label = f"{area} {number(line.area, language)}"
        label = f"{_label(name)}: {number(line.area, language)}" if name else label
        axes.plot(line.x, line.y, color=colour, linestyle=stroke, linewidth=1.8, label=label,
                  drawstyle="steps-pre" if stepped else "default")  # fmt: skip


def _epochs(
    history: dict[str, np.ndarray], columns: dict[str, str], y: str, language: str
) -> Figure | None:
    shown: Sequence[str] = [c for c in columns if c in history and np.isfinite(history[c]).any()]
    if not shown:
        return None
    figure, axes = _axes(TEXTS[language]["epoch"], y, language, (4.8, 3.6))
    for i, column in enumerate(shown):
        axes.plot(history["epoch"], history[column], color=COLOURS[i], linestyle=STROKES[i],
                  linewidth=1.8, marker="o", markersize=3, label=columns[column])  # fmt: skip
    first, last = (float(end(history["epoch"])) for end in (np.nanmin, np.nanmax))
    if first == last:
        axes.set_xlim(first - 0.5, last + 0.5)
    # At least one tick, not two: there may be a single epoch.
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}"))
    axes.yaxis.set_major_formatter(_Distinct(language))
    _legend(axes, "best")
    return figure
