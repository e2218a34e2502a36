"""What a network costs: parameters and arithmetic."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from kirik.training.settings import TrainingSettings
from kirik.training.weights import build_network


def network_cost(settings: TrainingSettings, *, evidence: bool) -> dict[str, float]:
    """size (input's side), parameters (million) and gflops (10⁹ multiplications and additions, each
    counted) of one radiograph's reading. settings: resolved."""
    network = build_network(
        settings.network, classes=2, negative=0, size=settings.size, evidence=evidence
    ).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, settings.size, settings.size))
    return {
        "size": settings.size,
        "parameters": round(sum(p.numel() for p in network.parameters()) / 1e6, 3),
        "gflops": round(counter.get_total_flops() / 1e9, 3),
    }
