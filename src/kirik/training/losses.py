"""What a network learns from: the label, where the fractures are, and what else is known."""

import torch
from torch.nn import functional

from kirik.training.data import Batch
from kirik.training.networks import Output

MAP_WEIGHT = 0.5
ATTRIBUTE_WEIGHT = 0.1
POSITIVE_WEIGHT = 4.0


def training_loss(
    output: Output,
    batch: Batch,
    class_weights: torch.Tensor,
    *,
    label_smoothing: float,
    box_weight: float,
) -> torch.Tensor:
    """Cross-entropy of the label, plus, where there are such outputs, those of the map, of the
    boxes and of the attributes."""
    loss = functional.cross_entropy(
        output.logits, batch.labels, weight=class_weights, label_smoothing=label_smoothing
    )
    if output.evidence is not None:
        loss = loss + MAP_WEIGHT * map_loss(output.evidence, batch.masks, batch.marked)
    if output.boxes is not None:
        loss = loss + box_weight * box_loss(output.boxes, batch.outlines, batch.radiographs)
    if output.attributes is not None:
        loss = loss + ATTRIBUTE_WEIGHT * attribute_loss(output.attributes, batch.attributes)
    return loss


def map_loss(evidence: torch.Tensor, masks: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy per cell plus Dice over the batch's marked fractures.

    evidence: logits [N, 1, h, w]; masks: 0…255 [N, 1, s, s]; marked: bool [N], whose mask counts.
    The masks are brought to the map's cells by their mean, so that a thin fracture weighs what it
    covers; cells of a fracture count more, being few. Dice: Milletari et al. 2016,
    doi:10.1109/3DV.2016.79.
    """
    target = functional.adaptive_avg_pool2d(masks / 255, evidence.shape[-2:])
    counts = marked.float().view(-1, 1, 1, 1).expand_as(target)
    weight = counts * (1 + (POSITIVE_WEIGHT - 1) * target)
    cells = functional.binary_cross_entropy_with_logits(
        evidence, target, weight=weight, reduction="sum"
    ) / weight.sum().clamp(min=1)
    score = torch.sigmoid(evidence) * counts
    overlap = (score * target).sum()
    dice = 1 - (2 * overlap + 1) / (score.square().sum() + (target * counts).square().sum() + 1)
    # The mean over all cells is tiny because most are empty; ten brings it to Dice's size.
    return 10 * cells + dice


def box_loss(
    boxes: torch.Tensor, outlines: torch.Tensor, radiographs: torch.Tensor
) -> torch.Tensor:
    """How far boxes are from the fractures', over the cells whose centre lies in a fracture's box.

    1 − generalized IoU, plus how far sides (their logarithm) and centre (as parts of the side) are
    off: the first alone is content with boxes of a middling size. Every radiograph with a fracture
    counts the same, however large that is.

    boxes: [N, 4, h, w], input pixels from a cell's centre to its box's left, top, right and
    bottom side (FCOS: Tian et al. 2019, doi:10.1109/ICCV.2019.00972). outlines: [N, k, points, 2].
    Where boxes overlap the smallest counts; one that holds no centre has its nearest cell.
    GIoU: Rezatofighi et al. 2019, doi:10.1109/CVPR.2019.00075.
    """
    stride = radiographs.shape[-1] / boxes.shape[-1]
    distances, inside, area = _sides(outlines, boxes.shape[-2:], stride)
    smallest = torch.where(inside, area[..., None, None], torch.inf).argmin(dim=1)
    index = smallest[:, None, None].expand(-1, 1, 4, -1, -1)
    counted = inside.any(dim=1)
    target = torch.where(counted[:, None], distances.gather(1, index)[:, 0], 1.0)
    loss = 1 - _overlap(boxes, target) + _off(boxes, target)
    cells = counted.sum(dim=(1, 2))
    means = (loss * counted).sum(dim=(1, 2)) / cells.clamp(min=1)
    return means.sum() / (cells > 0).sum().clamp(min=1)


def _off(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Differences [N, h, w] of the sides' logarithms and of the centres, of boxes around the same
    centres, both [N, 4, h, w]."""
    sides, true_sides = (box[:, :2] + box[:, 2:] for box in (found, truth))
    shift = ((found[:, 2:] - found[:, :2]) - (truth[:, 2:] - truth[:, :2])).abs() / 2
    logs = (sides.clamp(min=1e-3).log() - true_sides.clamp(min=1e-3).log()).abs()
    return (logs + shift / true_sides.clamp(min=1e-3)).sum(dim=1)


def _sides(outlines: torch.Tensor, shape: torch.Size, stride: float):
    """Of each outline's box: distances [N, k, 4, h, w] from every cell's centre to its sides, which
    centres it holds [N, k, h, w], and its area [N, k]."""
    limit = torch.tensor([shape[1] * stride, shape[0] * stride], device=outlines.device)
    points = outlines.nan_to_num(nan=-1.0).clamp(min=0).minimum(limit)
    low, high = points.amin(dim=2)[..., None, None], points.amax(dim=2)[..., None, None]
    size = (high - low)[..., 0, 0]
    there = size.amin(dim=2) > 1  # What augmentation moved out of sight is no target.
    down = (torch.arange(shape[0], device=outlines.device) + 0.5)[:, None] * stride
    across = (torch.arange(shape[1], device=outlines.device) + 0.5)[None, :] * stride
    left, top = across - low[:, :, 0], down - low[:, :, 1]
    right, bottom = high[:, :, 0] - across, high[:, :, 1] - down
    left, top, right, bottom = torch.broadcast_tensors(left, top, right, bottom)
    distances = torch.stack([left, top, right, bottom], dim=2)
    # Half a cell of grace, so that a box narrower than a cell has one.
    middle = (torch.maximum(left - right, right - left) <= stride) & (
        torch.maximum(top - bottom, bottom - top) <= stride
    )
    inside = ((distances.amin(dim=2) > 0) | middle) & there[..., None, None]
    return distances, inside, size[..., 0] * size[..., 1]


def _overlap(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Generalized IoU [N, h, w] of boxes around the same centres, both [N, 4, h, w]."""

    def area(sides: torch.Tensor) -> torch.Tensor:
        return (sides[:, 0] + sides[:, 2]).clamp(min=0) * (sides[:, 1] + sides[:, 3]).clamp(min=0)

    common, hull = area(torch.minimum(found, truth)), area(torch.maximum(found, truth))
    union = area(found) + area(truth) - common
    return common / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def attribute_loss(logits: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over the attributes that are known; [N, attributes] both."""
    known = ~attributes.isnan()
    losses = functional.binary_cross_entropy_with_logits(
        logits, attributes.nan_to_num(), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)
