"""Patches: cut where they should be, told by what they show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bars import with_fractures
from kirik.training.augment import augment_batch
from kirik.training.data import Batch, Part
from kirik.training.patches import AROUND, LOOKS, Cut, fracture_boxes, in_sight, patch_part

SIZE = 64
"""Side of a patch, of images four times as wide."""
PLAIN = 2 * (AROUND + LOOKS) + 3 * LOOKS
"""Patches that are no close-ups, which come first, of the two outlined and three whole ones."""


@pytest.fixture
def radiographs() -> Part:
    """Six radiographs of 256 pixels; the first three are fractured, the third not outlined."""
    images = np.random.default_rng(1).integers(1, 60, (6, 256, 256), dtype=np.uint8)
    shown = with_fractures(images, {0: (200, 8, 224, 24), 1: (100, 120, 124, 136)}, 255)
    labels = np.array([1, 1, 1, 0, 0, 0])
    groups = np.array([f"g{i}" for i in range(6)])
    marked = np.array([1, 1, 0, 1, 1, 1], bool)
    attributes = np.zeros((6, 0), np.float32)
    return Part(*shown, np.arange(6), labels, groups, marked, attributes)


@pytest.fixture
def patches(radiographs):
    maps = np.random.default_rng(2).random((6, 32, 32)).astype(np.float32)
    return patch_part(radiographs, maps, SIZE, negative=0, seed=0)


def test_what_is_cut_is_what_lies_there_and_black_beyond_the_edge():
    source = np.arange(2 * 40 * 40, dtype=np.uint16).reshape(2, 40, 40).astype(np.uint8)
    corners = np.array([[8, 16], [0, 0], [24, 24]])
    cut = Cut(source, np.array([1, 0, 1]), corners, np.array([16, 16, 16]), 16, 8)
    padded = np.pad(source, ((0, 0), (8, 8), (8, 8)))
    assert np.array_equal(cut[0], padded[1, 8:40, 16:48])
    assert np.array_equal(cut[1], padded[0, 0:32, 0:32])
    assert np.array_equal(cut[np.array([2, 0])], np.stack([padded[1, 24:56, 24:56], cut[0]]))


def test_every_outlined_fracture_has_its_patches_and_every_radiograph_those_of_its_map(
    radiographs, patches
):
    counts = np.bincount(patches.images.rows[:PLAIN], minlength=6)
    assert counts.tolist() == [AROUND + LOOKS, AROUND + LOOKS, 0, LOOKS, LOOKS, LOOKS]
    assert patches.labels[patches.images.rows >= 3].sum() == 0
    around = np.flatnonzero(patches.images.rows[:PLAIN] == 1)[LOOKS:]
    assert patches.labels[around].all()
    assert patches.real_shares(2).tolist() == [0.5, 0.5]
    assert set(patches.groups) == {"g0", "g1", "g3", "g4", "g5"}
    again = patch_part(radiographs, np.zeros((6, 32, 32), np.float32), SIZE, negative=0, seed=0)
    assert len(again) == len(patches)


def test_a_patch_that_shows_nothing_outlined_is_none(radiographs):
    nothing = replace(radiographs, marked=np.zeros(6, bool))
    assert len(patch_part(nothing, np.zeros((6, 32, 32), np.float32), SIZE, 0, 0)) == 0


def test_a_fracture_without_room_for_its_outline_is_no_example_of_none(radiographs):
    """As of a radiograph with more of them than a cache keeps outlines of."""
    places = {0: (200, 8, 224, 24)}
    images, masks, outlines = with_fractures(radiographs.images, places, 255)
    outlines[0] = outlines[0, :1]  # all places taken
    unlisted = np.array(masks)
    unlisted[0, 40:48, 8:16] = 255  # of one more
    maps = np.zeros((6, 32, 32), np.float32)
    maps[0, 22, 6] = 1  # where a look finds it
    full = replace(radiographs, images=images, masks=unlisted, outlines=outlines)
    patches = patch_part(full, maps, SIZE, negative=0, seed=0)
    shown = np.array([patches.plain().masks[row].any() for row in range(len(patches))])
    assert shown.any()
    assert patches.labels[shown].all()


def test_a_patch_its_mask_and_its_outline_show_the_same_place(patches):
    shown = 0
    for part in (patches, patches.plain()):
        side = part.images[0].shape[-1]
        for row in np.flatnonzero(part.labels[:PLAIN]):
            corners = part.outlines[row][0]
            left, top = corners.min(axis=0).astype(int)
            right, bottom = corners.max(axis=0).astype(int)
            if min(left, top) < 0 or max(right, bottom) > side:
                continue
            assert (part.images[row][top:bottom, left:right] == 255).all()
            assert (part.masks[row][top // 4 : bottom // 4, left // 4 : right // 4] == 255).all()
            shown += 1
    assert shown > 10
    assert patches.images[0].shape == (96, 96)
    assert patches.plain().images[0].shape == (SIZE, SIZE)


def test_what_is_cut_larger_or_smaller_is_resampled():
    source = np.zeros((1, 64, 64), np.uint8)
    source[0, 20:44, 20:44] = 200
    corners, spans = np.array([[20, 20], [8, 8], [26.5, 26.5]]), np.array([24, 48, 11])
    cut = Cut(source, np.zeros(3, int), corners, spans, 16, 0)
    assert (cut[0][1:15, 1:15] == 200).all()
    assert (cut[1][5:11, 5:11] == 200).all()
    assert not cut[1][:3].any()
    assert (cut[2] == 200).all()
    with_margin = Cut(source, np.zeros(1, int), corners[:1], spans[:1], 16, 8)[0]
    assert with_margin.shape == (32, 32)
    assert (with_margin[9:23, 9:23] == 200).all()
    assert not with_margin[:7].any()


def test_close_ups_show_every_fracture_at_much_the_same_size(patches):
    added = np.arange(PLAIN, len(patches))
    counts = np.bincount(patches.images.rows[added], minlength=6)
    assert counts.tolist() == [AROUND + 1, AROUND + 1, 0, 1, 1, 1]
    plain, sides = patches.plain(), []
    for row in added[patches.labels[added] == 1]:
        corners = plain.outlines[row][0]
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        inside = (
            slice(round(top) + 2, round(bottom) - 2),
            slice(round(left) + 2, round(right) - 2),
        )
        image = plain.images[row]
        assert image.shape == (SIZE, SIZE)
        assert (image[inside] > 230).all()
        assert (image > 128).sum() == pytest.approx((right - left) * (bottom - top), rel=0.2)
        mask = plain.masks[row]
        assert mask.shape == (SIZE // 4, SIZE // 4)
        middle = np.argwhere(mask > 128).mean(axis=0) * 4 + 2
        assert middle == pytest.approx(((top + bottom) / 2, (left + right) / 2), abs=2)
        sides.append(right - left)
    assert len(sides) >= 2 * AROUND
    # Twice and a half as wide is shown, give or take: a fracture of 24 pixels, of 64.
    assert 0.7 * SIZE / 2.5 < np.median(sides) < 1.4 * SIZE / 2.5
    assert max(sides) < 3 * min(sides)


def test_a_close_up_of_no_fracture_shows_the_place_of_most_evidence(radiographs):
    maps = np.zeros((6, 32, 32), np.float32)
    places = [(3, 3), (3, 3), (3, 3), (0, 31), (31, 0), (16, 20)]
    for one, place in zip(maps, places, strict=True):
        one[place] = 1
    part = patch_part(radiographs, maps, SIZE, negative=0, seed=0).images
    added = np.arange(PLAIN, len(part.rows))
    for row, place in enumerate(places[3:], 3):
        [at] = added[part.rows[added] == row]
        assert part.corners[at] + part.spans[at] / 2 == pytest.approx(np.array(place) * 8 + 4)


def batch_of(part, rows) -> Batch:
    tables = (part.images[rows][:, None], part.masks[rows][:, None], part.outlines[rows])
    labels = torch.from_numpy(part.labels[rows])
    marked = torch.ones(len(rows), dtype=torch.bool)
    return Batch(*map(torch.from_numpy, tables), labels, marked, torch.zeros(len(rows), 0))


def test_an_augmented_patch_is_judged_by_what_it_shows_now(patches):
    rows = np.repeat(np.arange(len(patches)), 20)
    batch = batch_of(patches, rows)
    torch.manual_seed(0)
    moved = augment_batch(batch.radiographs, batch.masks, batch.outlines, SIZE)
    assert moved[0].shape[-2:] == (SIZE, SIZE)
    assert moved[1].shape[-2:] == (SIZE // 4, SIZE // 4)
    names = ("radiographs", "masks", "outlines")
    told = patches.as_shown(batch._replace(**dict(zip(names, moved, strict=True))), negative=0)
    bright = (moved[0] > 150).flatten(1).sum(dim=1)
    assert (bright[told.labels == 1] > 60).all()
    assert (bright[told.labels == 0] < 260).all()  # at most a part of a fracture at the edge
    assert 0 < (told.labels != batch.labels).sum() < len(rows) / 4
    has_box = told.outlines.isfinite().all(dim=3).any(dim=2).any(dim=1)
    assert torch.equal(has_box, told.labels == 1)


def test_the_class_of_no_fracture_may_be_the_second(radiographs):
    maps, other = np.zeros((6, 32, 32), np.float32), replace(radiographs, labels=np.arange(6) // 3)
    first = patch_part(radiographs, maps, SIZE, negative=0, seed=0)
    second = patch_part(other, maps, SIZE, negative=1, seed=0)
    assert (second.labels == 1 - first.labels).all()
    assert (second.images.corners == first.images.corners).all()
    batch = batch_of(second.plain(), np.arange(len(second)))
    told = second.as_shown(batch._replace(labels=torch.zeros_like(batch.labels)), negative=1)
    assert torch.equal(told.labels, batch.labels)
    seeded = patch_part(radiographs, maps, SIZE, negative=0, seed=1)
    assert (seeded.images.corners != first.images.corners).any()


def test_a_fracture_is_in_sight_where_its_centre_is():
    outlines = torch.full((1, 4, 4, 2), torch.nan)
    for number, (left, top) in enumerate([(-8, 10), (-12, 10), (60, 60)]):
        square = [(left, top), (left + 20, top), (left + 20, top + 20), (left, top + 20)]
        outlines[0, number] = torch.tensor(square, dtype=torch.float32)
    assert in_sight(fracture_boxes(outlines)[0], 64).tolist() == [[True, False, False, False]]
