"""The report of one evaluation: report.html, with metrics.json and predictions.csv beside it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kirik.evaluation import plots
from kirik.evaluation.bootstrap import FEW_GROUPS
from kirik.evaluation.calibration import CalibrationBins
from kirik.evaluation.curves import pr_line, roc_line
from kirik.evaluation.examples import KINDS, Example
from kirik.evaluation.history import read_history
from kirik.evaluation.metrics import Metrics
from kirik.evaluation.predictions import Predictions
from kirik.evaluation.questions import ClassQuestion
from kirik.evaluation.report_texts import REPORT
from kirik.evaluation.wording import (
    interval_text,
    measure_name,
    number,
    percent,
    value_text,
    whole,
    word,
)
from kirik.operating_points import DECISIONS, OperatingPoints, decide
from kirik.page import thumbnail_uri, write_page

TILES = ("auroc", "auprc", "sensitivity", "specificity", "accuracy", "f1")
CLASS_TILES = ("accuracy", "balanced_accuracy", "macro_auroc", "macro_auprc", "macro_f1")
AT_THRESHOLD = ("sensitivity", "specificity", "accuracy", "f1")
PER_CLASS = ("auroc", "auprc", "sensitivity", "specificity", "ppv", "f1")
SUBGROUP_FIGURES = ["auroc", "auprc", "sensitivity", "specificity", "accuracy", "balanced_accuracy"]


def write_report(
    directory: Path,
    predictions: Predictions,
    metrics: Metrics,
    *,
    history: Path | None = None,
    examples: Sequence[Example] = (),
    facts: Mapping[str, Any] | None = None,
    language: str = "en",
) -> Path:
    """Write report.html, metrics.json and predictions.csv; returns the report's path.

    metrics: of `measure`. history: the training run's CSV, one row per epoch.
    facts: where the figures come from, shown as they are: model, network, data_set, split, part,
    seed, versions (a dict), date …; None or empty is left out. `trained_on_this_part` and
    `selected_on_this_part` (bool; the part chose the model, its calibration or operating points)
    make the report warn, the first also if it is None (not known); `seen_in_training` is how many
    of the radiographs the model was trained on, by their ids, and `seen_at_least` how many that is
    as far as it is known. Only `selected_on_this_part=False` lets it say that the points were
    chosen elsewhere. All go into metrics.json as `facts`.
    Raises DataSetError if the history cannot be read.
    """
    facts = dict(facts or {})
    training = {} if history is None else read_history(history)
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics | {"facts": facts}, indent=1, ensure_ascii=False, allow_nan=False,
                      default=str)  # fmt: skip
    (directory / "metrics.json").write_text(text + "\n", encoding="utf-8")
    predictions.write(directory / "predictions.csv")
    page = _Page(predictions, metrics, facts, language)
    path = directory / "report.html"
    write_page(path, "report.html.j2", language, **page.values(training, examples))
    return path


def bias_warnings(facts: Mapping[str, Any], n: int, language: str) -> list[str]:
    """What a report of n radiographs must warn of, by its facts: see `write_report`."""
    text, count = REPORT[language], facts.get("seen_in_training")
    least = facts.get("seen_at_least")
    trained = facts.get("trained_on_this_part", False)
    warnings = []
    if trained is None:
        warnings.append(text["perhaps_trained"])
    elif count or least:
        told = whole(count or least, language)
        told = told if count else text["at_least"].format(count=told)
        warnings.append(text["trained_on"].format(count=told, n=whole(n, language)))
    elif trained:
        warnings.append(text["trained"])
    return warnings + ([text["selected"]] if facts.get("selected_on_this_part") else [])


def few_groups(metrics: Metrics, language: str) -> list[str]:
    """What must be said of intervals that a handful of groups cannot bear."""
    groups = metrics["groups"]
    if not metrics["bootstrap"]["replicates"] or not 1 < groups < FEW_GROUPS:
        return []
    return [REPORT[language]["few_groups"].format(groups=whole(groups, language))]


class _Page:
    """Turns figures into what the template shows, in one language."""

    def __init__(self, predictions: Predictions, metrics: Metrics, facts: dict, language: str):
        self.predictions, self.metrics, self.facts = predictions, metrics, facts
        self.language, self.text = language, REPORT[language]
        self.fracture: Metrics | None = metrics["fracture"]
        self.both = len(np.unique(predictions.fractured)) == 2 if predictions.binary else False
        self.cross_fitted = bool(self.fracture and self.fracture["cross_fitted"])
        three_way = self.fracture and self.fracture["three_way"]
        self.points = OperatingPoints.from_dict(three_way["points"]) if three_way else None

    def values(self, training: dict[str, np.ndarray], examples: Sequence[Example]) -> dict:
        model = self.facts.get("model") or self.facts.get("network")
        return {
            "text": self.text,
            "title": self.text["of"].format(model=model) if model else self.text["title"],
            "subtitle": self._subtitle(),
            "notes": self._notes(),
            "warnings": self._warnings(),
            "tiles": self._tiles(),
            "table": self._table(),
            "classes": self._classes(),
            "figures": self._figures(),
            "three_way": self._three_way(),
            "subgroups": self._subgroups(),
            "examples": self._examples(examples),
            "training": self._training(training),
            "facts": self._facts(),
        }

    def _subtitle(self) -> str:
        metrics, language = self.metrics, self.language
        parts = [
            str(self.facts[name]) for name in ("data_set", "split", "part") if name in self.facts
        ]
        counts = {"n": whole(metrics["n"], language), "groups": whole(metrics["groups"], language)}
        parts.append(self.text["part"].format(**counts))
        if metrics["prevalence"] is not None:
            count = whole(int(self.predictions.fractured.sum()), language)
            share = percent(metrics["prevalence"], language)
            parts.append(self.text["fractured"].format(count=count, share=share))
        return " · ".join(parts)

    def _notes(self) -> list[str]:
        drawn = self.metrics["bootstrap"]
        if not drawn["replicates"] or self.metrics["groups"] < 2:
            return [self.text["no_intervals"]]
        replicates = whole(drawn["replicates"], self.language)
        return [self.text["intervals"].format(replicates=replicates), *self._skipped("skipped")]

    def _skipped(self, which: str) -> list[str]:
        """That draws were left out, where there were any."""
        skipped = self.metrics["bootstrap"].get(which)
        count = whole(skipped or 0, self.language)
        return [self.text["skipped"].format(skipped=count)] if skipped else []

    def _warnings(self) -> list[str]:
        warnings = bias_warnings(self.facts, self.metrics["n"], self.language)
        alone = sum(count > 0 for count in self.metrics["classes"].values()) == 1
        warnings += few_groups(self.metrics, self.language)
        return warnings + ([self.text["one_class"]] if alone else [])

    def _figure(self, name: str, figure: dict | None) -> dict[str, str]:
        value = None if figure is None else figure["value"]
        interval = interval_text(figure, name, self.language)
        return {
            "name": measure_name(name, self.language),
            "value": value_text(value, name, self.language),
            "interval": "–" if value is not None and not interval else interval,
            "meaning": self.text["meanings"].get(name, ""),
        }

    def _tiles(self) -> list[dict[str, str]]:
        if self.fracture is None:
            by_class = self.metrics["by_class"]
            return [self._figure(name, by_class[name]) | {"at": ""} for name in CLASS_TILES]
        at = self.text["at_own_threshold"]
        if not self.cross_fitted:
            at = self.text["at_threshold"].format(threshold=self._threshold())
        return [
            self._figure(name, self.fracture[name]) | {"at": at if name in AT_THRESHOLD else ""}
            for name in TILES
        ]

    def _threshold(self) -> str:
        return number(self.fracture["threshold"], self.language, 2)

    def _table(self) -> list[dict[str, str]]:
        figures = self.metrics["by_class"] if self.fracture is None else self.fracture
        shown = [name for name in self.text["meanings"] if name in figures]
        shown += [name for name in CLASS_TILES if name in figures and name not in shown]
        return [self._figure(name, figures[name]) for name in shown]

    def _classes(self) -> dict | None:
        by_class = self.metrics["by_class"]
        if by_class is None:
            return None
        rows = [
            {
                "name": word(name, self.language),
                "n": whole(self.metrics["classes"][name], self.language),
                "cells": [self._figure(measure, figures[measure]) for measure in PER_CLASS],
            }
            for name, figures in by_class["per_class"].items()
        ]
        # Without a question of a fracture, the note stands under the first figures already.
        notes = [] if self.fracture is None else self._skipped("skipped_by_class")
        head = [measure_name(name, self.language) for name in PER_CLASS]
        return {"head": head, "rows": rows, "notes": notes}

    def _figures(self) -> list[dict[str, str]]:
        figures = [*self._curves(), self._confusion(), *self._probabilities()]
        return [_shown(figure, caption) for figure, caption in figures]

    def _curves(self) -> list[tuple]:
        """ROC and PR of the fracture, and of each class where there are more."""
        figures, seed = [], self.metrics["bootstrap"]["seed"]
        part, language, text = self.predictions, self.language, self.text
        if self.both:
            answer = (part.fractured, part.fracture_probability, part.groups)
            figures.append(
                (plots.roc_figure({"": roc_line(*answer, seed=seed)}, language), text["roc"])
            )
            line = {"": pr_line(*answer, seed=seed)}
            prevalence = self.metrics["prevalence"]
            figures.append((plots.pr_figure(line, prevalence, language), text["pr"]))
        if self.metrics["by_class"] is not None:
            figures += self._class_curves()
        return figures

    def _class_curves(self) -> list[tuple]:
        part = self.predictions
        answers = {
            name: (part.labels == i, part.probabilities[:, i])
            for i, name in enumerate(part.classes)
            if 0 < np.sum(part.labels == i) < len(part.ids)
        }
        if not answers:
            return []
        roc = {word(name, self.language): roc_line(*answer) for name, answer in answers.items()}
        pr = {word(name, self.language): pr_line(*answer) for name, answer in answers.items()}
        by_class = f" · {self.text['by_class']}"
        return [
            (plots.roc_figure(roc, self.language), self.text["roc"] + by_class),
            (plots.pr_figure(pr, None, self.language), self.text["pr"] + by_class),
        ]

    def _confusion(self) -> tuple:
        figure = plots.confusion_figure(self.metrics["confusion"], self.language)
        if self.metrics["by_class"] is not None:
            return figure, self.text["confusion_classes"]
        if self.cross_fitted:
            return figure, self.text["confusion_own"]
        return figure, self.text["confusion"].format(threshold=self._threshold())

    def _probabilities(self) -> list[tuple]:
        """Reliability and histogram, of the fracture or else of the chosen class."""
        part, text, language = self.predictions, self.text, self.language
        if self.fracture is None:
            question = ClassQuestion(part)
            chosen = part.probabilities.max(axis=1)
            right = part.probabilities.argmax(axis=1) == part.labels
            names = plots.TEXTS[language]
            scores = {names["right"]: chosen[right], names["wrong"]: chosen[~right]}
            histogram = plots.histogram_figure(scores, language, axis="confidence")
            bins, caption = question.bins, text["reliability_classes"]
        else:
            said, fractured = part.fracture_probability, part.fractured
            others = [one for i, one in enumerate(part.classes) if i != part.negative]
            name = others[0] if len(others) == 1 else "fractured"
            scores = {part.classes[part.negative]: said[~fractured], name: said[fractured]}
            lines = {"threshold": self.fracture["threshold"], "points": self.points}
            if self.cross_fitted:  # no line holds for all folds
                lines = {}
            histogram = plots.histogram_figure(scores, language, **lines)
            bins, caption = CalibrationBins(fractured, said), text["reliability"]
        reliability = plots.reliability_figure(bins.reliability(), language)
        return [(reliability, caption), (histogram, text["histogram"])]

    def _three_way(self) -> dict | None:
        if self.points is None:
            return None
        figures, text, language = self.fracture["three_way"], self.text, self.language
        shares = _of_100({name: figures[f"share_{name}"]["value"] for name in DECISIONS})
        counts = figures["counts"]
        fractured = sum(cell["fractured"] for cell in counts.values())
        missed = counts["no_fracture"]["fractured"]
        elsewhere = self.facts.get("selected_on_this_part") is False
        where = "_own" if self.cross_fitted else "" if elsewhere else "_plain"
        ends = {end: number(getattr(self.points, end), language, 3) for end in ("low", "high")}
        return {
            "points": text[f"three_way_points{where}"].format(**ends),
            "sentence": text["three_way_sentence"].format(
                **shares, fractured=whole(fractured, language), missed=whole(missed, language)
            ),
            "rows": [self._decision(name, counts[name], figures) for name in DECISIONS],
            "figures": [
                self._figure(name, figures[name]) | {"of": self._of(name, counts)}
                for name in figures
                if name not in ("points", "counts") and not name.startswith("share_")
            ]
            + self._refused(),
        }

    def _of(self, name: str, counts: dict[str, dict[str, int]]) -> str:
        """What a share of the three-way decision counts, as "12 / 226"; empty for the others."""
        called, cleared = counts["fracture"], counts["no_fracture"]
        parts = {
            "error_in_fracture": (called["not_fractured"], sum(called.values())),
            "error_in_no_fracture": (cleared["fractured"], sum(cleared.values())),
            "fractures_dismissed": (
                cleared["fractured"],
                sum(cell["fractured"] for cell in counts.values()),
            ),
        }
        return " / ".join(whole(part, self.language) for part in parts.get(name, ()))

    def _refused(self) -> list[dict[str, str]]:
        """How many radiographs the scope gate refuses, where there is one."""
        refused = self.metrics.get("out_of_scope")
        if refused is None:
            return []
        n = self.metrics["n"]
        share = percent(refused / n, self.language)
        of = f"{whole(refused, self.language)} / {whole(n, self.language)}"
        return [{"name": self.text["refused"], "value": share, "interval": "", "of": of}]

    def _decision(self, name: str, cell: dict[str, int], figures: dict) -> dict:
        return {
            "name": self.text[name],
            "n": whole(cell["fractured"] + cell["not_fractured"], self.language),
            "share": self._figure(f"share_{name}", figures[f"share_{name}"]),
            "fractured": whole(cell["fractured"], self.language),
            "not_fractured": whole(cell["not_fractured"], self.language),
        }

    def _subgroups(self) -> list[dict]:
        tables = []
        for column, rows in self.metrics["subgroups"].items():
            shown = [name for name in SUBGROUP_FIGURES if name in rows[0]]
            tables.append(
                {
                    "name": word(column, self.language).capitalize(),
                    "binary": "prevalence" in rows[0],
                    "head": [measure_name(name, self.language) for name in shown],
                    "rows": [self._subgroup(row, shown) for row in rows],
                }
            )
        return tables

    def _subgroup(self, row: dict, shown: list[str]) -> dict:
        prevalence = row.get("prevalence")
        return {
            "level": word(row["level"], self.language),
            "n": whole(row["n"], self.language),
            "prevalence": "" if prevalence is None else percent(prevalence, self.language),
            "cells": [row[name] and self._figure(name, row[name]) for name in shown],
        }

    def _examples(self, examples: Sequence[Example]) -> list[dict]:
        kinds: dict[str, list[dict]] = {}
        for example in examples:
            kinds.setdefault(self._kind(example), []).append(self._film(example))
        titles = {kind: "doubtful" if kind == "uncertain" else kind for kind in KINDS}
        return [
            {"kind": kind, "title": self.text[titles[kind]], "films": kinds[kind]}
            for kind in KINDS
            if kind in kinds
        ]

    def _kind(self, example: Example) -> str:
        if example.kind is not None:
            return example.kind
        return "right" if int(np.argmax(example.probabilities)) == example.label else "wrong"

    def _film(self, example: Example) -> dict:
        part, language = self.predictions, self.language
        if part.binary:
            probability = float(1 - example.probabilities[part.negative])
            said = f"{self.text['probability']} {percent(probability, language)}"
        else:
            best = int(np.argmax(example.probabilities))
            share = percent(float(example.probabilities[best]), language)
            said = f"{word(part.classes[best], language)} {share}"
        decision = decide(probability, self.points) if part.binary and self.points else None
        overlay = None if example.overlay is None else thumbnail_uri(example.overlay, 360)
        return {
            "id": example.id,
            "label": word(part.classes[example.label], language),
            "said": said,
            "decision": decision and self.text[decision],
            "picture": thumbnail_uri(example.pixels, 360),
            "overlay": overlay,
        }

    def _training(self, history: dict[str, np.ndarray]) -> list[dict[str, str]]:
        curves = {"loss": plots.loss_figure, "accuracy": plots.accuracy_figure}
        figures = {name: draw(history, self.language) for name, draw in curves.items()}
        return [_shown(figure, self.text[name]) for name, figure in figures.items() if figure]

    def _facts(self) -> list[tuple[str, str]]:
        names = self.text["facts"]
        return [
            (names.get(name, name.replace("_", " ").capitalize()), self._fact(name, value))
            for name, value in self.facts.items()
            if not name.endswith("_on_this_part") and value not in (None, "", [], (), {})
        ]

    def _fact(self, name: str, value: Any) -> str:
        if name == "cost" and isinstance(value, Mapping):
            return _cost(value, self.language)
        return self.text["fact_values"].get(name, {}).get(str(value), _plain(value))


def _of_100(shares: Mapping[str, float]) -> dict[str, int]:
    """Shares of one whole as the nearest whole numbers that make 100 together."""
    found = {name: int(100 * share) for name, share in shares.items()}
    most_cut_off = sorted(shares, key=lambda name: found[name] - 100 * shares[name])
    for name in most_cut_off[: 100 - sum(found.values())]:
        found[name] += 1
    return found


def _cost(cost: Mapping[str, float], language: str) -> str:
    """What a model costs, of `kirik.shipping.costs`, in a sentence."""
    decimals = {"parameters": 3, "gflops": 3, "megabytes": 2, "readings_per_second": 1}
    said = dict(cost) | {
        name: number(cost[name], language, digits)
        for name, digits in decimals.items()
        if name in cost
    }
    phrases = [
        text.format(**said) for name, text in REPORT[language]["cost"].items() if name in said
    ]
    sentence = "; ".join(phrases)
    return sentence[:1].upper() + sentence[1:]


def _shown(figure, caption: str) -> dict:
    """For the page, with the width in inches of a figure that wants more room than others."""
    inches = round(figure.get_figwidth(), 2)
    wide = inches if inches >= plots.WIDE else None
    return {"uri": plots.figure_uri(figure), "caption": caption, "inches": wide}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(str(part) for part in value)
    return str(value)
