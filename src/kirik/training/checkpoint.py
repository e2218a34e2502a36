"""Checkpoints: all of a run in one safetensors file, written so that a kill loses nothing."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

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
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, module in modules.items():
            module.load_state_dict(_under(tensors, f"{name}/"))
        if optimizer is not None:
            _load_moments(optimizer, _under(tensors, "optimizer/"))
    except FileNotFoundError as error:
        raise TrainingError(f"{path}: no such checkpoint; the run has not saved one yet") from error
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise TrainingError(
            f"{path}: not a usable checkpoint of this run ({_cause(error)})"
        ) from error
    return state


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
