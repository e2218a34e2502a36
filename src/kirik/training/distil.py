"""Learning from larger networks: a teacher's probabilities and maps as further targets.

Hinton et al. 2015, arXiv:1503.02531. The teacher sees the very augmented radiographs that the
student sees (Beyer et al. 2022, doi:10.1109/CVPR52688.2022.01065), so that it may be of another
size and never says the same twice.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from kirik.bundle import Manifest, load_bundle
from kirik.errors import SettingsError
from kirik.training.checkpoint import load_checkpoint
from kirik.training.machine import Machine
from kirik.training.networks import FractureNetwork, Output
from kirik.training.runs import built_as_timms
from kirik.training.weights import build_network

SHARE = 0.5
"""How much the teacher's word counts beside the label's and the mask's."""


class Teacher:
    """A trained network whose probabilities and maps a student learns.

    run: a finished training run for these classes. closer: whether the student is to look closer,
        as the run's network must do then. Raises SettingsError if the run is none of these.
    """

    def __init__(
        self, run: Path, classes: Sequence[str], machine: Machine, *, closer: bool = False
    ):
        self._machine = machine
        self._network = _load(run, classes, closer).to(machine.device)

    def loss(self, student: FractureNetwork, output: Output, radiographs: torch.Tensor):
        """Cross-entropy to the teacher's probabilities, and, with maps on both sides, per cell.

        output: the student's for `radiographs`, float 0…255 [N, 1, size, size].
        """
        probabilities, evidence = self._ask(radiographs)
        # The teacher's probabilities are those of reality, the student's those of its balancing.
        loss = functional.cross_entropy(output.logits + student.prior_shift, probabilities)
        if output.evidence is not None and evidence is not None:
            shape = output.evidence.shape[-2:]
            target = functional.interpolate(evidence, shape, mode="bilinear", antialias=True)
            loss = loss + 10 * functional.binary_cross_entropy_with_logits(output.evidence, target)
        return SHARE * loss

    def _ask(self, radiographs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        network = self._network
        if radiographs.shape[-1] != network.size:
            size = (network.size, network.size)
            radiographs = functional.interpolate(radiographs, size, mode="bilinear", antialias=True)
        with torch.no_grad(), self._machine.autocast():
            output = network(radiographs.contiguous(memory_format=torch.channels_last))
        evidence = None if output.evidence is None else output.evidence.float().sigmoid()
        return output.logits.float().softmax(dim=1), evidence


def _load(run: Path, classes: Sequence[str], closer: bool) -> FractureNetwork:
    bundle = load_bundle(run)
    if closer != (bundle.manifest.kind == "cascade"):
        both = ("whole radiographs", "patches")
        sees, learns = both if closer else reversed(both)
        raise SettingsError(
            f"{run}: its network sees {sees}, and this one {learns}; name another --teacher"
        )
    manifest: Manifest = bundle.members[-1].manifest if closer else bundle.manifest
    if manifest.classes != tuple(classes):
        raise SettingsError(
            f"{run}: its classes ({', '.join(manifest.classes)}) are not those of the data set "
            f"({', '.join(classes)}); name another --teacher"
        )
    settings = manifest.provenance["settings"]
    network = build_network(
        settings["network"],
        classes=len(classes),
        negative=manifest.negative,
        size=manifest.preprocessing.size,
        weights="hub" if built_as_timms(run) else "none",
        load=False,
        evidence=manifest.evidence is not None,
        attributes=len(manifest.attributes),
    )
    load_checkpoint(run / "checkpoints" / "best.safetensors", {"network": network})
    return network.eval().to(memory_format=torch.channels_last)
