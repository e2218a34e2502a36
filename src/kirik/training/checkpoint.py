"""Checkpoints: all of a run in one safetensors file, written so that a kill loses nothing."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from kirik.errors import TrainingError


def save_checkpoint(path: Path, modules: dict, optimizer, state: dict) -> None:
    """Write modules (name → nn.Module), AdamW's moments and a JSON-able state, atomically."""
    tensors = {}
    for name, module in modules.items():
        for key, tensor in module.state_dict().items():
            tensors[f"{name}/{key}"] = tensor.detach().cpu().contiguous()
    if optimizer is not None:
        for number, moments in optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"optimizer/{number}/{key}"] = torch.as_tensor(value).cpu().contiguous()
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={"state": json.dumps(state)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(
            f"{path}: cannot write the checkpoint ({error}); make room, then go on with --resume"
        ) from error


def load_checkpoint(path: Path, modules: dict, optimizer=None) -> dict:
    """Load what `save_checkpoint` wrote into modules and optimizer; returns the state.

    Raises TrainingError if the file is absent, damaged, or another network's.
    """
    with _reading(path):
        state, tensors = _read(path)
        for name, module in modules.items():
            module.load_state_dict(_under(tensors, f"{name}/"))
        if optimizer is not None:
            _load_moments(optimizer, _under(tensors, "optimizer/"))
    return state


PARTS = {
    "head": ("head.", "prior_shift"),
    "evidence map": ("pyramid.", "evidence_gain"),
    "attributes": ("attributes.",),
}
"""What a network holds for its own data set beside the backbones, and how its weights begin."""


def load_start(path: Path, network: nn.Module, anew: Collection[str]) -> list[str]:
    """Load the network of another training, whose data set may tell other things apart; returns
    which of `PARTS` stay as they are in `network`: those in `anew`, and those of other tensors.

    Raises TrainingError if the file is absent, damaged, or another network's.
    """
    own, begun = network.state_dict(), []
    with _reading(path):
        given = _under(_read(path)[1], "network/")
        for part, prefixes in PARTS.items():
            theirs, ours = (
                {k: t for k, t in those.items() if k.startswith(prefixes)} for those in (given, own)
            )
            if part in anew or _shapes(theirs) != _shapes(ours):
                given = {k: t for k, t in given.items() if k not in theirs} | ours
                begun += [part] if ours else []
        network.load_state_dict(given)
    return begun


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    with safe_open(path, "pt") as file:
        state = json.loads((file.metadata() or {})["state"])
        return state, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such checkpoint; the run has not saved one yet") from error
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise TrainingError(
            f"{path}: not a usable checkpoint of this run ({_cause(error)})"
        ) from error


def _cause(error: Exception) -> str:
    """What is wrong, in one line: of torch's list of differences, the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading state_dict"):
        # A line of keys may name all of a network's.
        first, others, _ = lines[1].partition('", "')
        return f'{first}" and others' if others else first.rstrip(". ")
    return lines[0] if lines else type(error).__name__


def _under(tensors: dict, prefix: str) -> dict:
    return {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}


def _load_moments(optimizer, tensors: dict) -> None:
    moments: dict[int, dict] = {}
    for key, tensor in tensors.items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
