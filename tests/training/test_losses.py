"""Losses: lowest where the output is right, and blind to what is not known."""

import pytest
import torch

from kirik.training.data import Batch
from kirik.training.losses import attribute_loss, box_loss, map_loss, training_loss
from kirik.training.networks import Output

RADIOGRAPHS = torch.zeros(1, 1, 64, 64)


def outline(*boxes):
    """Boxes (left, top, right, bottom) as outlines [1, 3, 4, 2]."""
    table = torch.full((1, 3, 4, 2), torch.nan)
    for row, (left, top, right, bottom) in zip(table[0], boxes, strict=False):
        row[:] = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
    return table


def around(left, top, right, bottom, cells=8, stride=8):
    """Every cell's distances to one box: [1, 4, cells, cells]."""
    centres = (torch.arange(cells) + 0.5) * stride
    across, down = centres[None, :].expand(cells, cells), centres[:, None].expand(cells, cells)
    return torch.stack([across - left, down - top, right - across, bottom - down])[None]


def test_the_right_box_costs_nothing_and_a_wrong_one_more_the_farther_it_is():
    truth = outline((10, 18, 40, 50))
    costs = [box_loss(around(10 + d, 18, 40 + d, 50), truth, RADIOGRAPHS) for d in (0, 4, 12, 40)]
    assert costs[0] == pytest.approx(0, abs=1e-5)
    assert costs == sorted(costs)
    assert costs[3] > 1


def test_of_overlapping_boxes_the_smaller_counts_where_both_are():
    truth = outline((0, 0, 64, 64), (16, 16, 32, 32))
    boxes = around(0, 0, 64, 64)
    boxes[:, :, 2:4, 2:4] = around(16, 16, 32, 32)[:, :, 2:4, 2:4]
    assert box_loss(boxes, truth, RADIOGRAPHS) == pytest.approx(0, abs=1e-5)


def test_a_box_narrower_than_a_cell_is_learned_by_its_nearest_cell():
    narrow = (33, 20, 36, 24)
    wrong = box_loss(around(0, 0, 64, 64), outline(narrow), RADIOGRAPHS)
    right = box_loss(around(*narrow), outline(narrow), RADIOGRAPHS)
    assert wrong > 0.9
    assert right == pytest.approx(0, abs=1e-4)


def test_without_a_fracture_in_sight_there_is_no_box_loss():
    assert box_loss(around(5, 5, 9, 9), outline(), RADIOGRAPHS) == 0
    assert box_loss(around(5, 5, 9, 9), outline((70, 5, 90, 20)), RADIOGRAPHS) == 0


def test_boxes_learn_by_gradient():
    truth, raw = outline((10, 18, 40, 50)), torch.zeros(1, 4, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(400):
        loss = box_loss(torch.nn.functional.softplus(raw) * 8, truth, RADIOGRAPHS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


def test_a_map_that_lights_up_where_the_mask_is_costs_least():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:8, 4:8] = 255
    right = torch.where(mask[..., ::2, ::2] > 0, 6.0, -6.0)
    marked = torch.ones(1, dtype=torch.bool)
    costs = [map_loss(e, mask, marked) for e in (right, torch.full_like(right, -6.0), -right)]
    assert costs == sorted(costs)
    assert costs[0] < 0.1


def test_what_is_unknown_costs_nothing():
    logits = torch.tensor([[3.0, -3.0], [9.0, 9.0]])
    known = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]])
    some = attribute_loss(logits, known)
    assert some == pytest.approx(attribute_loss(logits[:1], known[:1]))
    assert attribute_loss(logits, torch.full_like(known, torch.nan)) == 0


def test_every_radiograph_with_a_fracture_counts_the_same_however_large_that_is():
    large, small = outline((0, 0, 64, 64)), outline((16, 16, 32, 32))
    near = [around(4, 4, 60, 60), around(0, 0, 64, 64)]
    pairs = zip(near, (large, small), strict=True)
    alone = [box_loss(boxes, truth, RADIOGRAPHS) for boxes, truth in pairs]
    both = box_loss(torch.cat(near), torch.cat([large, small]), RADIOGRAPHS.expand(2, 1, 64, 64))
    assert alone[1] > 2 * alone[0]
    assert both == pytest.approx(float(sum(alone)) / 2)


def test_a_mask_that_is_not_known_teaches_nothing():
    masks = torch.zeros(2, 1, 16, 16)
    masks[0, :, 4:8, 4:8] = 255
    evidence = torch.full((2, 1, 8, 8), -3.0)
    marked = torch.tensor([True, False])
    known = map_loss(evidence[:1], masks[:1], marked[:1])
    evidence[1] = 6.0
    assert map_loss(evidence, masks, marked) == pytest.approx(float(known), rel=1e-5)


def test_a_fracture_that_the_map_misses_costs_more_than_one_too_many():
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., :8] = 255
    marked = torch.ones(1, dtype=torch.bool)
    missed, cried = (map_loss(torch.full((1, 1, 8, 8), e), masks, marked) for e in (-2.0, 2.0))
    assert missed > 2 * cried


def test_labels_maps_boxes_and_attributes_all_count():
    right = Output(
        torch.tensor([[-3.0, 3.0]]),
        None,
        torch.full((1, 1, 8, 8), -6.0),
        around(10, 18, 40, 50),
        torch.tensor([[5.0]]),
        None,
        None,
    )
    right.evidence[..., 2:6, 2:4] = 6
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., 4:12, 4:8] = 255
    batch = Batch(
        *(RADIOGRAPHS, masks, outline((10, 18, 40, 50)), torch.tensor([1])),
        *(torch.tensor([True]), torch.tensor([[1.0]])),
    )

    def cost(output, box_weight=0.5):
        weights = torch.ones(2)
        options = {"label_smoothing": 0.0, "box_weight": box_weight}
        return float(training_loss(output, batch, weights, **options))

    assert cost(right) < 0.1
    wrong = {name: -getattr(right, name) for name in ("logits", "evidence", "attributes")}
    wrong["boxes"] = around(20, 28, 50, 60)
    for name, said in wrong.items():
        assert cost(right._replace(**{name: said})) > cost(right) + 0.3, name
    far = right._replace(boxes=wrong["boxes"])
    assert cost(far, 1.0) - cost(right) == pytest.approx(2 * (cost(far) - cost(right)), rel=0.01)
