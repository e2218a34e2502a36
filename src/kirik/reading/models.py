"""A bundle of any kind, ready to run: one network, or several that speak together.

A `Network` runs a graph, an `Average` and a `Cascade` run their members; each has `wants` (the
preprocessings whose inputs it needs), `later` (those that not every radiograph needs), `heavy`
(whether it is slow, and large in memory) and `run`.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kirik.bundle import Bundle
from kirik.preprocessing import Preprocessing
from kirik.reading.network import (
    Inputs,
    Network,
    Part,
    Scores,
    calibrated,
    map_side,
    softmax,
    within,
)
from kirik.reading.patches import (
    close_up_squares,
    cut,
    looked_at,
    middle_box,
    pasted,
    resampled,
    window,
)
from kirik.reading.peaks import peaks, put_box

UNSEEN = 0.01
"""Probability of a fracture in a patch that nobody looked at: about that of an unsuspicious one."""
FAINT = 0.05
"""Findings of less evidence are not looked at close up."""


class Average:
    """A bundle of kind "average": the mean of its members' calibrated probabilities and maps."""

    def __init__(self, bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str):
        self.manifest = bundle.manifest
        overviews: dict[frozenset, _Once] = {}

        def opened(member: Bundle):
            if member.manifest.kind != "cascade":
                return open_model(member, threads, providers, engine)
            first = member.members[0]
            if first.content not in overviews:
                overviews[first.content] = _Once(open_model(first, threads, providers, engine))
            return Cascade(member, threads, providers, engine, overviews[first.content])

        self._members = [opened(member) for member in bundle.members]
        self._overviews = tuple(overviews.values())
        self.wants = frozenset().union(*(member.wants for member in self._members))
        at_once = (member.wants - member.later for member in self._members)
        self.later = self.wants.difference(*at_once)
        self.heavy = any(member.heavy for member in self._members)
        weights = np.array(self.manifest.weights or [1.0] * len(self._members))
        self._weights = weights / weights.sum()

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs. Raises BundleError if a member's graph breaks its promise."""
        inputs = dict(inputs)  # one of its own each time: see `_Once`
        try:
            scores = [member.run(inputs) for member in self._members]
        finally:
            for overview in self._overviews:
                overview.forget()
        pairs = list(zip(self._weights, scores, strict=True))
        mean = sum(weight * score.probabilities for weight, score in pairs)
        if self.manifest.temperature != 1 or self.manifest.bias:
            # Pool, then calibrate (Rahaman and Thiery, NeurIPS 2021, arXiv:2007.08792).
            mean = calibrated(_log(mean), self.manifest)
        evidence, parts = self._maps(pairs)
        attributes, strangeness = self._attributes(pairs), self._strangeness(pairs)
        return Scores(mean, evidence, None, attributes, strangeness, parts)

    def _strangeness(self, pairs) -> np.ndarray | None:
        if not self.manifest.scope:
            return None
        told = [
            (weight, score.strangeness / member.manifest.scope.threshold)
            for (weight, score), member in zip(pairs, self._members, strict=True)
            if score.strangeness is not None
        ]
        return sum(w * strange for w, strange in told) / sum(w for w, _ in told)

    def _maps(self, pairs) -> tuple[np.ndarray | None, tuple[Part, ...]]:
        """The mean map on the manifest's grid, and the members' own maps that have boxes."""
        said = self.manifest.evidence
        with_map = [
            (weight, score, member.manifest)
            for (weight, score), member in zip(pairs, self._members, strict=True)
            if score.evidence is not None
        ]
        if not (said and with_map):
            return None, ()
        side = map_side(self.manifest)
        maps = [resampled(score.evidence, side) for _, score, _ in with_map]
        total = sum(weight for weight, _, _ in with_map)
        mean = sum(w * cells for (w, _, _), cells in zip(with_map, maps, strict=True)) / total
        mean = mean.astype(np.float32)
        if not said.boxes:
            return mean, ()
        parts = []
        for (weight, score, manifest), cells in zip(with_map, maps, strict=True):
            own = score.parts if score.boxes is None else (Part(1.0, cells, score.boxes),)
            shares = sum(part.weight for part in own)
            # Distances on one input are other distances on a larger one.
            scale = self.manifest.preprocessing.size / manifest.preprocessing.size
            for part in own:
                flat = part.boxes.reshape(-1, *part.boxes.shape[2:])
                boxes = scale * resampled(flat, side).reshape(-1, 4, side, side)
                share = weight * part.weight / shares
                parts.append(Part(share, resampled(part.evidence, side), boxes))
        return mean, tuple(parts)

    def _attributes(self, pairs) -> np.ndarray:
        """Mean over the members that tell an attribute."""
        columns = []
        for name in self.manifest.attributes:
            told = [
                (weight, score.attributes[:, member.manifest.attributes.index(name)])
                for (weight, score), member in zip(pairs, self._members, strict=True)
                if name in member.manifest.attributes
            ]
            columns.append(sum(w * said for w, said in told) / sum(w for w, _ in told))
        return np.stack(columns, axis=1) if columns else np.zeros((len(pairs[0][1].attributes), 0))


class Cascade:
    """A bundle of kind "cascade": a network for the whole radiograph, and one that looks closer
    where the first sees most evidence.

    The probability joins what the first says of the radiograph with what the second says of the
    most suspicious patch: the product of both, the first's to the power of `overview_weight`,
    brought to a sum of 1 (a logarithmic opinion pool: Heskes, NIPS 1997), then calibrated. The two
    are not independent, as the first chose the patch. Attributes and strangeness are the first's.

    Findings may be seen once more, close up: see `_close_ups`.

    Where the first holds a fracture for less probable than `looks_from`, nobody looks closer, as
    Viola and Jones (2001, doi:10.1109/CVPR.2001.990517) pass over what an early stage rejects.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None,
        providers: Sequence[str],
        engine: str,
        overview: "_Once | None" = None,
    ):
        """overview: its first network, where others have opened the same."""
        self.manifest = bundle.manifest
        first, second = bundle.members

        def opened(member: Bundle) -> Model:
            return open_model(member, threads, providers, engine)

        if overview or engine != "onnxruntime":  # OpenVINO's core belongs to the thread it is from
            self._overview = overview or opened(first)
            self._closer = opened(second)
        else:
            self._overview, self._closer = _side_by_side(opened, first, second)
        self._patch: Preprocessing = self._closer.manifest.preprocessing
        # What counts as said of a patch where nobody looked: float [classes].
        unseen = np.full(len(self.manifest.classes), UNSEEN / (len(self.manifest.classes) - 1))
        unseen[self.manifest.negative] = 1 - UNSEEN
        self._unseen = _log(unseen)
        self.wants = self._overview.wants | {bundle.manifest.preprocessing}
        own = self.wants - self._overview.wants
        self.later = own if bundle.manifest.looks_from else frozenset()
        self.heavy = self._overview.heavy or self._closer.heavy

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs. Raises BundleError if a member's graph breaks its promise."""
        whole = self._overview.run(inputs)
        weight = self._weight(1 - whole.probabilities[:, self.manifest.negative])
        patch = np.tile(self._unseen, (len(weight), 1))
        maps = resampled(whole.evidence, map_side(self.manifest))
        # As `pasted` would have it of patches that show nothing: faint, but with a peak.
        unlooked = UNSEEN**2 * (1 - weight)[:, None, None]
        evidence = np.cbrt(maps * unlooked).astype(np.float32)
        boxes = np.ones((len(weight), 4, *maps.shape[1:]), np.float32)
        rows = np.flatnonzero(weight > 0)
        if len(rows):
            images = inputs[self.manifest.preprocessing][rows]
            patch[rows], seen, sides = self._look(images, maps[rows], weight[rows])
            higher = seen >= evidence[rows]
            evidence[rows] = np.where(higher, seen, evidence[rows])
            boxes[rows] = np.where(higher[:, None], sides, 1)
            if self.manifest.close_ups:
                patch[rows], boxes[rows] = self._close_ups(
                    images, evidence[rows], boxes[rows], patch[rows], weight[rows]
                )
        whole_says = self.manifest.overview_weight * _log(whole.probabilities)
        probabilities = calibrated(whole_says + patch, self.manifest)
        return Scores(probabilities, evidence, boxes, whole.attributes, whole.strangeness)

    def _weight(self, suspected: np.ndarray) -> np.ndarray:
        """How much a closer look counts, 0…1: it sets in over the odds from `looks_from` to twice
        that, so that a hair's breadth does not decide."""
        start = self.manifest.looks_from
        if not start:
            return np.ones(len(suspected))
        begin, full, own = (_log_odds(p) for p in (start, 2 * start, suspected))
        return within((own - begin) / (full - begin), 1)

    def _look(
        self, images: np.ndarray, maps: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What counts as said of the most suspicious patch, as logarithms of probabilities, and
        evidence and boxes, of m radiographs.

        images: uint8 [m, size, size]. maps: the first network's evidence. weight: float [m].
        """
        side, stride = self._patch.size, self.manifest.evidence.stride
        corners = np.stack([looked_at(one, side // stride, self.manifest.looks) for one in maps])
        closer = self._closer.run({self._patch: cut(images, corners * stride, side)})
        said, seen, sides = (
            values.reshape(*corners.shape[:2], *values.shape[1:])
            for values in (closer.probabilities, closer.evidence, closer.boxes)
        )
        suspected = 1 - said[..., self.manifest.negative]
        most = _log(said[np.arange(len(said)), suspected.argmax(axis=1)])
        share = weight[:, None]
        counted = share * most + (1 - share) * self._unseen
        return counted, *pasted(maps, corners, suspected * share, seen, sides)

    def _close_ups(
        self,
        images: np.ndarray,
        evidence: np.ndarray,
        boxes: np.ndarray,
        patch: np.ndarray,
        weight: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What counts as said of the most suspicious patch, and boxes, with the strongest findings
        seen close up: at a size that is always much the same, a fracture of any size is like those
        that the second network learned from.

        A close-up and what was there before count the same: the mean of the boxes, and of the
        logarithms of probabilities that of the patch's and the most suspicious close-up's. Over
        evidence from `FAINT` to twice that a close-up sets in, and as what is seen closer does, so
        that a hair's breadth does not decide.

        images: uint8 [m, size, size]. evidence: float [m, rows, columns]. boxes: [m, 4, rows, …].
        patch: float [m, classes]. weight: float [m], how much a closer look counts.
        """
        side, stride = self._patch.size, self.manifest.evidence.stride
        all_peaks = [peaks(own, boxes[row], stride, FAINT) for row, own in enumerate(evidence)]
        found = [
            (row, peak)
            for row, own in enumerate(all_peaks)
            for peak in own[: self.manifest.close_ups]
        ]
        if not found:
            return patch, boxes
        rows = np.array([row for row, _ in found])
        share = within(np.array([peak.score for _, peak in found]) / FAINT - 1, 1) * weight[rows]
        squares = close_up_squares(np.stack([peak.box for _, peak in found]), side)
        cuts = [window(images[row], *at, side) for row, at in zip(rows, squares, strict=True)]
        closer = self._closer.run({self._patch: np.stack(cuts)})
        said = _log(closer.probabilities)
        patch, boxes = patch.copy(), boxes.copy()
        for row in np.unique(rows):
            own = np.flatnonzero(rows == row)
            part, first = share[own, None], own[0]
            # A faint finding's close-up says what the strongest one's does, at first.
            each = part * said[own] + (1 - part) * said[first]
            most = each[softmax(each)[:, self.manifest.negative].argmin()]
            patch[row] += share[first] / 2 * (most - patch[row])
            for at in own:
                peak, (top, left, span) = found[at][1], squares[at]
                box = middle_box(closer.evidence[at], closer.boxes[at], stride) * (span / side)
                off = box + np.array([left, top, left, top]) - peak.box
                others = [one for one in all_peaks[row] if one is not peak]
                put_box(boxes[row], peak, peak.box + share[at] / 2 * off, stride, others)
        return patch, boxes


class _Once:
    """A model that several cascades ask about the same inputs, the very same mapping: it is run
    once, in each thread for itself, as several batches may be judged at the same time."""

    def __init__(self, model: Network | Average | Cascade):
        self.wants, self.heavy, self._model = model.wants, model.heavy, model
        self._here = threading.local()

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs, as the model itself gives them."""
        asked, scores = getattr(self._here, "last", (None, None))
        if asked is not inputs:
            scores = self._model.run(inputs)
            self._here.last = (inputs, scores)
        return scores

    def forget(self) -> None:
        """Let this thread's last inputs and scores go."""
        self._here.last = (None, None)


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, 1e-12))


def _log_odds(probability):
    return _log(probability) - _log(1 - probability)


Model = Network | Average | Cascade


def _side_by_side(opened: Callable[[Bundle], Model], *bundles: Bundle) -> list[Model]:
    """These opened at the same time: nearly all of it the engine does outside of Python's lock."""
    try:
        with ThreadPoolExecutor(len(bundles), thread_name_prefix="kirik-open") as pool:
            return list(pool.map(opened, bundles))
    except RuntimeError:  # the system gives no more threads
        return [opened(bundle) for bundle in bundles]


def open_model(bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str) -> Model:
    """A bundle of any kind, ready to run. Raises BundleError or SettingsError."""
    return _KINDS[bundle.manifest.kind](bundle, threads, providers, engine)


_KINDS = {"network": Network, "average": Average, "cascade": Cascade}
