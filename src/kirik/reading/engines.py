"""What computes a graph: ONNX Runtime, or OpenVINO.

An engine has `inputs` (name, element type, shape after the first axis), `outputs` (names) and
`run(names, radiographs)`.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from kirik.allocator import give_back_freed_memory
from kirik.errors import SettingsError, installed
from kirik.telemetry import load_openvino, onnxruntime

CPU = "CPUExecutionProvider"
ENGINES = ("onnxruntime", "openvino")
"""By name."""
_FATAL = 4
_once = threading.Lock()
"""Held for what is done once in a process."""


class Engine(Protocol):
    inputs: list[tuple[str, str, tuple[int, ...]]]
    outputs: list[str]
    heavy: bool
    """Whether it runs radiographs in turn, as several at once would take too much memory."""

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        """The named outputs for uint8 [n, 1, size, size]."""


def open_engine(
    name: str, graph: bytes, threads: int, providers: Sequence[str], *, side: int = 0
) -> Engine:
    """An engine by name, the graph loaded. side: of the radiographs, in pixels, where it is known.

    Raises SettingsError if there is no such engine or provider here; the engine's own error if the
    graph is not one.
    """
    if name not in ENGINES:
        raise SettingsError(f"unknown engine {name!r}; there are: {', '.join(ENGINES)}")
    if name == "onnxruntime":
        return OnnxRuntime(graph, threads, providers, side=side)
    return OpenVino(graph, threads, side=side)


LITTLE = 128
"""Side in pixels up to which a radiograph, or a part of one, is run on one thread."""
HEAVY = 10_000_000
"""Bytes of a graph from which on larger radiographs are run in turn, on all threads."""


class SideBySide:
    """Runs radiographs one by one on single threads, as many at the same time as there are threads.

    For a batch that is quicker than to run it as a whole, whose layers do not fit a processor's
    cache, and takes a fraction of the memory (see `docs/performance.md`). What is computed for a
    radiograph does not depend on the others, nor on the number of threads.

    Of a large network, whose layers for several radiographs would take a gigabyte, they are run in
    turn, each on all threads, whoever asks.
    """

    def __init__(self, graph: bytes | Path, threads: int, side: int):
        """side: of the radiographs, in pixels; 0 where it is not known."""
        self._threads, self._alone_before = threads, False
        self.heavy = isinstance(graph, bytes) and len(graph) >= HEAVY and side > LITTLE
        self._turn = threading.Lock() if self.heavy else nullcontext()

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        if len(radiographs) == 1 and not self.heavy:
            return self._run_alone(names, radiographs)
        ones = [radiographs[i : i + 1] for i in range(len(radiographs))]
        if self.heavy or self._threads == 1:
            with self._turn:
                results = [self._run_one(names, one) for one in ones]
        else:
            results = list(_pool(self._threads).map(partial(self._run_one, names), ones))
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]

    def _run_alone(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        # To get ready for all threads takes longer than they save for a first radiograph, and for
        # a patch they never save what a second copy of the network weighs.
        if radiograph.size <= LITTLE**2 or self._threads == 1 or not self._alone_before:
            self._alone_before = True
            return self._run_one(names, radiograph)
        return self._run_wide(names, radiograph)

    def _run_one(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        """On one thread, called by several at the same time; or, of a large network, on all."""
        raise NotImplementedError

    def _run_wide(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        """On all threads."""
        raise NotImplementedError


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The threads on which all networks of this process run side by side: batches that are run at
    the same time queue there, so that no thread waits for the end of a batch."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kirik-network")


# A forked process has its parent's pools without their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


class OnnxRuntime(SideBySide):
    """The engine that every installation has. On other providers than the processor's a batch is
    run as a whole."""

    def __init__(self, graph: bytes, threads: int, providers: Sequence[str], *, side: int = 0):
        _check_providers(providers)
        super().__init__(graph, threads, side if providers[0] == CPU else 0)
        self._graph, self._providers = graph, [*providers]
        alone = providers[0] == CPU and not self.heavy
        self._one = self._session(1 if alone else threads)
        if providers[0] not in self._one.get_providers():
            raise SettingsError(f"{providers[0]} does not start on this machine; use {CPU}")
        self.inputs = [(i.name, i.type, tuple(i.shape[1:])) for i in self._one.get_inputs()]
        self.outputs = [output.name for output in self._one.get_outputs()]

    def _session(self, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL  # what goes wrong is raised, and told once
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # With a plan of a run's memory, it would hold what the first run took as well.
        options.enable_mem_pattern = not self.heavy
        with _once:
            _share_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads that wait busily for this network's next run would hold up another network's.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(self._graph, options, providers=self._providers)
        give_back_freed_memory()  # of copies of the graph, there while it was loaded
        return session

    @cached_property
    def _wide(self) -> onnxruntime.InferenceSession:
        return self._session(self._threads)

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        if self._providers[0] != CPU:
            return self._run_one(names, radiographs)
        return super().run(names, radiographs)

    def _run_one(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._one.run(list(names), {"radiograph": radiograph})

    def _run_wide(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._wide.run(list(names), {"radiograph": radiograph})


@cache
def _share_memory() -> None:
    """One pool of memory for all sessions of this process: those of an average run in turn."""
    facts = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(facts, None)


class OpenVino(SideBySide):
    """Intel's engine, which computes on any x86-64 or Arm processor.

    graph: ONNX, or the path of a model that OpenVINO reads.
    bfloat16: quicker, but the scope gate's distances lose their meaning in it: for benchmarks only,
        see `docs/performance.md`.
    """

    def __init__(self, graph: bytes | Path, threads: int, *, side: int = 0, bfloat16: bool = False):
        try:
            openvino = load_openvino()
            from openvino.passes import ConstantFolding, Manager
        except ImportError as error:
            message = f"the engine OpenVINO is not installed: {installed('openvino')}"
            raise SettingsError(message) from error
        _fill_tables(openvino)
        super().__init__(graph, threads, side)
        self._process = os.getpid()
        self._core = _core(openvino)
        if bfloat16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise SettingsError("this processor has no bfloat16; use the engine openvino")
        self._precision = "bf16" if bfloat16 else "f32"
        self._graph = self._core.read_model(graph)
        if isinstance(graph, bytes):
            # Weights of 8 bits that it would widen itself, for each of several streams, came out as
            # nonsense (OpenVINO 2026.4): they are widened here, once. What it computes in 8 bits,
            # as benchmarks do, stays so.
            passes = Manager()
            passes.register_pass(ConstantFolding())
            passes.run_passes(self._graph)
        self._ones = self._compiled(1 if self.heavy else threads)
        self.inputs = [
            (port.any_name, _type_name(port), tuple(d.get_length() for d in port.partial_shape[1:]))
            for port in self._ones.model.inputs
            if port.partial_shape.rank.is_static
        ]
        self.outputs = [port.any_name for port in self._ones.model.outputs]

    def _compiled(self, at_once: int) -> "_Requests":
        """Ready for so many runs at the same time, which share the threads."""
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": at_once,
        }
        return _Requests(self._core.compile_model(self._graph, "CPU", settings))

    @cached_property
    def _wide(self) -> "_Requests":
        return self._compiled(1)

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        """Raises SettingsError in a process that was forked off the one that loaded the graph."""
        # Its threads stay behind. A run there waits for them without end, and so, at times, does
        # compiling anew.
        if os.getpid() != self._process:
            raise SettingsError(
                "the engine openvino does not work in a forked process; load the model in each "
                "process alone, start them by multiprocessing's spawn, or use onnxruntime"
            )
        return super().run(names, radiographs)

    def _run_one(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._ones.run(names, radiograph)

    def _run_wide(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._wide.run(names, radiograph)


_cores: dict[int, Any] = {}
"""OpenVINO's core of each process by its number: a forked one's is its own."""


def _core(openvino: ModuleType):
    """This process's core, which stays to its end.

    A core gives the thread that made it a stack for its signals' handlers, and takes it from under
    it where it goes in another thread, or before one that was made later (OpenVINO 2026.4): the
    next Ctrl-C, SIGTERM or child's end was a segmentation fault.
    """
    with _once:
        return _cores.get(os.getpid()) or _cores.setdefault(os.getpid(), openvino.Core())


def _fill_tables(openvino: ModuleType) -> None:
    """Two threads that look at a tensor's data for the first time at the same moment wait for each
    other without end: one fills OpenVINO's tables of element types and waits for Python's lock, the
    other holds that and waits for the tables (2026.4). So they are filled here, by one."""
    with _once:
        _ = openvino.Tensor(np.zeros(1, np.uint8)).data


class _Requests:
    """A compiled model, and its requests that have nothing to do: each serves one run at a time."""

    def __init__(self, model):
        self.model, self._idle = model, []

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self.model.create_infer_request()
        found = request.infer({"radiograph": radiographs})
        # The request's own arrays are used again.
        results = [np.array(found[name]) for name in names]
        self._idle.append(request)
        return results


def _type_name(port) -> str:
    """An element's type in ONNX Runtime's words."""
    kind = {"u8": "uint8", "f32": "float"}.get(port.element_type.get_type_name())
    return f"tensor({kind or port.element_type.get_type_name()})"


def _check_providers(providers: Sequence[str]) -> None:
    available = onnxruntime.get_available_providers()
    unknown = [name for name in providers if name not in available]
    if unknown or not providers:
        raise SettingsError(
            f"no ONNX Runtime provider {', '.join(unknown) or 'named'} on this machine; "
            f"there are: {', '.join(available)}"
        )
