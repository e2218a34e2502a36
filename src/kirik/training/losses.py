"""What a network learns from: the image's label, and where the map should light up."""

import torch
from torch.nn import functional

from kirik.training.networks import Output

MAP_WEIGHT = 0.5
POSITIVE_WEIGHT = 4.0


def training_loss(
    output: Output,
    labels: torch.Tensor,
    masks: torch.Tensor,
    marked: torch.Tensor,
    class_weights: torch.Tensor,
    label_smoothing: float,
) -> torch.Tensor:
    """Cross-entropy of the label, plus, where there is a map, the map's loss.

    labels: int [N]; masks: float 0…255 [N, 1, s, s]; marked: bool [N], rows whose mask counts.
    """
    loss = functional.cross_entropy(
        output.logits, labels, weight=class_weights, label_smoothing=label_smoothing
    )
    if output.evidence is None:
        return loss
    return loss + MAP_WEIGHT * map_loss(output.evidence, masks, marked)


def map_loss(evidence: torch.Tensor, masks: torch.Tensor, marked: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy per cell plus Dice over the batch's marked fractures.

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
