"""What a network says of held-out radiographs, on which what a model needs besides is chosen."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from kirik.training.data import Part, evaluation_batches
from kirik.training.loop import Trainer, predict_logits


@dataclass(frozen=True)
class Validated:
    """A network's output for held-out radiographs, and the truth.

    logits: [n, classes]. labels: [n]. evidence: maps in 0…1 [n, s, s], or None. masks: uint8
    [n, size / 4, size / 4]. marked: bool [n], whose mask is known. strangeness: [n].
    """

    logits: np.ndarray
    labels: np.ndarray
    evidence: np.ndarray | None
    masks: np.ndarray
    marked: np.ndarray
    strangeness: np.ndarray


def validated(trainer: Trainer, validation: Part) -> Validated:
    """What a trainer's averaged network says of these radiographs, as its exported graph will."""
    # What is chosen on these is used with the exported graph, which computes in float32.
    machine = replace(trainer.machine, precision=torch.float32)
    network = trainer.averaged.eval()  # without averaging it is the one that trained
    maps, strangeness = [], []
    with torch.inference_mode():
        for images, _ in evaluation_batches(validation, 64):
            output = network(images.to(machine.device))
            strangeness.append(output.strangeness.cpu().numpy())
            if output.evidence is not None:
                maps.append(output.evidence.sigmoid()[:, 0].cpu().numpy())
    return Validated(
        predict_logits(network, validation, machine).numpy(),
        validation.labels,
        np.concatenate(maps) if maps else None,
        np.array(validation.masks[validation.rows]),
        validation.marked,
        np.concatenate(strangeness),
    )


def choose_evidence_threshold(evidence: np.ndarray, masks: np.ndarray, marked: np.ndarray) -> float:
    """The score from which a cell counts as fractured: the one with the best Dice overlap.

    evidence: [n, s, s] in 0…1; masks: uint8 [n, t, t], t a multiple of s; marked: bool [n], the
    radiographs whose mask is known.
    """
    evidence, masks = evidence[marked], masks[marked]
    factor = masks.shape[-1] // evidence.shape[-1]
    count, side = len(evidence), evidence.shape[-1]
    truth = masks.reshape(count, side, factor, side, factor).mean(axis=(2, 4)) > 127
    if not truth.any():
        return 0.5
    candidates = np.arange(0.1, 0.91, 0.05)
    found = (evidence >= threshold for threshold in candidates)
    dice = [2 * (cells & truth).sum() / (cells.sum() + truth.sum()) for cells in found]
    return float(round(candidates[int(np.argmax(dice))], 2))
