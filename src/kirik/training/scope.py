"""What a network's own kind of radiograph looks like to it, so that others can be refused."""

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from kirik.training.augment import augment_batch
from kirik.training.data import Part
from kirik.training.machine import Machine
from kirik.training.networks import FractureNetwork

MOST = 4000
"""Radiographs that a mean and a covariance of a few hundred channels need at most."""


def fit_scope(network: FractureNetwork, part: Part, machine: Machine, seed: int) -> None:
    """Let the network measure how far a radiograph lies from the part: Mahalanobis distance of a
    middle layer's mean features (Lee et al. 2018, arXiv:1807.03888), with the covariance shrunk as
    Ledoit and Wolf (2004, doi:10.1016/S0047-259X(03)00096-4) do.

    Each radiograph counts once as it is and once augmented, as other devices might show it.
    """
    rng = np.random.default_rng(seed)
    rows = part.rows[rng.permutation(len(part))[: MOST // 2]]
    features = []
    network.eval()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        for start in range(0, len(rows), 32):
            chosen = rows[start : start + 32]
            images, masks, outlines = (
                torch.from_numpy(np.array(table[chosen]))
                for table in (part.images, part.masks, part.outlines)
            )
            augmented, _, _ = augment_batch(images[:, None], masks[:, None], outlines)
            both = torch.cat([images[:, None].float(), augmented]).to(machine.device)
            features.append(network(both).scope_features.cpu().numpy())
    found = np.concatenate(features).astype(np.float64)
    spread = LedoitWolf().fit(found)
    whitening = np.linalg.cholesky(spread.precision_)
    network.set_scope(
        torch.from_numpy(spread.location_).float(), torch.from_numpy(whitening).float()
    )
