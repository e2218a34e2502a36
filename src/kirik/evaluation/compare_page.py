"""A comparison as tables in the console, and as compare.html in one file."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kirik.evaluation import plots
from kirik.evaluation.bootstrap import Estimate
from kirik.evaluation.compare import LOWER_IS_BETTER, Comparison, Difference, Run
from kirik.evaluation.curves import pr_line, roc_line
from kirik.evaluation.wording import (
    INDICES,
    interval_text,
    measure_name,
    number,
    percent,
    value_text,
    whole,
)
from kirik.page import write_page

TEXTS = {
    "en": {
        "title": "Comparison of {count} runs",
        "figures": "Each run on its own radiographs",
        "figures_note": "With 95% intervals over groups. Intervals that overlap do not show that"
        " two runs are alike: look at the paired differences below.",
        "measure": "Figure",
        "radiographs": "Radiographs",
        "fractured": "Fractured",
        "threshold": "Threshold",
        "own_thresholds": "each fold's own",
        "trained": "{mark} Trained on radiographs of the part that is measured: {names}. Such"
        " figures and differences say how well a model remembers, not how well it reads.",
        "selected": "{mark} The part that is measured also chose the model, its calibration or its"
        " operating points: {names}. Such figures and differences are likely too good.",
        "differences": "Differences to {reference}, on common radiographs",
        "differences_note": "Paired: both runs on the same radiographs, the same groups drawn for"
        " both. An interval without 0 is marked: ▲ better, ▼ worse than {reference}. Shares"
        " differ by percentage points (pp). Many figures are compared at once, so one mark alone"
        " can be chance.",
        "own_thresholds_note": "Sensitivity, specificity, accuracy, balanced accuracy and F1 of a"
        " cross-validated run are at each fold's own threshold: there is no common one to compare"
        " at, so they have no difference (–).",
        "common": "{count} common radiographs",
        "other_data": "not compared: measured on other data",
        "none_common": "not compared: no radiograph in common",
        "labels_differ": "not compared: the labels of {count} common radiographs differ",
        "curves": "Curves",
        "roc": "ROC curves, each run on its own radiographs",
        "pr": "Precision-recall curves, each run on its own radiographs",
        "lower": "lower is better",
        "points": "pp",
        "device": "A research tool, not a medical device.",
    },
    "tr": {
        "title": "{count} çalıştırmanın karşılaştırması",
        "figures": "Her çalıştırma kendi radyografilerinde",
        "figures_note": "Gruplar üzerinden %95 güven aralıklarıyla. Aralıkların örtüşmesi iki "
        "çalıştırmanın denk olduğunu göstermez: aşağıdaki eşleştirilmiş farklara bakın.",
        "measure": "Ölçüt",
        "radiographs": "Radyografi",
        "fractured": "Kırıklı",
        "threshold": "Eşik",
        "own_thresholds": "her katın kendi eşiği",
        "trained": "{mark} Ölçülen bölümün radyografileriyle eğitilmiş: {names}. Böyle değerler ve"
        " farklar modelin ne kadar iyi okuduğunu değil, ne kadar iyi hatırladığını gösterir.",
        "selected": "{mark} Modelin, kalibrasyonun ya da çalışma noktalarının seçiminde ölçülen"
        " bölüm de kullanılmış: {names}. Böyle değerler ve farklar büyük olasılıkla fazla"
        " iyimserdir.",
        "differences": "Ortak radyografilerde farklar ({reference} çalıştırmasına göre)",
        "differences_note": "Eşleştirilmiş: iki çalıştırma aynı radyografilerde, ikisi için de aynı"
        " gruplar örneklenerek. 0’ı içermeyen aralıklar işaretlidir: {reference} çalıştırmasından ▲"
        " daha iyi, ▼ daha kötü. Oranların farkı yüzde puandır. Birçok ölçüt birden"
        " karşılaştırıldığından tek bir işaret rastlantı olabilir.",
        "own_thresholds_note": "Çapraz doğrulanmış bir çalıştırmanın duyarlılık, özgüllük,"
        " doğruluk, dengeli doğruluk ve F1 değerleri her katın kendi eşiğindedir: karşılaştırılacak"
        " ortak bir eşik olmadığından farkları verilmez (–).",
        "common": "{count} ortak radyografi",
        "other_data": "karşılaştırılmadı: başka bir veri kümesinde ölçülmüş",
        "none_common": "karşılaştırılmadı: ortak radyografi yok",
        "labels_differ": "karşılaştırılmadı: {count} ortak radyografinin etiketi farklı",
        "curves": "Eğriler",
        "roc": "ROC eğrileri, her çalıştırma kendi radyografilerinde",
        "pr": "Kesinlik-duyarlılık eğrileri, her çalıştırma kendi radyografilerinde",
        "lower": "küçük olan iyidir",
        "points": "puan",
        "device": "Araştırma aracıdır, tıbbi cihaz değildir.",
    },
}
SEEN = {"trained": "†", "selected": "‡"}
"""Marks of runs that know radiographs that they are measured on, the worse kind first."""
MARKS = {"better": "▲", "worse": "▼", "": ""}
STYLES = {"better": "green", "worse": "red", "": ""}


def print_comparison(
    comparison: Comparison, console: Console | None = None, language: str = "en"
) -> None:
    """Both tables in the console: the runs' figures, and the differences to the first run."""
    console, text = console or _console(), TEXTS[language]
    names = _names(comparison)
    runs = Table(title=text["figures"], box=box.SIMPLE, title_justify="left")
    runs.add_column(text["measure"], overflow="fold")
    for name in names.values():
        runs.add_column(escape(name), justify="right", overflow="fold")
    for head, cells in _facts(comparison, language) + _figures(comparison, language):
        runs.add_row(head, *(_line(cell) for cell in cells))
    console.print(runs)
    reference = names[comparison.runs[0][0]]
    title = text["differences"].format(reference=escape(reference))
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column(text["measure"], overflow="fold")
    for difference in comparison.differences:
        head = f"{escape(names[difference.name])}\n{_common(difference, language)}"
        table.add_column(head, justify="right", overflow="fold")
    for head, cells in _differences(comparison, language):
        table.add_row(head, *(_marked(cell) for cell in cells))
    console.print(table)
    for line in [*_own_thresholds(comparison, language), *_warnings(comparison, language)]:
        console.print(line, markup=False, soft_wrap=True)


def _console() -> Console:
    """The terminal; where there is none, lines are as long as the tables need."""
    console = Console()
    return console if console.is_terminal else Console(width=_ANY_WIDTH)


_ANY_WIDTH = 10_000


def write_comparison(path: Path, comparison: Comparison, language: str = "en") -> Path:
    """Write the page (one file without outside links) to `path`; returns it."""
    text, names = TEXTS[language], _names(comparison)
    reference = names[comparison.runs[0][0]]
    note = text["differences_note"].format(reference=reference)
    write_page(
        path,
        "compare.html.j2",
        language,
        text=text,
        title=text["title"].format(count=len(comparison.runs)),
        runs=list(names.values()),
        warnings=_warnings(comparison, language),
        facts=_facts(comparison, language),
        rows=_figures(comparison, language),
        reference=reference,
        note=" ".join([note, *_own_thresholds(comparison, language)]),
        heads=[(names[d.name], _common(d, language)) for d in comparison.differences],
        differences=_differences(comparison, language),
        marks=MARKS,
        figures=_curves(comparison, language),
    )
    return path


def _seen(run: Run) -> str | None:
    """How a run knows radiographs that it is measured on, by its report's facts; None if not."""
    facts = run[2].get("facts") or {}
    return next((how for how in SEEN if facts.get(f"{how}_on_this_part")), None)


def _names(comparison: Comparison) -> dict[str, str]:
    """The runs' names as they are shown: marked where a run knows what it is measured on."""
    seen = {run[0]: _seen(run) for run in comparison.runs}
    return {name: f"{name} {SEEN[how]}" if how else name for name, how in seen.items()}


def _warnings(comparison: Comparison, language: str) -> list[str]:
    """What the names' marks say, one line for each of them."""
    by_mark = {how: [run[0] for run in comparison.runs if _seen(run) == how] for how in SEEN}
    return [
        TEXTS[language][how].format(mark=SEEN[how], names=", ".join(names))
        for how, names in by_mark.items()
        if names
    ]


def _cross_fitted(run: Run) -> bool:
    return bool(run[2]["fracture"].get("cross_fitted"))


def _own_thresholds(comparison: Comparison, language: str) -> list[str]:
    """Why figures at a threshold have no difference, where a run has one for each fold."""
    said = comparison.fracture and any(map(_cross_fitted, comparison.runs))
    return [TEXTS[language]["own_thresholds_note"]] if said else []


def _facts(comparison: Comparison, language: str) -> list[tuple[str, list[dict]]]:
    """How many radiographs, how many fractured, and the threshold of each run."""
    text, all_metrics = TEXTS[language], [run[2] for run in comparison.runs]
    rows = [(text["radiographs"], [whole(m["n"], language) for m in all_metrics])]
    if comparison.fracture:
        rows.append((text["fractured"], [percent(m["prevalence"], language) for m in all_metrics]))
        thresholds = [
            text["own_thresholds"]
            if _cross_fitted(run)
            else number(run[2]["fracture"]["threshold"], language, 2)
            for run in comparison.runs
        ]
        rows.append((text["threshold"], thresholds))
    return [(head, [{"value": cell, "interval": ""} for cell in cells]) for head, cells in rows]


def _figures(comparison: Comparison, language: str) -> list[tuple[str, list[dict]]]:
    rows = []
    for measure in comparison.measures:
        figures = [comparison.figures(run)[measure] for run in comparison.runs]
        cells = [
            {
                "value": value_text(figure["value"], measure, language),
                "interval": interval_text(figure, measure, language)
                or ("" if figure["value"] is None else "–"),
            }
            for figure in figures
        ]
        rows.append((_head(measure, language), cells))
    return rows


def _differences(comparison: Comparison, language: str) -> list[tuple[str, list[dict]]]:
    return [
        (
            _head(measure, language),
            [_cell(d.figures.get(measure), measure, language) for d in comparison.differences],
        )
        for measure in comparison.measures
    ]


def _head(measure: str, language: str) -> str:
    name = measure_name(measure, language)
    return f"{name} ({TEXTS[language]['lower']})" if measure in LOWER_IS_BETTER else name


def _cell(figure: Estimate | None, measure: str, language: str) -> dict[str, str]:
    """A signed difference; shares in percentage points, written like the figures themselves."""
    if figure is None or figure["value"] is None:
        return {"value": "–", "interval": "", "verdict": ""}
    interval = ""
    if figure["low"] is not None:
        low, high = (_signed(figure[end], measure, language) for end in ("low", "high"))
        interval = f"{low} … {high}"
    value = _signed(figure["value"], measure, language)
    value += "" if measure in INDICES else f" {TEXTS[language]['points']}"
    return {"value": value, "interval": interval, "verdict": _verdict(figure, measure)}


def _signed(value: float, measure: str, language: str) -> str:
    shown = number(value, language) if measure in INDICES else number(100 * value, language, 1)
    return shown if value <= 0 else f"+{shown}"


def _verdict(figure: Estimate, measure: str) -> str:
    if figure["low"] is None or figure["low"] <= 0 <= figure["high"]:
        return ""
    return "better" if (figure["low"] > 0) != (measure in LOWER_IS_BETTER) else "worse"


def _common(difference: Difference, language: str) -> str:
    text = TEXTS[language]
    if difference.refused == "labels_differ":
        return text["labels_differ"].format(count=whole(difference.disagreeing, language))
    if difference.refused:
        return text[difference.refused]
    return text["common"].format(count=whole(difference.common, language))


def _curves(comparison: Comparison, language: str) -> list[dict[str, str]]:
    """ROC and PR of all runs in one axis each, where the question is fractured or not."""
    answers = {
        name: (part.fractured, part.fracture_probability)
        for name, part, _ in comparison.runs
        if comparison.fracture and 0 < part.fractured.mean() < 1
    }
    if not answers:
        return []
    roc = plots.roc_figure({n: roc_line(*a) for n, a in answers.items()}, language)
    prevalence = comparison.runs[0][2]["prevalence"]
    pr = plots.pr_figure({n: pr_line(*a) for n, a in answers.items()}, prevalence, language)
    return [
        {"uri": plots.figure_uri(figure), "caption": TEXTS[language][kind]}
        for kind, figure in (("roc", roc), ("pr", pr))
    ]


def _line(cell: dict[str, str]) -> str:
    return f"{cell['value']}\n[dim]{cell['interval']}[/dim]" if cell["interval"] else cell["value"]


def _marked(cell: dict[str, str]) -> str:
    mark, style = MARKS[cell["verdict"]], STYLES[cell["verdict"]]
    return f"[{style}]{mark} {_line(cell)}[/{style}]" if style else _line(cell)
