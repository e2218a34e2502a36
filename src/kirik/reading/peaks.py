"""The peaks of an evidence map, each with the box that the cells around it give."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SAME = 0.4
"""Two boxes that share more than this of the smaller one are one finding."""


class MapPeak(NamedTuple):
    """A local maximum. row, column: its cell. box: float [4], left, top, right and bottom in
    input pixels. score: the evidence there."""

    row: int
    column: int
    box: np.ndarray
    score: float


def peaks(
    evidence: np.ndarray, boxes: np.ndarray, stride: float, threshold: float
) -> list[MapPeak]:
    """A map's local maxima from `threshold` on, highest first.

    evidence: float32 [rows, columns]. boxes: float32 [4, rows, columns], input pixels from each
    cell's centre to its box's left, top, right and bottom side; stride: those a cell.
    A peak's box is the mean over its neighbourhood, weighted by the evidence; one whose box
    overlaps a higher one's is the same finding.
    """
    around = np.lib.stride_tricks.sliding_window_view(np.pad(evidence, 1), (3, 3))
    places = np.argwhere(evidence >= threshold)
    heights = evidence[tuple(places.T)]
    highest = heights >= around[tuple(places.T)].max(axis=(1, 2))
    places, heights = places[highest], heights[highest]
    kept: list[MapPeak] = []
    for row, column in places[np.argsort(-heights, kind="stable")]:
        box = box_at(evidence, boxes, stride, row, column)
        if all(_shared(box, other.box) <= SAME for other in kept):
            kept.append(MapPeak(int(row), int(column), box, float(evidence[row, column])))
    return kept


def fused(
    found: Sequence[Sequence[MapPeak]], weights: Sequence[float]
) -> list[tuple[np.ndarray, float]]:
    """What several models found, as one: boxes, left, top, right and bottom, float [4], and scores,
    highest first.

    found: the peaks of each model's map. weights: what each model counts.
    Peaks of different models whose boxes overlap, as those of one finding do, are one: its box is
    the mean of theirs, weighted by weight and score, and its score the weighted mean, in which a
    model that has none there counts as 0 (weighted boxes fusion: Solovyev et al. 2021,
    doi:10.1016/j.imavis.2021.104117).
    """
    everything = [(peak, model) for model, own in enumerate(found) for peak in own]
    together: list[dict[int, MapPeak]] = []
    boxes: list[np.ndarray] = []
    for peak, model in sorted(everything, key=lambda one: -one[0].score):
        shared = [
            0.0 if model in own else _shared(box, peak.box)
            for own, box in zip(together, boxes, strict=True)
        ]
        at = int(np.argmax(shared)) if shared else 0
        if not shared or shared[at] <= SAME:
            together.append({model: peak})
            boxes.append(peak.box)
            continue
        own = together[at] | {model: peak}
        parts = np.array([weights[which] * one.score for which, one in own.items()])
        together[at] = own
        boxes[at] = parts @ np.stack([one.box for one in own.values()]) / parts.sum()
    total = sum(weights)
    scores = [
        float(sum(weights[m] * one.score for m, one in own.items()) / total) for own in together
    ]
    order = np.argsort(-np.array(scores), kind="stable")
    return [(boxes[at], scores[at]) for at in order]


def box_at(
    evidence: np.ndarray, boxes: np.ndarray, stride: float, row: int, column: int
) -> np.ndarray:
    """The box that a cell and its neighbours give, weighted by their evidence: left, top, right
    and bottom in input pixels, float [4]."""
    near = _neighbours(row, column, 1)
    weights = np.maximum(evidence[near], 1e-12)  # of a map that is black, all cells count
    absolute = boxes[:, *near] * _OUTWARD + _centres(near, evidence.shape, stride)
    return (absolute * weights).sum(axis=(1, 2)) / weights.sum()


def put_box(
    boxes: np.ndarray, peak: MapPeak, box: np.ndarray, stride: float, others: Sequence[MapPeak]
) -> None:
    """Let the cells around a peak give that box: left, top, right and bottom in input pixels.

    boxes: float [4, rows, columns], changed. Those within two cells of it, as other maps that these
    are averaged with have their peak nearby; but none that is as near to one of the others.
    """
    near = _neighbours(peak.row, peak.column, 2)
    rows, columns = (np.arange(n)[cells] for n, cells in zip(boxes.shape[1:], near, strict=True))

    def distance(one: MapPeak) -> np.ndarray:
        return np.hypot(*np.meshgrid(rows - one.row, columns - one.column, indexing="ij"))

    own = np.ones((len(rows), len(columns)), bool)
    for other in others:
        own &= distance(peak) < distance(other)
    centres = _centres(near, boxes.shape[1:], stride)
    given = (box[:, None, None] - centres) * _OUTWARD
    boxes[:, *near] = np.where(own, given, boxes[:, *near])


_OUTWARD = np.array([-1.0, -1, 1, 1])[:, None, None]
"""Which way the left, top, right and bottom side lie from a cell's centre."""


def _neighbours(row: int, column: int, reach: int) -> tuple[slice, slice]:
    """Rows and columns of the cells within `reach`; beyond the last one, indexing cuts them off."""
    return tuple(slice(max(at - reach, 0), at + reach + 1) for at in (row, column))


def _centres(near: tuple[slice, slice], shape: tuple[int, int], stride: float) -> np.ndarray:
    """Centres of cells, float [4, rows, columns]: x, y, x and y in input pixels."""
    rows, columns = (
        (np.arange(n, dtype=np.float64)[cells] + 0.5) * stride
        for n, cells in zip(shape, near, strict=True)
    )
    across, down = np.meshgrid(columns, rows)
    return np.stack([across, down, across, down])


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over the smaller area of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(np.maximum(high - low, 0)) / max(smaller, 1e-9))
