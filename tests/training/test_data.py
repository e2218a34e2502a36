"""What the loop reads: what is held out, copies, each process's share, and a fresh cache."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kirik.dataset.cache import open_cache
from kirik.dataset.index import Record
from kirik.errors import DataSetError
from kirik.preprocessing import Preprocessing
from kirik.training.balance import EpochPlan
from kirik.training.data import Epoch, batches, hold_out
from kirik.training.machine import Machine


@pytest.mark.parametrize("seed", range(4))
def test_what_chooses_shares_no_group_with_what_trains(part, seed):
    train, chosen = hold_out(part, 0.25, seed)
    assert not set(train.groups) & set(chosen.groups)
    assert len(train) + len(chosen) == len(part)
    assert set(chosen.labels) == {0, 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_two_groups_takes_no_more_than_its_share_away(part, seed):
    rare = np.isin(part.groups, ["g0", "g5"])
    few = replace(part, labels=rare.astype(int))
    train, chosen = hold_out(few, 0.1, seed)
    assert {0, 1} == set(train.labels) == set(chosen.labels)
    assert len(chosen) <= 0.25 * len(part)


def test_a_class_of_one_group_is_refused_by_its_name(part):
    few = replace(part, labels=(part.groups == "g3").astype(int))
    with pytest.raises(DataSetError, match="class greenstick has too few groups"):
        hold_out(few, 0.1, 0, ("normal", "greenstick"))


@pytest.mark.parametrize("seed", range(12))
def test_patients_with_two_types_each_are_held_out_by_any_seed(part, seed):
    """Whoever is moved for one type takes another's last patient but one along."""
    few = part.select(np.arange(24))
    few = replace(few, groups=np.repeat(["a", "b", "c", "d"], 6))
    few = replace(few, labels=np.repeat([0, 1, 1, 2, 2, 3, 3, 0], 3))
    train, chosen = hold_out(few, 0.1, seed)
    assert set(train.labels) == set(chosen.labels) == {0, 1, 2, 3}
    assert not set(train.groups) & set(chosen.groups)


@pytest.mark.parametrize("seed", range(4))
def test_classes_smaller_than_the_share_has_folds_are_held_out_too(part, seed):
    """Three classes of six radiographs, of which a tenth chooses."""
    few = part.select(np.arange(18))
    few = replace(few, labels=np.arange(18) % 3, groups=np.arange(18).astype(str))
    train, chosen = hold_out(few, 0.1, seed)
    assert set(train.labels) == set(chosen.labels) == {0, 1, 2}
    assert 3 <= len(chosen) <= 6
    least = replace(few.select(np.arange(4)), labels=np.array([0, 0, 1, 1]))
    assert [len(side) for side in hold_out(least, 0.1, seed)] == [2, 2]


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5])
def test_the_share_that_is_asked_for_chooses(part, share):
    """As near as groups of one to four radiographs allow, in each class."""
    many = part.select(np.arange(480) % 48)
    sizes = np.random.default_rng(0).integers(1, 5, 480)
    many = replace(many, groups=np.repeat(np.arange(480), sizes)[:480].astype(str))
    train, chosen = hold_out(many, share, 0)
    assert not set(train.groups) & set(chosen.groups)
    assert len(chosen) / 480 == pytest.approx(share, abs=0.015)
    for label in (0, 1):
        held = np.sum(chosen.labels == label) / np.sum(many.labels == label)
        assert held == pytest.approx(share, abs=0.02)


def test_no_two_copies_are_augmented_alike(part):
    """Nor are a radiograph's copies in another epoch, or by another seed; the same ones are."""
    plan = EpochPlan(np.zeros(12, int), np.ones(12, bool))

    def shown(seed: int, number: int) -> list[bytes]:
        epoch = Epoch(part, plan, "radiograph", seed, number)
        return [epoch[position].radiographs.numpy().tobytes() for position in range(12)]

    first, later, other = shown(0, 0), shown(0, 1), shown(1, 0)
    assert len(set(first)) > 6
    assert first == shown(0, 0)
    for more in (later, other):
        assert sum(one == two for one, two in zip(first, more, strict=True)) < 6


def test_another_seed_holds_out_others(part):
    held = [set(hold_out(part, 0.25, seed)[1].rows.tolist()) for seed in (0, 0, 1, 2)]
    assert held[0] == held[1]
    assert len({frozenset(one) for one in held}) > 1


def test_a_copy_moves_with_its_mask_and_outline_and_keeps_what_is_known_of_it(part):
    chosen = np.random.default_rng(0).permutation(48)[:36]
    own = replace(part, marked=np.arange(48) % 5 > 0).select(chosen)
    plan = EpochPlan(np.tile(np.arange(36), 6), np.ones(216, bool))
    epoch, moved = Epoch(own, plan, "radiograph", 0, 0), 0
    for position in range(216):
        one, row = epoch[position], chosen[position % 36]
        assert (one.labels, one.marked) == (part.labels[row], row % 5 > 0)
        np.testing.assert_array_equal(one.attributes, part.attributes[row])
        rows, columns = (one.masks[0] > 128).nonzero(as_tuple=True)
        if not part.labels[row]:
            assert not len(rows)
            continue
        bar = one.radiographs[0].float()
        assert bar[rows * 4 + 2, columns * 4 + 2].mean() > bar.mean() + bar.std()
        middle = torch.stack([columns, rows]).float().mean(dim=1) * 4 + 2
        assert (one.outlines[0].mean(dim=0) - middle).abs().max() < 6
        moved += not torch.equal(one.masks, torch.from_numpy(part.masks[row])[None])
    assert moved > 20


def test_processes_share_each_batch_and_see_no_radiograph_twice(part):
    plan = EpochPlan(np.random.default_rng(0).permutation(48), np.zeros(48, bool))
    epoch = Epoch(part, plan, "radiograph", 0, 0)

    def rows(rank: int, world: int) -> list[set[bytes]]:
        machine = Machine(torch.device("cpu"), rank, world, torch.float32)
        loader = batches(epoch, 12, machine, workers=0)
        return [{one.numpy().tobytes() for one in batch.radiographs} for batch in loader]

    alone, shares = rows(0, 1), [rows(rank, 3) for rank in range(3)]
    assert [len(batch) for batch in alone] == [12] * 4
    for step, batch in enumerate(alone):
        own = [share[step] for share in shares]
        assert [len(one) for one in own] == [4] * 3
        assert set.union(*own) == batch


def test_a_file_or_an_outline_that_changed_is_decoded_anew(tmp_path):
    """A file of the same size, too, and another outline in the same boxes."""
    film = tmp_path / "film.png"

    def save(level: int, seconds: int) -> None:
        Image.fromarray(np.full((64, 64), level, np.uint8)).save(film, compress_level=0)
        os.utime(film, (seconds, seconds))

    def cached(*polygon: float):
        record = Record(film.name, film, 1, boxes=((8, 8, 40, 40),), polygons=(polygon,))
        cache = open_cache([record], Preprocessing(size=64), directory=tmp_path / "cache")
        return np.array(cache.images[0]), np.array(cache.masks[0])

    lower, upper = (8.0, 8.0, 8.0, 48.0, 48.0, 48.0), (8.0, 8.0, 48.0, 8.0, 48.0, 48.0)
    save(40, 1_000_000)
    size, (before, mask) = film.stat().st_size, cached(*lower)
    save(200, 2_000_000)
    assert film.stat().st_size == size
    after, same = cached(*lower)
    assert (before != after).any()
    assert (mask == same).all()
    assert (mask != cached(*upper)[1]).any()
