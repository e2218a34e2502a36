"""What the loop reads: arrays of a part, and the batches of an epoch."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch.utils.data import DataLoader, Dataset

from kirik.errors import DataSetError
from kirik.training.augment import RadiographAutoAugment
from kirik.training.balance import EpochPlan, real_shares
from kirik.training.machine import Machine


@dataclass(frozen=True)
class Part:
    """Radiographs of a cache that are trained or measured on.

    images, masks, outlines: the cache's arrays, see `kirik.dataset.cache.Cache`.
    rows: int [n], which of them belong to the part.
    labels: int [n]. groups: text [n].
    marked: bool [n], whether the mask tells where a fracture is, or that there is none.
    attributes: float32 [n, attributes], 1 or 0, NaN where unknown; see `kirik.training.attributes`.
    """

    images: np.ndarray
    masks: np.ndarray
    outlines: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    marked: np.ndarray
    attributes: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def real_shares(self, classes: int) -> np.ndarray:
        """float [classes]: each class's share of the radiographs."""
        return real_shares(self.labels, classes)

    def as_shown(self, batch: "Batch", negative: int | None) -> "Batch":
        """An augmented batch as the network learns from it. negative: the class of no fracture."""
        return batch

    def plain(self) -> "Part":
        """The same as a reading sees it."""
        return self

    def select(self, chosen: np.ndarray) -> "Part":
        """The radiographs at these positions."""
        of_radiographs = ("rows", "labels", "groups", "marked", "attributes")
        return replace(self, **{name: getattr(self, name)[chosen] for name in of_radiographs})


TRIES = 100
"""How often groups are moved at random, until each class is on both sides."""


def hold_out(part: Part, share: float, seed: int, classes: Sequence[str] = ()) -> tuple[Part, Part]:
    """Split a part into what trains and what chooses, whole groups only, classes in proportion.

    share: of the part, above 0 up to 0.5, that chooses. Each class comes as near to it as its
    groups allow: mostly to within one of them. One with too few groups for its share still has one
    on each side.
    classes: their names, for the error.
    Raises DataSetError if a class has fewer than two groups, or cannot be on both sides.
    """
    rng = np.random.default_rng(seed)
    # No more than the commonest class has radiographs: the splitter refuses that.
    folds = min(max(2, ceil(1 / share)), int(np.bincount(part.labels).max()))
    chosen = _fold(part, folds, seed)
    if folds * share > 1:  # a fold is less than the share
        chosen = _filled(part, chosen, share, rng)
    # A group moved for one class may take another class's last one along: then others are tried.
    for _ in range(TRIES):
        moved = _with_each_class(part, chosen, rng)
        lacking = [label for label in np.unique(part.labels) if not _on_both(part, label, moved)]
        if not lacking:
            return part.select(np.flatnonzero(~moved)), part.select(np.flatnonzero(moved))
    fewest = min(lacking, key=lambda label: len(np.unique(part.groups[part.labels == label])))
    name = classes[fewest] if classes else fewest
    raise DataSetError(
        f"class {name} has too few groups of radiographs (exams, patients) to both train "
        "and choose; add radiographs of it, or leave the class out"
    )


def _on_both(part: Part, label: int, chosen: np.ndarray) -> bool:
    """Whether a class has radiographs that are chosen, bool [n], and others."""
    return len(np.unique(chosen[part.labels == label])) == 2


def _with_each_class(part: Part, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Radiographs that are chosen, bool [n], after a group at random of each class that lacks on a
    side was moved there."""
    for label in np.unique(part.labels):
        if not _on_both(part, label, chosen):
            moved = part.groups == rng.choice(np.unique(part.groups[part.labels == label]))
            chosen = np.where(moved, ~chosen, chosen)
    return chosen


def _fold(part: Part, folds: int, seed: int) -> np.ndarray:
    """One of so many folds of a part, bool [n]; empty where there are fewer groups."""
    chosen = np.zeros(len(part), bool)
    if 2 <= folds <= len(np.unique(part.groups)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes smaller than the folds
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            chosen[next(splitter.split(part.rows, part.labels, part.groups))[1]] = True
    return chosen


def _filled(part: Part, chosen: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Radiographs that are chosen, bool [n], and groups at random that bring the classes nearer to
    their share."""
    groups, group = np.unique(part.groups, return_inverse=True)
    shares = np.zeros((len(groups), part.labels.max() + 1))  # of each class, in each group
    np.add.at(shares, (group, part.labels), 1 / np.bincount(part.labels)[part.labels])
    held = np.isin(groups, part.groups[chosen])
    lacking = share - shares[held].sum(axis=0)
    for one in rng.permutation(np.flatnonzero(~held)):
        if np.square(lacking - shares[one]).sum() < np.square(lacking).sum():
            held[one] = True
            lacking -= shares[one]
    return held[group]


class Batch(NamedTuple):
    """What a step learns from; of one radiograph without the first axis.

    radiographs: uint8 [N, 1, size, size], or float 0…255. masks: uint8 or float 0…255
    [N, 1, size / 4, size / 4]. outlines: float32 [N, k, points, 2]. labels: int [N].
    marked: bool [N]. attributes: float32 [N, attributes]. See `Part`.
    """

    radiographs: torch.Tensor
    masks: torch.Tensor
    outlines: torch.Tensor
    labels: torch.Tensor
    marked: torch.Tensor
    attributes: torch.Tensor


class Epoch(Dataset):
    """The radiographs of one epoch in their order; the same whatever process asks for them."""

    def __init__(self, part: Part, plan: EpochPlan, policy: str, seed: int, epoch: int):
        self.part, self.plan = part, plan
        self.autoaugment = RadiographAutoAugment(policy)
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.plan.rows)

    def __getitem__(self, position: int):
        chosen = self.plan.rows[position]
        row = self.part.rows[chosen]
        image = torch.from_numpy(np.array(self.part.images[row]))[None]
        mask = torch.from_numpy(np.array(self.part.masks[row]))[None]
        outlines = torch.from_numpy(np.array(self.part.outlines[row]))
        if self.plan.augmented[position]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(step_seed(self.seed, self.epoch, position))
                image, mask, outlines = self.autoaugment.whole(image, mask, outlines)
        return Batch(
            image,
            mask,
            outlines,
            torch.tensor(int(self.part.labels[chosen])),
            torch.tensor(bool(self.part.marked[chosen])),
            torch.from_numpy(self.part.attributes[chosen]),
        )


def step_seed(*numbers: int) -> int:
    """One seed from several numbers, so that every step's randomness depends on nothing before it.

    That is what lets a resumed run end in the same weights as one that was never stopped.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def batches(epoch: Epoch, batch_size: int, machine: Machine, workers: int) -> DataLoader:
    """This process's share of each batch; the last, incomplete batch is left out."""
    whole = len(epoch) // batch_size * batch_size
    order = np.arange(whole).reshape(-1, batch_size)[:, machine.rank :: machine.world]
    return DataLoader(
        epoch,
        batch_sampler=order.tolist(),
        num_workers=workers,
        pin_memory=machine.device.type == "cuda",
    )


def evaluation_batches(part: Part, batch_size: int):
    """Yield (images uint8 [N, 1, size, size], labels [N]) over a part, in order."""
    for start in range(0, len(part), batch_size):
        rows = part.rows[start : start + batch_size]
        images = torch.from_numpy(np.array(part.images[rows]))[:, None]
        yield images, torch.from_numpy(part.labels[start : start + batch_size])
