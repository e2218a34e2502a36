"""Networks by name, and what kirik puts around them: a head and an evidence map.

One dict says how to build each network; any other timm name works as well.
"""

import difflib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn
from torch.nn import functional

from kirik.errors import SettingsError

IMAGENET = (0.449, 0.226)
"""Mean and standard deviation of ImageNet's three channels, averaged for grayscale."""
CENTRED = (0.5, 0.5)


@dataclass(frozen=True)
class Network:
    """How to build one network, and the settings that suit it.

    members: timm names; more than one are concatenated by their pooled features.
    arguments: for timm, with starting weights from a local file. timm's own weights of the same
        name were made with timm's defaults, so `hub` leaves these out.
    normalization: mean and standard deviation that the local starting weights expect; None for
        what timm's own weights of that name expect.
    """

    members: tuple[str, ...]
    arguments: dict = field(default_factory=dict)
    normalization: tuple[float, float] | None = None
    size: int = 320
    epochs: int = 12
    learning_rate: float = 5e-4


# The original MobileNets' padding and epsilon (TensorFlow), with which their weights were made.
_TENSORFLOW = {"pad_type": "same", "bn_eps": 1e-3}

NETWORKS: dict[str, Network] = {
    "mobilenetv1": Network(("mobilenetv1_100",), _TENSORFLOW, CENTRED, size=256, epochs=8),
    "mobilenetv2": Network(("mobilenetv2_100",), _TENSORFLOW, CENTRED, size=256, epochs=8),
    "densenet121": Network(("densenet121",), normalization=IMAGENET),
    "densenet169": Network(("densenet169",), normalization=IMAGENET),
    "xception": Network(("legacy_xception",), normalization=CENTRED),
    "vit": Network(("vit_tiny_patch16_224",), {}, CENTRED, size=224, learning_rate=2e-4),
    "ensemble": Network(
        ("densenet169", "mobilenetv2_100", "vit_tiny_patch16_224"), size=224, learning_rate=2e-4
    ),
}
ALIASES = {"mobilenet": "mobilenetv2", "densenet": "densenet121"}


def find_network(name: str) -> Network:
    """The network of a name, ours or timm's. Raises SettingsError with the nearest names."""
    name = ALIASES.get(name, name)
    if name in NETWORKS:
        return NETWORKS[name]
    if timm.is_model(name):
        trained_at = (timm.get_pretrained_cfg(name) or PretrainedCfg()).input_size[-1]
        return Network((name,), size=max(64, trained_at // 32 * 32))
    known = [*NETWORKS, *ALIASES, *timm.list_models()]
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join([*ALIASES, *NETWORKS])}"
    raise SettingsError(f"unknown network {name!r}; {hint}")


class Output(NamedTuple):
    """What a network says of a batch.

    logits: float [N, classes], before calibration.
    embedding: float [N, features], pooled.
    evidence: float [N, 1, size / stride, size / stride], logits of the map, or None without one.
    boxes: float [N, 4, size / stride, size / stride], input pixels from a cell's centre to the
        left, top, right and bottom of the fracture there; None without a map.
    attributes: float [N, attributes], logits, or None where none are learned.
    strangeness: float [N], how far a radiograph lies from those trained on, about 1 for one of
        them; 0 before `set_scope`.
    scope_features: float [N, channels], what that is measured on.
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    evidence: torch.Tensor | None
    boxes: torch.Tensor | None
    attributes: torch.Tensor | None
    strangeness: torch.Tensor
    scope_features: torch.Tensor


class FractureNetwork(nn.Module):
    """Backbones whose pooled features are concatenated, a head, and optionally an evidence map.

    Takes uint8 (or float 0…255) [N, 1, size, size]; scaling and normalization are part of the
    graph, so that nobody can feed it wrongly.

    The evidence map comes from a feature pyramid (Lin et al. 2017, doi:10.1109/CVPR.2017.106)
    and is trained on the fractures' masks; its smooth maximum is taken off the negative class's
    logit, so that the image is judged fractured where the map says so.
    """

    def __init__(
        self,
        backbones: "OrderedDict[str, nn.Module]",
        normalizations: list[tuple[float, float]],
        classes: int,
        *,
        negative: int | None,
        size: int,
        dropout: float,
        evidence: bool,
        attributes: int = 0,
    ):
        super().__init__()
        self.backbones = nn.ModuleDict(backbones)
        self.negative, self.size = negative, size
        self._frozen: list[nn.Module] = []
        scales = torch.tensor([(255 * mean, 255 * deviation) for mean, deviation in normalizations])
        self.register_buffer("scales", scales)
        # Logit of each class's share in reality minus that in training: see `set_priors`.
        self.register_buffer("prior_shift", torch.zeros(classes))
        with torch.no_grad():
            probe = [b.eval().forward_intermediates(_blank(size)) for b in backbones.values()]
            width = sum(
                self._pool(b, f).shape[1]
                for b, (f, _) in zip(backbones.values(), probe, strict=True)
            )
        self.head = _head(width, classes, dropout, hidden=256 if len(backbones) > 1 else None)
        self.attributes = nn.Linear(width, attributes) if attributes else None
        self.pyramid = FeaturePyramid(probe[0][1], size) if evidence else None
        self.scope_level = _scope_level(probe[0][1], size)
        channels = probe[0][1][self.scope_level].shape[1]
        # Not in checkpoints: they are computed from the weights when these are final.
        self.register_buffer("scope_centre", torch.zeros(channels), persistent=False)
        self.register_buffer("scope_whitening", torch.zeros(channels, channels), persistent=False)
        self.evidence_gain = nn.Parameter(torch.tensor(0.5)) if evidence else None

    @staticmethod
    def _pool(backbone: nn.Module, features: torch.Tensor) -> torch.Tensor:
        return backbone.forward_head(features, pre_logits=True)

    def forward(self, radiographs: torch.Tensor) -> Output:
        pooled, first = [], None
        for i, backbone in enumerate(self.backbones.values()):
            normalized = (radiographs.float() - self.scales[i, 0]) / self.scales[i, 1]
            features, intermediates = backbone.forward_intermediates(normalized)
            pooled.append(self._pool(backbone, features))
            first = intermediates if first is None else first
        embedding = torch.cat(pooled, dim=1)
        logits = self.head(embedding).float()
        attributes = None if self.attributes is None else self.attributes(embedding).float()
        evidence = boxes = None
        if self.pyramid is not None:
            evidence, boxes = self.pyramid(first)
            logits = self._add_evidence(logits, evidence)
        if not self.training:
            logits = logits + self.prior_shift
        scope = first[self.scope_level].float().mean(dim=(2, 3))
        whitened = (scope - self.scope_centre) @ self.scope_whitening
        strangeness = whitened.square().mean(dim=1).sqrt()
        return Output(logits, embedding.float(), evidence, boxes, attributes, strangeness, scope)

    def _add_evidence(self, logits: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
        score = self.evidence_gain * smooth_maximum(evidence)
        column = torch.arange(logits.shape[1], device=logits.device) == self.negative
        return logits - score[:, None] * column.to(logits)

    def freeze(self, stride: int) -> None:
        """Keep the weights of the layers whose cells are at most `stride` pixels wide, and the
        statistics of their norms; 0 frees all. A network that timm knows no stages of, or none by
        the names of modules, stays free.
        """
        self.requires_grad_(True)
        self._frozen = []
        for backbone in self.backbones.values():
            stages = [s for s in getattr(backbone, "feature_info", ()) if s["reduction"] <= stride]
            if stages:
                self._frozen += _layers_up_to(backbone, stages[-1]["module"])
        for layer in self._frozen:
            for weight in layer.parameters(recurse=False):
                weight.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "FractureNetwork":
        super().train(mode)
        for layer in self._frozen:
            layer.training = False
        return self

    def set_scope(self, centre: torch.Tensor, whitening: torch.Tensor) -> None:
        """What radiographs look like to this network: see `kirik.training.scope`."""
        self.scope_centre.copy_(centre)
        self.scope_whitening.copy_(whitening)

    def set_priors(self, trained: torch.Tensor, real: torch.Tensor) -> None:
        """Undo balancing in the probabilities of a reading.

        A network trained on classes in shares `trained` overstates the rare class; where they
        come in shares `real`, log(real / trained) corrects its logits (Saerens et al. 2002,
        doi:10.1162/089976602753284446).
        """
        self.prior_shift.copy_((real / trained).log())


class FeaturePyramid(nn.Module):
    """An evidence map of cells of 8 pixels, or of the finest coarser ones that the backbone has,
    and each cell's box.

    intermediates: feature maps of the backbone for a blank input; the last of each size counts.
    """

    def __init__(self, intermediates: list[torch.Tensor], size: int, width: int = 64):
        super().__init__()
        finest = size // 7
        chosen = {f.shape[-1]: i for i, f in enumerate(intermediates) if f.shape[-1] <= finest}
        self.levels = list(chosen.values())
        channels = [intermediates[i].shape[1] for i in self.levels]
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = _tower(width)
        self.score = nn.Conv2d(width, 1, 1)
        nn.init.constant_(self.score.bias, -4.0)  # A fracture covers about one cell in fifty.
        self.sides = nn.Sequential(*_tower(width), nn.Conv2d(width, 4, 1))
        nn.init.normal_(self.sides[-1].weight, std=0.01)
        nn.init.constant_(self.sides[-1].bias, 0.5)
        # A network of one scale (ViT) has coarse cells only, and others' do not divide the input.
        finest = intermediates[self.levels[0]].shape[-1]
        self.side = finest if size % finest == 0 and finest >= size // 12 else size // 8
        self.stride = size / self.side

    def forward(self, intermediates: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [N, 1, side, side] of the map, and boxes [N, 4, side, side] in input pixels."""
        features = None
        for level, lateral in zip(reversed(self.levels), reversed(self.lateral), strict=True):
            here = lateral(intermediates[level])
            if features is not None:
                here = here + functional.interpolate(features, size=here.shape[-2:], mode="nearest")
            features = here
        if features.shape[-1] != self.side:
            features = functional.interpolate(
                features, size=(self.side, self.side), mode="bilinear"
            )
        features = self.smooth(features)
        # In float32: a difference of sides loses its last pixels in half precision.
        sides = self.sides(features).float().clamp(-4, 4).exp() * self.stride
        return self.score(features).float(), sides


def _tower(width: int) -> nn.Sequential:
    """Two layers of convolutions, each separable."""
    layers = []
    for _ in range(2):
        layers += [
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _layers_up_to(backbone: nn.Module, last: str) -> list[nn.Module]:
    """The layers with weights of their own, in order, to the end of the module of a name; none
    where timm gives a stage a name that no module has."""
    layers = list(backbone.named_modules())
    within = [i for i, (name, _) in enumerate(layers) if f"{name}.".startswith(f"{last}.")]
    end = max(within, default=-1)
    return [layer for _, layer in layers[: end + 1] if list(layer.parameters(recurse=False))]


def _scope_level(intermediates: list[torch.Tensor], size: int) -> int:
    """The last feature map of cells of 16 pixels, or the one nearest to that.

    Finer ones see brightness and texture alone, and the last knows only what tells fractures
    apart: in between, a photograph differs from every radiograph.
    """
    distances = [abs(16 - size / features.shape[-1]) for features in intermediates]
    return max(i for i, distance in enumerate(distances) if distance == min(distances))


def smooth_maximum(evidence: torch.Tensor, sharpness: float = 4.0) -> torch.Tensor:
    """Log-mean-exp over a map's pixels, [N, 1, h, w] → [N]: nearly its maximum, but all learn
    (Pinheiro & Collobert 2015, doi:10.1109/CVPR.2015.7298780)."""
    flat = evidence.flatten(1) * sharpness
    return (flat.logsumexp(dim=1) - torch.log(torch.tensor(float(flat.shape[1])))) / sharpness


def _head(width: int, classes: int, dropout: float, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
    )


def _blank(size: int) -> torch.Tensor:
    return torch.zeros(1, 1, size, size)
