"""A graph cut in two for `benchmarks/engines.py`: what the scope gate's distances come from stays
in float32, all the rest is computed in bfloat16.

The gate measures how far the means of an early layer lie from those of the radiographs trained on,
so that this layer and all before it stay as they are.
"""

from collections.abc import Sequence

import numpy as np
import openvino
from openvino import Model, Node, Output, opset13

from kirik.reading.engines import SideBySide


class GateInFloat32(SideBySide):
    """An engine of two compiled parts, the second fed with what the first computed."""

    def __init__(self, graph: bytes, threads: int):
        super().__init__(graph, threads, 0)
        core = openvino.Core()
        exact, rest = cut(core.read_model(graph), "strangeness")
        self.outputs = [
            name
            for part in (exact, rest)
            for port in part.outputs
            if not (name := port.any_name).startswith(_CUT)
        ]
        # One stream a thread, then one for all threads.
        self._parts = [
            [
                core.compile_model(part, "CPU", _settings(precision, threads, streams))
                for part, precision in ((exact, "f32"), (rest, "bf16"))
            ]
            for streams in (threads, 1)
        ]

    def _run_one(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._run_parts(self._parts[0], names, radiograph)

    def _run_wide(self, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        return self._run_parts(self._parts[1], names, radiograph)

    def _run_parts(self, parts, names: Sequence[str], radiograph: np.ndarray) -> list[np.ndarray]:
        known = {"radiograph": radiograph}
        for part in parts:
            given = {port.any_name: known[_plain(port.any_name)] for port in part.inputs}
            found = part.create_infer_request().infer(given)
            known |= {port.any_name: found[port] for port in part.outputs}
        return [np.array(known[name]) for name in names]


_CUT = "cut of "


def _plain(name: str) -> str:
    return "radiograph" if name == f"{_CUT}radiograph" else name


def _settings(precision: str, threads: int, streams: int) -> dict:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
    }


def cut(model: Model, last: str) -> tuple[Model, Model]:
    """The part that the output `last` needs, and the rest, whose inputs are outputs of the first
    (or the model's own), by the same names."""
    needed = _needed(model.output(last).node)
    fed: dict[Output, Node] = {}
    for node in model.get_ordered_ops():
        if _key(node) in needed or node.get_type_name() == "Result":
            continue
        for port in node.inputs():
            value = port.get_source_output()
            if _key(value.node) in needed and value.node.get_type_name() != "Constant":
                if value not in fed:
                    fed[value] = opset13.parameter(value.partial_shape, value.element_type)
                    name = value.any_name if value.node.get_type_name() == "Parameter" else len(fed)
                    fed[value].output(0).set_names({f"{_CUT}{name}"})
                port.replace_source_output(fed[value].output(0))
    handed = []
    for value, parameter in fed.items():
        if value.node.get_type_name() != "Parameter":
            handed.append(opset13.result(value))
            handed[-1].output(0).set_names(parameter.output(0).names)
    ends = {bool(last in r.output(0).names): [] for r in model.get_results()}
    for result in model.get_results():
        ends[last in result.output(0).names].append(result)
    first = Model([*ends[True], *handed], model.get_parameters(), "exact")
    return first, Model(ends[False], list(fed.values()), "rest")


def _key(node: Node) -> str:
    return node.get_friendly_name()


def _needed(node: Node) -> set[str]:
    """Names of all nodes that this one's value comes from, its own included."""
    found, waiting = set(), [node]
    while waiting:
        one = waiting.pop()
        if _key(one) not in found:
            found.add(_key(one))
            waiting += [port.get_source_output().node for port in one.inputs()]
    return found
