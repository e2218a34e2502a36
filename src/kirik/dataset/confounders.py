"""Facts besides the bone that tell the classes apart: shortcuts that a classifier may learn.

For each fact, a test of whether its distribution differs between the classes (chi-square;
Fisher's exact test for 2×2 tables and a permutation test where counts are small; Mann–Whitney or
Kruskal–Wallis for numbers), the size of the difference, Holm's correction over all facts (1979),
and the AUROC of a reader who sees nothing but that fact. Radiographs of one exam are not
independent, so p is too small rather than too large: the effect size decides with it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from kirik.dataset.index import Index, Record
from kirik.dataset.inspect import FileFacts

SIGNIFICANT = 0.05
# Not negligible: Cramér's V from 0.1 (Cohen 1988); an odds ratio of one category from 1.5 (Sullivan
# & Feinn 2012); an AUROC from 0.574, which is a Cliff's delta of 0.147 (Romano et al. 2006).
CRAMERS_V, ODDS_RATIO, AUROC = 0.1, 1.5, 0.574
MOST_CATEGORIES = 8
RARE = 5
PERMUTATIONS = 9999
UNKNOWN, OTHER = "unknown", "other"


@dataclass(frozen=True)
class Category:
    """One category of a fact, against all others: how frequent a class is inside and outside.

    files, of_class: radiographs in the category, and those of them that are of `class_name`.
    elsewhere: share of that class among the radiographs in no such category, 0…1.
    odds_ratio: of the class in the category, below 1 where it is rarer there, with its 95 %
        interval (Woolf 1955, a half added to each count).
    """

    name: str
    class_name: str
    files: int
    of_class: int
    elsewhere: float
    odds_ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Confounder:
    """How one fact is distributed over the classes, and whether that is a shortcut.

    origin: `file` (size, mode, compression …), `look` (brightness, sharpness …), `exam` (region,
        view, hardware …) or `column` (one of the data set's own).
    counts: for a category, class → category → files; quartiles: for a number, class → (25 %,
        50 %, 75 %). One of the two is empty.
    effect: Cramér's V, or the absolute value of Cliff's delta.
    auroc: of the fact alone for `leaning` against the other classes, with its 95 % interval
        (Hanley & McNeil 1982), None where that has no width; for categories measured on the same
        files that rank them.
    standout: the category that stands out most; None for a number.
    """

    fact: str
    origin: str
    files: int
    counts: dict[str, dict[str, int]]
    quartiles: dict[str, tuple[float, float, float]]
    test: str
    p: float
    effect_name: str
    effect: float
    auroc: float
    interval: tuple[float, float] | None
    leaning: str
    standout: Category | None = None
    p_holm: float = 1.0
    flagged: bool = False


@dataclass(frozen=True)
class _Fact:
    """One column of the table under test: text or numbers, None where unknown."""

    name: str
    origin: str
    values: list = field(repr=False)

    @property
    def numeric(self) -> bool:
        return any(isinstance(value, float) for value in self.values)


def find_confounders(index: Index, facts: Sequence[FileFacts]) -> tuple[Confounder, ...]:
    """Every fact that varies, the flagged and strongest first; `facts` as from `inspect_files`.

    Empty where fewer than two classes have radiographs.
    """
    labels = np.array([record.label for record in index.records], int)
    if len(np.unique(labels)) < 2:
        return ()
    tested = [_tested(fact, labels, index) for fact in _columns(index, facts)]
    found = [one for one in tested if one is not None]
    corrected = holm([one.p for one in found])
    judged = [_judged(one, p) for one, p in zip(found, corrected, strict=True)]
    return tuple(sorted(judged, key=lambda one: (not one.flagged, -one.auroc)))


def _columns(index: Index, facts: Sequence[FileFacts]) -> list[_Fact]:
    records = index.records
    columns = [
        _Fact("size", "file", _size_classes(facts)),
        _Fact("mode", "file", [file.mode for file in facts]),
        _Fact("format", "file", [file.format for file in facts]),
        _Fact("orientation", "file", [str(file.orientation) for file in facts]),
        _Fact("jpeg", "file", [file.jpeg for file in facts]),
        _Fact("problem", "file", [file.problem or "none" for file in facts]),
        _Fact("bytes_per_pixel", "file", [_bytes_per_pixel(file) for file in facts]),
        _Fact("mean", "look", [file.mean for file in facts]),
        _Fact("contrast", "look", [file.contrast for file in facts]),
        _Fact("sharpness", "look", [file.sharpness for file in facts]),
        _Fact("black_border", "look", [file.black_border for file in facts]),
        _Fact("region", "exam", ["+".join(record.region) or None for record in records]),
        _Fact("view", "exam", ["+".join(record.view) or None for record in records]),
        _Fact("hardware", "exam", [_yes_no(record.hardware) for record in records]),
        _Fact("multiscan", "exam", [_yes_no(record.multiscan) for record in records]),
    ]
    return columns + _own_columns(records)


def _own_columns(records: Sequence[Record]) -> list[_Fact]:
    """The data set's further columns: numbers, or text of few values, so neither names nor ids."""
    names = dict.fromkeys(name for record in records for name in record.facts)
    columns = []
    for name in names:
        values: list = [record.facts.get(name) or None for record in records]
        known = [value for value in values if value is not None]
        numbers = _numbers(values)
        if numbers and len(set(known)) > MOST_CATEGORIES:
            columns.append(_Fact(name, "column", numbers))
        elif len(set(known)) <= max(MOST_CATEGORIES, len(known) // 20):
            columns.append(_Fact(name, "column", values))
    return columns


def _numbers(values: Sequence[str | None]) -> list[float | None] | None:
    try:
        numbers = [None if value is None else float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(n is None or math.isfinite(n) for n in numbers) else None


def _size_classes(facts: Sequence[FileFacts]) -> list[str | None]:
    """Size without regard to a turn: `373×454` stands for 454×373 too."""
    return [
        None if file.rows is None else "×".join(map(str, sorted((file.rows, file.columns))))
        for file in facts
    ]


def _bytes_per_pixel(file: FileFacts) -> float | None:
    return file.bytes / (file.rows * file.columns) if file.rows and file.columns else None


def _yes_no(flag: bool | None) -> str | None:
    return None if flag is None else "yes" if flag else "no"


def _tested(fact: _Fact, labels: np.ndarray, index: Index) -> Confounder | None:
    """The fact's test; None where it is unknown everywhere or the same everywhere."""
    if fact.numeric:
        known = np.array([value is not None for value in fact.values])
        values = np.array([v for v in fact.values if v is not None], float)
        if len(np.unique(values)) < 2 or len(np.unique(labels[known])) < 2:
            return None
        return _number(fact, values, labels[known], index)
    if all(value is None for value in fact.values):
        return None
    names = _pooled([UNKNOWN if value is None else str(value) for value in fact.values])
    return _category(fact, names, labels, index) if len(set(names)) > 1 else None


def _pooled(names: list[str]) -> list[str]:
    """Rare categories, and all beyond the most frequent few, become one."""
    common = [name for name, n in Counter(names).most_common(MOST_CATEGORIES) if n >= RARE]
    return [name if name in common else OTHER for name in names]


def _number(fact: _Fact, values: np.ndarray, labels: np.ndarray, index: Index) -> Confounder:
    present = _present(labels, index)
    samples = [values[labels == label] for label in present]
    if len(present) == 2:
        test, p = "Mann–Whitney", stats.mannwhitneyu(*samples, alternative="two-sided").pvalue
    else:
        test, p = "Kruskal–Wallis", stats.kruskal(*samples).pvalue
    leaning, auroc, interval = _best_auroc(values, labels, present)
    quartiles = {
        index.classes[label]: tuple(float(q) for q in np.percentile(sample, (25, 50, 75)))
        for label, sample in zip(present, samples, strict=True)
    }
    effect = abs(2 * auroc - 1)
    return Confounder(
        fact.name, fact.origin, len(values), {}, quartiles, test, float(p), "Cliff's delta",
        effect, auroc, interval, index.classes[leaning],
    )  # fmt: skip


def _category(fact: _Fact, names: list[str], labels: np.ndarray, index: Index) -> Confounder:
    present = _present(labels, index)
    categories = [name for name, _ in Counter(names).most_common()]
    codes = np.array([categories.index(name) for name in names])
    table = _table(labels, codes, present, len(categories))
    test, p = _independence(table)
    shares = table / table.sum(axis=0)
    # One score per class: how frequent the class is in the radiograph's category.
    scores = {label: shares[row][codes] for row, label in enumerate(present)}
    leaning, auroc, interval = _best_auroc(scores, labels, present)
    counts = {
        index.classes[label]: dict(zip(categories, map(int, table[row]), strict=True))
        for row, label in enumerate(present)
    }
    names_of_rows = [index.classes[label] for label in present if label != index.negative]
    standout = _standout(table, categories, names_of_rows)
    return Confounder(
        fact.name, fact.origin, len(names), counts, {}, test, p, "Cramér's V",
        cramers_v(table), auroc, interval, index.classes[leaning], standout,
    )  # fmt: skip


def _present(labels: np.ndarray, index: Index) -> list[int]:
    """Classes that have radiographs, the negative one last: others are told apart from it."""
    return sorted(np.unique(labels).tolist(), key=lambda label: label == index.negative)


def _table(labels: np.ndarray, codes: np.ndarray, present: list[int], width: int) -> np.ndarray:
    """Counts [classes, categories], rows in the order of `present`."""
    row_of = np.zeros(max(present) + 1, int)
    row_of[present] = range(len(present))
    rows = row_of[labels]
    return np.bincount(rows * width + codes, minlength=len(present) * width).reshape(-1, width)


def _independence(table: np.ndarray) -> tuple[str, float]:
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() >= 1 and (expected >= RARE).mean() >= 0.8:  # Cochran's rule
        return "chi-square", float(stats.chi2_contingency(table, correction=False).pvalue)
    if table.shape == (2, 2):
        return "Fisher", float(stats.fisher_exact(table).pvalue)
    tables = stats.random_table(table.sum(axis=1), table.sum(axis=0))
    drawn = tables.rvs(PERMUTATIONS, random_state=np.random.default_rng(0))
    seen, others = (((t - expected) ** 2 / expected).sum(axis=(-2, -1)) for t in (table, drawn))
    return "permutation", float(((others >= seen - 1e-9).sum() + 1) / (PERMUTATIONS + 1))


def cramers_v(table: np.ndarray) -> float:
    """Cramér's V (1946) of a table of counts with no empty row or column."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    square = ((table - expected) ** 2 / expected).sum()
    return float(math.sqrt(square / (table.sum() * (min(table.shape) - 1))))


def _best_auroc(
    scores: np.ndarray | dict[int, np.ndarray], labels: np.ndarray, present: list[int]
) -> tuple[int, float, tuple[float, float] | None]:
    """The class that the fact tells best from the others, and the AUROC for it: of a number by its
    high values or by its low ones; of two classes, which both tell as well, the one of the high."""
    found = []
    for label in present:
        if isinstance(scores, dict):
            found.append((*_auroc(scores[label], labels == label), label))
            continue
        high, low = (_auroc(sign * scores, labels == label) for sign in (1, -1))
        found.append((*(low if low[0] > high[0] and len(present) > 2 else high), label))
    auroc, interval, label = max(found, key=lambda one: one[0])
    return int(label), auroc, interval


def _auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[float, tuple[float, float] | None]:
    """AUROC of scores, with Hanley and McNeil's interval (1982); None where that has no width, as
    for an AUROC of 1: it would be certain of a handful of radiographs."""
    n, m = int(positive.sum()), int((~positive).sum())
    ranks = stats.rankdata(scores)
    area = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    half = 1.96 * math.sqrt(max(0.0, spread) / (n * m))
    return area, (max(0.0, area - half), min(1.0, area + half)) if half else None


def _standout(table: np.ndarray, categories: list[str], classes: list[str]) -> Category:
    """The category with the surest difference; the smaller one where two differ alike."""
    found = [
        _against_others(table, row, column, name, class_name)
        for row, class_name in enumerate(classes)
        for column, name in enumerate(categories)
    ]
    return max(found, key=lambda one: (round(_surely_above_one(one), 6), -one.files))


def _against_others(
    table: np.ndarray, row: int, column: int, name: str, class_name: str
) -> Category:
    a = int(table[row, column])
    b, c = int(table[:, column].sum()) - a, int(table[row].sum()) - a
    d = int(table.sum()) - a - b - c
    log = math.log((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)))
    half = 1.96 * math.sqrt(sum(1 / (count + 0.5) for count in (a, b, c, d)))
    interval = (math.exp(log - half), math.exp(log + half))
    return Category(name, class_name, a + b, a, c / (c + d), math.exp(log), interval)


def _surely_above_one(one: Category) -> float:
    """The end of the odds ratio's interval that is nearer to 1, turned so that above 1 is sure."""
    low, high = one.interval
    return low if one.odds_ratio >= 1 else 1 / high


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values, in their order."""
    order = np.argsort(p)
    corrected, highest = [1.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * float(p[i])))
        corrected[i] = highest
    return corrected


def _judged(one: Confounder, p_holm: float) -> Confounder:
    notable = one.auroc >= AUROC
    if one.standout:
        sure = _surely_above_one(one.standout) > 1
        ratio = max(one.standout.odds_ratio, 1 / one.standout.odds_ratio)
        notable = one.effect >= CRAMERS_V or (sure and ratio >= ODDS_RATIO)
    return replace(one, p_holm=p_holm, flagged=p_holm < SIGNIFICANT and notable)
