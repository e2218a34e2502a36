"""What computes a graph: ONNX Runtime, or OpenVINO.

An engine has `inputs` (name, element type, shape after the first axis), `outputs` (names) and
`run(names, radiographs)`.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime

from kirik.errors import SettingsError

CPU = "CPUExecutionProvider"
ENGINES = ("onnxruntime", "openvino")
"""By name."""
_FATAL = 4


class Engine(Protocol):
    inputs: list[tuple[str, str, tuple[int, ...]]]
    outputs: list[str]

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        """The named outputs for uint8 [n, 1, size, size]."""


def open_engine(name: str, graph: bytes, threads: int, providers: Sequence[str]) -> Engine:
    """An engine by name, the graph loaded.

    Raises SettingsError if there is no such engine or provider here; the engine's own error if the
    graph is not one.
    """
    if name not in ENGINES:
        raise SettingsError(f"unknown engine {name!r}; there are: {', '.join(ENGINES)}")
    if name == "onnxruntime":
        return OnnxRuntime(graph, threads, providers)
    return OpenVino(graph, threads)


class OnnxRuntime:
    """The engine that every installation has."""

    def __init__(self, graph: bytes, threads: int, providers: Sequence[str]):
        _check_providers(providers)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL  # what goes wrong is raised, and told once
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=[*providers])
        if providers[0] not in self._session.get_providers():
            raise SettingsError(f"{providers[0]} does not start on this machine; use {CPU}")
        self.inputs = [(i.name, i.type, tuple(i.shape[1:])) for i in self._session.get_inputs()]
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        return self._session.run(list(names), {"radiograph": radiographs})


class OpenVino:
    """Intel's engine, which computes on any x86-64 or Arm processor.

    bfloat16: quicker, but the scope gate's distances lose their meaning in it: for benchmarks only,
        see `docs/performance.md`.
    """

    def __init__(self, graph: bytes, threads: int, *, bfloat16: bool = False):
        try:
            import openvino
        except ImportError as error:
            message = "the engine OpenVINO is not installed: pip install 'kirik[openvino]'"
            raise SettingsError(message) from error
        core = openvino.Core()
        if bfloat16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise SettingsError("this processor has no bfloat16; use the engine openvino")
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._model = core.compile_model(core.read_model(graph), "CPU", settings)
        self._own = threading.local()  # a request serves one thread at a time
        self.inputs = [
            (port.any_name, _type_name(port), tuple(d.get_length() for d in port.partial_shape[1:]))
            for port in self._model.inputs
            if port.partial_shape.rank.is_static
        ]
        self.outputs = [port.any_name for port in self._model.outputs]

    def run(self, names: Sequence[str], radiographs: np.ndarray) -> list[np.ndarray]:
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        found = self._own.request.infer({"radiograph": radiographs})
        return [np.array(found[name]) for name in names]  # the request's own arrays are used again


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
