"""Whole groups onto parts, so that every part resembles the data set.

Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data" (ECML PKDD 2011) deal
out single examples, the rarest property first. Here whole groups are dealt out, the largest
first, and then moved while that brings the parts nearer to what they should hold.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from kirik.dataset.index import Record
from kirik.errors import SplitError

RESTARTS = 4
SWEEPS = 20
WEIGHTS = {"all": 4.0, "label": 8.0, "stratum": 1.0, "hardware": 1.0}
"""How much it counts that a part has its due: of radiographs, of each class, of each label ×
region, and of each label × hardware."""


def assign(
    records: Sequence[Record],
    groups: Mapping[str, str],
    classes: Sequence[str],
    shares: Sequence[float],
    seed: int,
) -> dict[str, int]:
    """Part of each group, as an index into `shares`; a part whose share is 0 gets none.

    groups: group by record id. Raises SplitError if a part would lack a class.
    """
    names = sorted({groups[record.id] for record in records})
    parts = [part for part, share in enumerate(shares) if share > 0]
    held_by = {i: {groups[r.id] for r in records if r.label == i} for i in range(len(classes))}
    for label, name in enumerate(classes):
        if len(held_by[label]) < len(parts):
            raise SplitError(
                f"class {name!r} has {len(held_by[label])} group(s) of radiographs, too few for "
                f"{len(parts)} parts; choose fewer folds or no test part"
            )
    counts, weights = _properties(records, groups, names)
    dealt = deal(counts, weights, np.array([shares[part] for part in parts]), seed)
    part_of = {name: parts[part] for name, part in zip(names, dealt, strict=True)}
    for label, name in enumerate(classes):
        if {part_of[group] for group in held_by[label]} != set(parts):
            raise SplitError(
                f"class {name!r} cannot be in each of {len(parts)} parts without tearing groups; "
                "choose fewer folds, another seed or no test part"
            )
    return part_of


def _properties(
    records: Sequence[Record], groups: Mapping[str, str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Radiographs of each group with each property [groups, properties], and its weight."""
    row = {name: i for i, name in enumerate(names)}
    cells = Counter((groups[r.id], kind) for r in records for kind in _kinds(r))
    kinds = sorted({kind for _, kind in cells})
    column = {kind: i for i, kind in enumerate(kinds)}
    counts = np.zeros((len(names), len(kinds)))
    for (group, kind), count in cells.items():
        counts[row[group], column[kind]] = count
    return counts, np.array([WEIGHTS[kind[0]] for kind in kinds])


def _kinds(record: Record) -> list[tuple[str, ...]]:
    label = str(record.label)
    kinds = [("all",), ("label", label), ("stratum", label, *record.region)]
    return [*kinds, ("hardware", label)] if record.hardware else kinds


def deal(counts: np.ndarray, weights: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Part of each group, as int [groups].

    counts: [groups, properties], how many radiographs of a group have each property.
    weights: [properties], how much each one counts.
    shares: [parts], the share of all radiographs that each part should hold; sums to 1.
    The best of several seeded starts is returned; the same arguments give the same answer.
    """
    targets = np.outer(shares, counts.sum(axis=0))
    weights = weights / np.maximum(targets, 1.0)  # a few radiographs more or less of many: little
    best, lowest = None, np.inf
    for generator in np.random.default_rng(seed).spawn(RESTARTS):
        held = _dealt(counts, targets, weights, generator)
        cost = _cost(counts, held, targets, weights)
        if cost < lowest - 1e-9:
            best, lowest = held, cost
    return best


def _dealt(
    counts: np.ndarray, targets: np.ndarray, weights: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    totals = np.maximum(counts.sum(axis=0), 1)
    rarity = (counts / totals).sum(axis=1)  # large groups, and those of rare properties, go first
    order = np.lexsort((generator.permutation(len(counts)), -rarity))
    held = np.full(len(counts), -1)
    sums = np.zeros_like(targets)
    for _ in range(SWEEPS):
        moved = 0
        for group in order:
            moved += _place(group, held, sums, counts, targets, weights)
        if not moved:
            break
        order = generator.permutation(len(counts))
    return held


def _place(
    group: int,
    held: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
) -> bool:
    """Put one group where it costs least; whether that is another part than before."""
    count, before = counts[group], held[group]
    if before >= 0:
        sums[before] -= count
    missing = targets - sums
    rise = (weights * (count**2 - 2 * count * missing)).sum(axis=1)
    chosen = int(rise.argmin())
    if before >= 0 and rise[chosen] > rise[before] - 1e-9:
        chosen = before
    sums[chosen] += count
    held[group] = chosen
    return chosen != before


def _cost(counts: np.ndarray, held: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    sums = np.zeros_like(targets)
    np.add.at(sums, held, counts)
    return float((weights * (sums - targets) ** 2).sum())
