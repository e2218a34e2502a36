"""What a data set of phantoms consists of: its exams, in the order of their files.

Labels are exact in number, and each class has the same mixture of parts of the body. As in the
real archive the one, two or three views of a patient stand side by side; the next patient's
exam shows another region, so that runs of a region are exams.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from kirik.dataset.phantoms.anatomy import PARTS, SHARES
from kirik.dataset.phantoms.fractures import FRACTURE_TYPES
from kirik.dataset.phantoms.phantom import generator

VIEWS_AN_EXAM = {1: 0.45, 2: 0.4, 3: 0.15}
"""How many views an exam has, and how often."""


@dataclass(frozen=True)
class Plan:
    """One exam to be made: its patient's seed, views, fracture type or None, part of the body."""

    seed: int
    views: int
    fracture: str | None
    kind: str


def plan_exams(count: int, seed: int, share: float, *, single: bool) -> list[Plan]:
    """Exams whose views add up to `count`, round(share × count) of them fractured.

    single: whether each exam has one view only.
    """
    rng = generator(seed, 11)
    fractured = round(count * share)
    exams: list[Plan] = []
    for wanted, types in ((fractured, FRACTURE_TYPES), (count - fractured, (None,))):
        views = _views(rng, wanted, single)
        for number, kind in enumerate(types):
            own = views[number :: len(types)]
            exams += [
                Plan(0, seen, kind, part)
                for seen, part in zip(own, _parts(rng, len(own)), strict=True)
            ]
    return [
        replace(exam, seed=int(generator(seed, 12, i).integers(2**62)))
        for i, exam in enumerate(_apart(rng, exams))
    ]


def plan_formats(count: int, seed: int, image_formats: tuple[str, ...]) -> list[str]:
    """A format for each of `count` files: each once in every run of them, in random order."""
    rng = generator(seed, 13)
    runs = range(-(-count // len(image_formats)))
    return [str(form) for _ in runs for form in rng.permutation(image_formats)][:count]


def _views(rng: np.random.Generator, wanted: int, single: bool) -> list[int]:
    """Numbers of views that add up to `wanted`."""
    if single:
        return [1] * wanted
    numbers: list[int] = []
    while (left := wanted - sum(numbers)) > 0:
        drawn = rng.choice(list(VIEWS_AN_EXAM), p=list(VIEWS_AN_EXAM.values()))
        numbers.append(min(left, int(drawn)))
    return numbers


def _parts(rng: np.random.Generator, count: int) -> list[str]:
    """Parts of the body in their usual shares, by systematic sampling: as even as can be."""
    bounds = np.cumsum(list(SHARES.values()))
    places = (np.arange(count) + rng.random()) / max(count, 1) * bounds[-1]
    drawn = [list(SHARES)[i] for i in np.searchsorted(bounds, places, side="right")]
    return [drawn[i] for i in rng.permutation(count)]


def _apart(rng: np.random.Generator, exams: list[Plan]) -> list[Plan]:
    """The exams in random order, neighbours of different regions wherever that is possible."""
    left = [exams[i] for i in rng.permutation(len(exams))]
    ordered: list[Plan] = []
    while left:
        counts = Counter(_region(exam) for exam in left)
        most, number = counts.most_common(1)[0]
        before = _region(ordered[-1]) if ordered else None
        # A region with half of what is left must come now, or it will meet itself at the end.
        if 2 * number > len(left) and most != before:
            allowed = {most}
        else:
            allowed = set(counts) - {before} or set(counts)
        chosen = next(i for i, exam in enumerate(left) if _region(exam) in allowed)
        ordered.append(left.pop(chosen))
    return ordered


def _region(exam: Plan) -> str:
    return PARTS[exam.kind].region
