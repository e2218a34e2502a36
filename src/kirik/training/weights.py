"""Starting weights: from a file, a folder of files, timm's hub, or none.

Files are safetensors with timm's parameter names, in any precision, with or without a head.
"""

from collections import OrderedDict
from pathlib import Path

import timm
import torch
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
    dropout: float = 0.0,
    evidence: bool = False,
) -> FractureNetwork:
    """A network by name with its starting weights, for `classes` classes at `size` pixels.

    Raises SettingsError if the name or the weights are unknown or do not fit each other.
    """
    network = find_network(name)
    backbones, normalizations = OrderedDict(), []
    for member in network.members:
        backbone, normalization = _backbone(member, network, size, weights)
        backbones[member] = backbone
        normalizations.append(normalization)
    return FractureNetwork(
        backbones,
        normalizations,
        classes,
        negative=negative,
        size=size,
        dropout=dropout,
        evidence=evidence and negative is not None,
    )


def _backbone(member: str, network: Network, size: int, weights: str):
    """One timm network without head for grayscale, and the normalization its weights expect."""
    own = find_network(_entry_of(member)) if len(network.members) > 1 else network
    arguments = {"in_chans": 1, "num_classes": 0}
    if "vit" in member or "deit" in member:
        arguments["img_size"] = size
    if weights == "hub":
        backbone = _from_hub(member, arguments)
        mean, deviation = (backbone.pretrained_cfg[key] for key in ("mean", "std"))
        return backbone, (sum(mean) / len(mean), sum(deviation) / len(deviation))
    backbone = timm.create_model(member, **arguments, **own.arguments)
    if weights != "none":
        load_weights(backbone, _weights_file(weights, member))
    return backbone, own.normalization


def _entry_of(member: str) -> str:
    """The name under which a member of an ensemble is a network of its own."""
    return next((name for name, n in NETWORKS.items() if n.members == (member,)), member)


def _from_hub(member: str, arguments: dict) -> nn.Module:
    try:
        return timm.create_model(member, pretrained=True, **arguments)
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


def load_weights(backbone: nn.Module, path: Path) -> None:
    """Load a file's matching tensors: colour kernels become grayscale, positions are resampled.

    Raises SettingsError if the file is not safetensors or fits less than half of the network.
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
    learned = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if len(fitting) < len(learned) / 2:
        raise SettingsError(
            f"{path}: fits only {len(fitting)} of the network's {len(learned)} tensors; "
            "these are another network's weights"
        )
    backbone.load_state_dict(fitting, strict=False)


def _fit(backbone: nn.Module, tensor: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A tensor brought to the wanted shape where there is a known way; else as it is."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1] == 1:
        return adapt_input_conv(1, tensor)
    if tensor.ndim == 3 and tensor.shape != wanted.shape and hasattr(backbone, "patch_embed"):
        return resample_abs_pos_embed(
            tensor, list(backbone.patch_embed.grid_size), num_prefix_tokens=1
        )
    return tensor
