"""The machine under a run: devices, and processes of `torchrun`."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from kirik.allocator import keep_freed_memory
from kirik.errors import SettingsError
from kirik.training.settings import TrainingSettings


@dataclass(frozen=True)
class Machine:
    """Where this process computes, and its place among the others."""

    device: torch.device
    rank: int
    world: int
    precision: torch.dtype

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def autocast(self):
        return torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        )

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, value):
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def leave(self) -> None:
        """Part from the other processes: the rest is the first one's work."""
        if self.world > 1:
            distributed.destroy_process_group()


def find_machine(settings: TrainingSettings) -> Machine:
    """The device and process group that the settings and `torchrun`'s environment ask for."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("no GPU is available here; use --device cpu or auto")
    gpu = settings.device != "cpu" and torch.cuda.is_available()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if settings.batch_size % world:
        raise SettingsError(
            f"batch size {settings.batch_size} does not divide by {world} processes"
        )
    if gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # a run's batches are all of one shape
    else:
        device = torch.device("cpu")
        keep_freed_memory()
    if world > 1 and not distributed.is_initialized():
        # The others wait while the first one decodes the data set, however long that takes.
        distributed.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=1))
    wanted = settings.precision
    fast = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    half = wanted == "bfloat16" or (wanted == "auto" and fast)
    return Machine(device, rank, world, torch.bfloat16 if half else torch.float32)
