"""Radiographs that are in a data set more than once: same bytes, same pixels, or nearly the same.

Near-duplicates are found in two steps: candidates by the Hamming distance of a 64-bit perceptual
hash (the signs of a radiograph's low cosine frequencies; C. Zauner, "Implementation and
benchmarking of perceptual image hash functions", 2010), confirmed by the correlation of 48×48
thumbnails. Signs rather than Zauner's median: mirroring a radiograph then only flips the signs of
the odd frequencies, so that one hash serves all eight orientations.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.fft import dctn

from kirik.dataset.inspect import FileFacts

NEAR_CORRELATION = 0.97
TURNED_CORRELATION = 0.99
"""Stricter than for upright ones: left and right limbs of two people mirror each other to 0.976.
Inverted copies are held to it, too."""

# On 3,221 radiographs of FracAtlas, all 121 pairs that correlate above 0.97 are within 20 of 64
# bits (distance 16: 120 of them, 12: 116, 8: 107); 22 leaves a margin and still spares nineteen
# comparisons in twenty.
CANDIDATE_DISTANCE = 22
# The same radiographs, mirrored and with 1 % of noise, are at most 8 bits away.
TURNED_DISTANCE = 10
FREQUENCIES = 8
BITS = FREQUENCIES**2
BLOCK = 256

# Each turn of a square: (transpose first, then flip rows, then flip columns).
TURNS = tuple((t, r, c) for t in (False, True) for r in (False, True) for c in (False, True))[1:]


@dataclass(frozen=True)
class Pair:
    """Two ids whose radiographs correlate; for a turned copy, the second one was turned. Inverted
    ones correlate below zero."""

    first: str
    second: str
    correlation: float


@dataclass(frozen=True)
class Duplicates:
    """What is in a data set more than once.

    byte: sets of ids whose files are identical.
    pixel: sets of ids whose files differ and whose upright grayscale radiographs do not.
    near: pairs of different radiographs that correlate above 0.97; one id stands for its set.
    turned: pairs that do so above 0.99 after mirroring or a quarter turn.
    inverted: pairs that correlate below −0.99: one is the other's negative.
    opposite: ids bound by one of these although their labels differ, and by which.
    """

    byte: tuple[tuple[str, ...], ...] = ()
    pixel: tuple[tuple[str, ...], ...] = ()
    near: tuple[Pair, ...] = ()
    turned: tuple[Pair, ...] = ()
    inverted: tuple[Pair, ...] = ()
    opposite: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def alike(self) -> dict[str, tuple[Pair, ...]]:
        """The pairs of radiographs that differ, by what makes them alike."""
        return {"near": self.near, "turned": self.turned, "inverted": self.inverted}

    def pairs(self) -> tuple[tuple[str, ...], ...]:
        """Every bond as a tuple of ids: what a split must keep on one side."""
        bonds = [(pair.first, pair.second) for pairs in self.alike().values() for pair in pairs]
        return (*self.byte, *self.pixel, *bonds)


def find_duplicates(
    facts: Sequence[FileFacts], labels: Mapping[str, int] | None = None
) -> Duplicates:
    """All duplicates among `facts`; `labels` (by id) tells which of them contradict each other."""
    byte = _same(facts, lambda file: file.sha256)
    different = _first_of_each(facts, byte)
    pixel = _same(different, lambda file: file.pixel_hash)
    shown = [file for file in _first_of_each(different, pixel) if file.thumbnail is not None]
    near = _near(shown)
    turned = _turned(shown, {(pair.first, pair.second) for pair in near})
    found = Duplicates(byte, pixel, near, turned, _inverted(shown))
    return replace(found, opposite=_opposite(found, labels or {}))


def _same(facts: Iterable[FileFacts], key) -> tuple[tuple[str, ...], ...]:
    sets = defaultdict(list)
    for file in facts:
        if key(file) is not None:
            sets[key(file)].append(file.id)
    return tuple(tuple(ids) for ids in sets.values() if len(ids) > 1)


def _first_of_each(facts: Iterable[FileFacts], sets: Iterable[tuple[str, ...]]) -> list[FileFacts]:
    further = {i for ids in sets for i in ids[1:]}
    return [file for file in facts if file.id not in further]


def _near(facts: Sequence[FileFacts]) -> tuple[Pair, ...]:
    thumbnails = _thumbnails(facts)
    hashes, vectors = perceptual_hashes(thumbnails), _normalized(thumbnails)
    bonds = _correlated(hashes, vectors, hashes, vectors, CANDIDATE_DISTANCE, NEAR_CORRELATION)
    return tuple(Pair(facts[i].id, facts[j].id, round(r, 4)) for i, j, r in bonds)


def _turned(facts: Sequence[FileFacts], known: set[tuple[str, str]]) -> tuple[Pair, ...]:
    """Pairs whose second one correlates after a turn; a pair that is near as it stands is not."""
    thumbnails = _thumbnails(facts)
    hashes, vectors = perceptual_hashes(thumbnails), _normalized(thumbnails)
    best: dict[tuple[str, str], float] = {}
    for turn in TURNS:
        turned = _turn(thumbnails, *turn)
        other = perceptual_hashes(turned), _normalized(turned)
        bonds = _correlated(hashes, vectors, *other, TURNED_DISTANCE, TURNED_CORRELATION)
        for i, j, r in bonds:
            ids = facts[i].id, facts[j].id
            if ids not in known:
                best[ids] = max(r, best.get(ids, 0.0))
    return tuple(Pair(*ids, round(r, 4)) for ids, r in sorted(best.items()))


def _inverted(facts: Sequence[FileFacts]) -> tuple[Pair, ...]:
    """Pairs of a radiograph and its negative, as exports that ignore MONOCHROME1 make them."""
    thumbnails = _thumbnails(facts)
    hashes, vectors = perceptual_hashes(thumbnails), _normalized(thumbnails)
    other = perceptual_hashes(-thumbnails), -vectors
    bonds = _correlated(hashes, vectors, *other, TURNED_DISTANCE, TURNED_CORRELATION)
    return tuple(Pair(facts[i].id, facts[j].id, -round(r, 4)) for i, j, r in bonds)


def _turn(thumbnails: np.ndarray, transpose: bool, rows: bool, columns: bool) -> np.ndarray:
    turned = thumbnails.transpose(0, 2, 1) if transpose else thumbnails
    turned = turned[:, ::-1] if rows else turned
    return turned[:, :, ::-1] if columns else turned


def _thumbnails(facts: Sequence[FileFacts]) -> np.ndarray:
    return np.array([file.thumbnail for file in facts], np.float32).reshape(len(facts), 48, 48)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Hashes of float [n, side, side] as ±1 float32 [n, 64], so that dot products give distances.

    A bit is the sign of one of the 8×8 lowest cosine frequencies.
    """
    waves = dctn(thumbnails, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES].copy()
    waves[:, 0, 0] = 0  # the mean brightness is not a feature of what is shown
    return np.where(waves.reshape(len(waves), BITS) > 0, 1, -1).astype(np.float32)


def _normalized(thumbnails: np.ndarray) -> np.ndarray:
    """Rows whose dot products are Pearson correlations; a uniform radiograph is all zero."""
    vectors = thumbnails.reshape(len(thumbnails), thumbnails[0].size if len(thumbnails) else 1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-3, vectors / np.maximum(lengths, 1e-3), 0).astype(np.float32)


def _correlated(
    hashes: np.ndarray,
    vectors: np.ndarray,
    other_hashes: np.ndarray,
    other_vectors: np.ndarray,
    distance: int,
    correlation: float,
) -> list[tuple[int, int, float]]:
    """(i, j, correlation) with i < j: candidates by hash, confirmed; a block of rows at a time."""
    bonds = []
    for start in range(0, len(hashes), BLOCK):
        rows = slice(start, start + BLOCK)
        apart = (BITS - hashes[rows] @ other_hashes[start:].T) / 2
        i, j = np.nonzero(np.triu(apart <= distance, 1))
        i, j = i + start, j + start
        for some in range(0, len(i), 8192):
            a, b = i[some : some + 8192], j[some : some + 8192]
            r = np.einsum("nk,nk->n", vectors[a], other_vectors[b])
            keep = r > correlation
            bonds += zip(a[keep].tolist(), b[keep].tolist(), r[keep].tolist(), strict=True)
    return bonds


def _opposite(
    found: Duplicates, labels: Mapping[str, int]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Bonds whose members do not share one label, each with its whole set of identical files."""
    sets: dict[str, tuple[str, ...]] = {}
    for ids in (*found.byte, *found.pixel):
        whole = tuple(dict.fromkeys(i for one in ids for i in sets.get(one, (one,))))
        sets |= dict.fromkeys(whole, whole)
    bonds = [("byte", ids) for ids in found.byte]
    bonds += [("pixel", sets[ids[0]]) for ids in found.pixel]
    for kind, pairs in found.alike().items():
        for pair in pairs:
            first, second = (sets.get(i, (i,)) for i in (pair.first, pair.second))
            bonds.append((kind, (*first, *second)))
    return tuple(
        (kind, ids) for kind, ids in bonds if len({labels[i] for i in ids if i in labels}) > 1
    )
