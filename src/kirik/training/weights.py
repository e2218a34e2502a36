"""Starting weights: from a file, a folder of files, timm's hub, or none.

Files are safetensors with timm's parameter names, in any precision, with or without a head.
"""

from collections import OrderedDict
from pathlib import Path

import timm
import torch
from huggingface_hub.utils.logging import set_verbosity_error
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import nn

from kirik.errors import SettingsError
from kirik.training.networks import NETWORKS, FractureNetwork, Network, find_network


def build_network(
    name: str,
    *,
    classes: int,
    negative: int | None,
    size: int,
    weights: str = "none",
    load: bool = True,
    dropout: float = 0.0,
    evidence: bool = False,
    attributes: int = 0,
) -> FractureNetwork:
    """A network by name with its starting weights, for `classes` classes at `size` pixels.

    load: False builds the same network without reading or fetching the weights, for a run that
        is resumed from its checkpoint.

    Raises SettingsError if the name or the weights are unknown, do not fit each other, or the
    network cannot be built at that size.
    """
    network = find_network(name)
    try:
        backbones, normalizations = _backbones(network, size, weights, load)
        return FractureNetwork(
            backbones,
            normalizations,
            classes,
            negative=negative,
            size=size,
            dropout=dropout,
            evidence=evidence and negative is not None,
            attributes=attributes,
        )
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SettingsError(
            f"network {name!r} cannot be used at {size} pixels ({cause}); "
            "try another --size or --network"
        ) from error


def _backbones(network: Network, size: int, weights: str, load: bool):
    """The members by name, and the mean and deviation that each one's weights expect."""
    backbones, normalizations = OrderedDict(), []
    for member in network.members:
        backbone, normalization = _backbone(member, network, size, weights, load)
        # A module's name holds no point; one of timm's with a tag does.
        backbones[member.replace(".", "_")] = backbone
        normalizations.append(normalization)
    return backbones, normalizations


def _backbone(member: str, network: Network, size: int, weights: str, load: bool):
    """One timm network without head for grayscale, and the normalization its weights expect."""
    own = network if len(network.members) == 1 else _entry_of(member)
    arguments = {"in_chans": 1, "num_classes": 0}
    if _takes_size(member):
        arguments["img_size"] = size
    if weights == "hub":
        backbone = _from_hub(member, arguments, load)
        return backbone, _expected(backbone)
    backbone = timm.create_model(member, **arguments, **own.arguments)
    if weights != "none" and load:
        load_weights(backbone, _weights_file(weights, member))
    return backbone, own.normalization or _expected(backbone)


def _takes_size(member: str) -> bool:
    """Whether a network is built for one size of input, as transformers with positions are."""
    module = timm.model_entrypoint(member).__module__
    return module.rsplit(".", 1)[-1] in _SIZED


_SIZED = {"vision_transformer", "deit", "swin_transformer", "swin_transformer_v2", "beit", "eva"}


def _expected(backbone: nn.Module) -> tuple[float, float]:
    """Mean and standard deviation for grayscale of what timm's own weights were trained on."""
    mean, deviation = (backbone.pretrained_cfg[key] for key in ("mean", "std"))
    return sum(mean) / len(mean), sum(deviation) / len(deviation)


def _entry_of(member: str) -> Network:
    """A member of an ensemble as the network of its own that it is in NETWORKS, if it is."""
    entries = (entry for entry in NETWORKS.values() if entry.members == (member,))
    return next(entries, None) or find_network(member)


def _from_hub(member: str, arguments: dict, load: bool) -> nn.Module:
    set_verbosity_error()  # its retries; what they come to is said below
    try:
        return timm.create_model(member, pretrained=load, **arguments)
    except (OSError, RuntimeError) as error:
        cause = str(error).strip().splitlines()[0]
        raise SettingsError(
            f"cannot fetch {member}'s starting weights from the hub ({cause}); "
            "name a local file with --weights, or start from scratch with --weights none"
        ) from error


def _weights_file(weights: str, member: str) -> Path:
    path = Path(weights).expanduser()
    if path.is_dir():
        path = path / f"{member}.safetensors"
    if not path.is_file():
        raise SettingsError(
            f"{path}: no such starting weights; --weights takes a file, "
            "a folder of NAME.safetensors, 'hub' or 'none'"
        )
    return path


FITTING = 0.8
"""Share of a network's tensors, and of a file's, that must fit: a head may be absent, or too many,
but a deeper or shallower network of the same family has most of its names and shapes in common."""


def load_weights(backbone: nn.Module, path: Path) -> None:
    """Load a file's matching tensors: colour kernels become grayscale, positions are resampled.

    Raises SettingsError if the file is not safetensors, or holds another network's weights.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise SettingsError(f"{path}: not a readable safetensors file ({error})") from error
    wanted = backbone.state_dict()
    fitting = {}
    for name in wanted.keys() & tensors.keys():
        tensor = _fit(backbone, tensors[name], wanted[name])
        if tensor.shape == wanted[name].shape:
            fitting[name] = tensor
    own, given, fit = (
        sum(not name.endswith("num_batches_tracked") for name in those)
        for those in (wanted, tensors, fitting)
    )
    if fit < FITTING * max(own, given):
        raise SettingsError(
            f"{path}: only {fit} of its {given} tensors fit the network, which has {own}; "
            "these are another network's weights"
        )
    backbone.load_state_dict(fitting, strict=False)


def _fit(backbone: nn.Module, tensor: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A tensor brought to the wanted shape where there is a known way; else as it is."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1] == 1:
        return adapt_input_conv(1, tensor)
    positions = tensor.ndim == wanted.ndim == 3 and tensor.shape[2] == wanted.shape[2]
    if positions and tensor.shape != wanted.shape and hasattr(backbone, "patch_embed"):
        rows, columns = backbone.patch_embed.grid_size
        prefix = wanted.shape[1] - rows * columns
        return resample_abs_pos_embed(tensor, [rows, columns], num_prefix_tokens=prefix)
    return tensor
