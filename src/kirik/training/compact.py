"""A graph made small to be shipped: weights stored in fewer bits, computed in float32 as before.

Weights in half precision take half the room. Rounding a tensor to float16 changes no weight by more
than one part in two thousand of the largest; one of which that is not true, as it is too large or
too small for float16, is kept whole.

Of a network that is large even so, the convolutions' weights have 8 bits, and a scale for each
filter (Jacob et al. 2018, arXiv:1712.05877, but for the activations, which stay as they are).

A network that bears neither keeps its weights: none is lost at the end of its training.
"""

from collections.abc import Callable, Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kirik.reading.network import softmax
from kirik.telemetry import onnxruntime

LEAST = 4096
"""Smaller tensors are kept as they are: they weigh little, and depthwise kernels, into which the
norms are folded, bear no rounding."""
LARGE = 10_000_000
"""Bytes of a graph in half precision from which on its convolutions are stored in 8 bits."""
WORTH_IT = 0.75
"""Of the size in half precision, at most, that 8 bits must come to, or it stays with that."""
ROUNDING = 2.0**-11
TOLERANCE_HALF, TOLERANCE_8_BITS = 3e-3, 3e-2
_LEVELS = 127
_CLIPPED = np.linspace(0.7, 1, 7)
"""Parts of the largest weight that are tried as the largest that 8 bits can tell."""


def compact(content: bytes, radiographs: np.ndarray, outputs: Collection[str]) -> bytes:
    """The graph with its large weights in fewer bits, and without what only other outputs need.

    radiographs: uint8 [n, 1, size, size], real ones on which both are compared.
    outputs: names of those to keep. Where a probability would move by more than 0.03 with weights
    of 8 bits they are stored in half precision, and where it would move by more than 0.003 with
    these, whole.
    """
    model = onnx.load_from_string(content)
    _keep(model, outputs)
    small = _stored(model, _half)
    ways = [(small, TOLERANCE_HALF)]
    if len(small) > LARGE:
        smaller = _stored(model, _bits_8)
        if len(smaller) < WORTH_IT * len(small):
            ways.insert(0, (smaller, TOLERANCE_8_BITS))
    expected = _probabilities(content, radiographs)
    for stored, tolerance in ways:
        if np.abs(_probabilities(stored, radiographs) - expected).max() <= tolerance:
            return stored
    return model.SerializeToString()


def _keep(model: onnx.ModelProto, outputs: Collection[str]) -> None:
    """Leave out the other outputs, and the nodes and weights that nothing else needs."""
    graph = model.graph
    kept = [output for output in graph.output if output.name in outputs]
    needed, nodes = {output.name for output in kept}, []
    for node in reversed(graph.node):  # which come in an order in which they can be computed
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    for field, chosen in (
        (graph.output, kept),
        (graph.node, nodes[::-1]),
        (graph.initializer, [t for t in graph.initializer if t.name in needed]),
        (graph.value_info, [v for v in graph.value_info if v.name in needed]),
    ):
        copies = [type(one).FromString(one.SerializeToString()) for one in chosen]
        del field[:]
        field.extend(copies)


_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]
"""Tensors in few bits, and the nodes that make a weight of them."""


def _stored(
    model: onnx.ModelProto,
    way: Callable[[onnx.TensorProto, np.ndarray, bool], _Stored | None],
) -> bytes:
    small = onnx.ModelProto()
    small.CopyFrom(model)
    graph = small.graph
    filters = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    tensors, makers = [], []
    for tensor in graph.initializer:
        stored = None
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LEAST:
            stored = way(tensor, numpy_helper.to_array(tensor), tensor.name in filters)
        tensors += stored[0] if stored else [tensor]
        makers += stored[1] if stored else []
    nodes = [*makers, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)
    return small.SerializeToString()


def _half(tensor: onnx.TensorProto, values: np.ndarray, filters: bool = False) -> _Stored | None:
    """In float16; None where one is off by more than float16's precision of the largest."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and so is off
        small = values.astype(np.float16)
    off = np.abs(small.astype(np.float64) - values)
    if not off.max() <= ROUNDING * np.abs(values).max():
        return None
    name = f"{tensor.name}.half"
    cast = helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(small, name)], [cast]


def _bits_8(tensor: onnx.TensorProto, values: np.ndarray, filters: bool) -> _Stored | None:
    """Of a convolution's filters, in 8 bits and a scale for each; else in float16."""
    if not filters or not values.any(axis=tuple(range(1, values.ndim))).all():
        return _half(tensor, values)
    flat = values.reshape(len(values), -1).astype(np.float64)
    tried = np.abs(flat).max(axis=1, keepdims=True) / _LEVELS * _CLIPPED  # [filters, parts]
    errors = [((_rounded(flat, s[:, None]) * s[:, None] - flat) ** 2).sum(axis=1) for s in tried.T]
    scale = tried[np.arange(len(flat)), np.argmin(errors, axis=0)][:, None]
    name, shape = tensor.name, (-1, *(1,) * (values.ndim - 1))
    stored = [
        numpy_helper.from_array(
            _rounded(flat, scale).astype(np.int8).reshape(values.shape), f"{name}.int8"
        ),
        numpy_helper.from_array(scale.astype(np.float32).reshape(shape), f"{name}.scale"),
    ]
    return stored, [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name]),
    ]


def _rounded(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values / scale), -_LEVELS, _LEVELS)


def _probabilities(content: bytes, radiographs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [logits] = session.run(["logits"], {"radiograph": radiographs})
    return softmax(logits.astype(np.float64))
