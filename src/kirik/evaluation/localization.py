"""Where, not only whether: findings against the fractures that readers outlined.

Average precision as in object detection (Everingham et al. 2010, doi:10.1007/s11263-009-0275-4):
findings of all radiographs by falling score, each right where it overlaps a fracture that no
higher one has taken by an intersection over union of 0.5. FROC (Bunch et al. 1977,
doi:10.1117/12.955926): the share of fractures found against the false findings per radiograph;
there a finding is right where its centre lies in a fracture's box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kirik.errors import DataSetError
from kirik.evaluation.bootstrap import Estimate, bootstrap
from kirik.evaluation.ranking import ratio

FINDINGS = "findings.csv"
"""The name of a table of findings."""

FALSE_PER_RADIOGRAPH = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Where the FROC curve is read off."""


@dataclass(frozen=True)
class Localized:
    """Findings beside the truth, one entry for each radiograph.

    truth: float [k, 4], boxes (x, y, width, height) of its fractures; none where it has none.
    found: float [m, 5], boxes and scores, in the same pixels, whatever the score.
    groups: text. known: bool [n], whether the truth is complete: a fractured radiograph without a
    box is not.
    """

    truth: tuple[np.ndarray, ...]
    found: tuple[np.ndarray, ...]
    groups: tuple[str, ...]
    known: np.ndarray

    def select(self, rows: np.ndarray) -> "Localized":
        """The radiographs at these positions."""
        return Localized(
            tuple(self.truth[i] for i in rows),
            tuple(self.found[i] for i in rows),
            tuple(self.groups[i] for i in rows),
            self.known[rows],
        )


def measure_localization(
    localized: Localized,
    shown_from: np.ndarray,
    *,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Figures with their 95 % intervals over groups; see the module for what they mean.

    shown_from: float [n], the score from which a finding of that radiograph is shown, as the
        strongest one in `found` is in any case; infinite where none is, as the reading dismisses
        it.

    map50; found_at_F for F false findings per radiograph (shares of fractures); at the shown
    findings: fractures_found (share), findings_right (share), false_per_normal (mean number on a
    radiograph without a fracture), normal_with_false (share of these with any). An interval of no
    width is replaced as in `bootstrap`.
    Raises DataSetError if no fracture's place is known.
    """
    rows = np.flatnonzero(localized.known)
    measured = _Measured(localized.select(rows), np.asarray(shown_from, float)[rows])
    drawn = bootstrap(
        measured.values,
        measured.fractured,
        measured.groups,
        replicates=replicates,
        seed=seed,
        counted=measured.counted(),
    )
    return drawn.estimates


def choose_shown_from(localized: Localized) -> float:
    """The score from which findings are worth showing: the highest F1 of findings and fractures."""
    rows = np.flatnonzero(localized.known)
    measured = _Measured(localized.select(rows), np.zeros(len(rows)))
    ends = measured.ends
    hits, alarms = np.cumsum(measured.hit)[ends], np.cumsum(~measured.hit)[ends]
    f1 = 2 * hits / (hits + alarms + measured.fractures.sum())
    if not len(f1):
        return 0.5
    return float(np.clip(measured.score[ends][int(f1.argmax())], 0.01, 0.99))


class _Measured:
    """All findings by falling score, matched once; measures for any weights of the radiographs.

    ends: the last finding of each score: no threshold lies between findings of the same one.
    """

    def __init__(self, localized: Localized, shown_from: np.ndarray):
        self.groups = localized.groups
        self.fractures = np.array([len(boxes) for boxes in localized.truth])
        self.fractured = self.fractures > 0
        if not self.fractured.any():
            raise DataSetError("no fracture's place is known: findings cannot be measured")
        counts = [len(found) for found in localized.found]
        owner = np.repeat(np.arange(len(counts)), counts)
        found = np.concatenate([np.zeros((0, 5)), *localized.found])
        overlaps, inside = [], []
        for truth, boxes in zip(localized.truth, localized.found, strict=True):
            overlaps.append(_match(_ious(truth, boxes), boxes[:, 4], 0.5))
            inside.append(_match(_centred(truth, boxes), boxes[:, 4], 0.5))
        order = np.argsort(-found[:, 4], kind="stable")
        self.score, self._owner = found[order, 4], owner[order]
        self.ends = np.flatnonzero(np.diff(self.score, append=-np.inf))
        self._overlap = np.concatenate([np.zeros(0, bool), *overlaps])[order]
        self.hit = np.concatenate([np.zeros(0, bool), *inside])[order]
        # A reading gives its strongest finding, if no other, unless it says that there is none.
        # What is too faint to be given is not in `found`.
        first = np.zeros(len(order), bool)
        first[np.unique(self._owner, return_index=True)[1]] = True
        from_there = shown_from[self._owner]
        self._shown = (self.score >= from_there) | (first & np.isfinite(from_there))

    def values(self, weights: np.ndarray) -> dict[object, np.ndarray]:
        """Measures [replicates] of weights [replicates, radiographs]."""
        each = weights[:, self._owner]
        fractures = weights @ self.fractures
        shown, normal = each * self._shown, ~self.fractured
        false = shown * ~self.hit
        on_normal = np.zeros_like(weights)
        np.add.at(on_normal.T, self._owner, (self._shown & ~self.hit)[:, None].astype(float))
        normals = weights @ normal
        return {
            "map50": self._average_precision(each, fractures),
            **self._froc(each, fractures, weights.sum(axis=1)),
            "fractures_found": ratio((shown * self.hit).sum(axis=1), fractures),
            "findings_right": ratio((shown * self.hit).sum(axis=1), shown.sum(axis=1)),
            "false_per_normal": ratio((false * normal[self._owner]).sum(axis=1), normals),
            "normal_with_false": ratio((weights * (on_normal > 0)) @ normal, normals),
        }

    def counted(self) -> dict[object, np.ndarray]:
        """Each measure that is a proportion → bool [n], the radiographs in its denominator."""
        with_findings = np.zeros(len(self.fractures), bool)
        with_findings[self._owner[self._shown]] = True
        return {
            "fractures_found": self.fractured,
            **{f"found_at_{rate:g}": self.fractured for rate in FALSE_PER_RADIOGRAPH},
            "findings_right": with_findings,
            "normal_with_false": ~self.fractured,
        }

    def _average_precision(self, each: np.ndarray, fractures: np.ndarray) -> np.ndarray:
        """Area under the precision-recall curve made to fall, as detection measures it."""
        hits = np.cumsum(each * self._overlap, axis=1)[:, self.ends]
        precision = np.nan_to_num(ratio(hits, np.cumsum(each, axis=1)[:, self.ends]))
        falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return ratio((falling * np.diff(hits, axis=1, prepend=0)).sum(axis=1), fractures)

    def _froc(self, each: np.ndarray, fractures: np.ndarray, total: np.ndarray) -> dict:
        hits = np.cumsum(each * self.hit, axis=1)[:, self.ends]
        false = np.cumsum(each * ~self.hit, axis=1)[:, self.ends]
        return {
            f"found_at_{rate:g}": ratio(
                np.max(np.where(false <= rate * total[:, None], hits, 0), axis=1, initial=0),
                fractures,
            )
            for rate in FALSE_PER_RADIOGRAPH
        }


def _ious(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Intersection over union of every found box with every true one, [m, k]."""
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    ends, true_ends = found[:, :2] + found[:, 2:4], truth[:, :2] + truth[:, 2:]
    high = np.minimum(ends[:, None], true_ends[None])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = np.prod(found[:, None, 2:4], axis=2) + np.prod(truth[None, :, 2:], axis=2)
    return common / np.maximum(areas - common, 1e-9)


def _centred(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """1 where a found box's centre lies in a true box, [m, k]."""
    centres = found[:, None, :2] + found[:, None, 2:4] / 2
    inside = (centres >= truth[None, :, :2]) & (centres <= truth[None, :, :2] + truth[None, :, 2:])
    return inside.all(axis=2).astype(float)


def _match(overlap: np.ndarray, score: np.ndarray, least: float) -> np.ndarray:
    """bool [m]: by falling score, each finding takes the free fracture it overlaps most."""
    right, free = np.zeros(len(score), bool), np.ones(overlap.shape[1], bool)
    for row in np.argsort(-score, kind="stable"):
        candidates = np.where(free, overlap[row], -1.0)
        if len(candidates) and candidates.max() >= least:
            free[candidates.argmax()] = False
            right[row] = True
    return right


def findings_table(found: Sequence[Sequence]) -> tuple[np.ndarray, ...]:
    """Findings of each reading as arrays [m, 5]: x, y, width, height, score."""
    return tuple(
        np.array([(f.x, f.y, f.width, f.height, f.score) for f in one], float).reshape(-1, 5)
        for one in found
    )
