"""A graph whose weights are stored in half precision: half the size, computed in float32 as before.

Rounding a tensor to float16 changes no weight by more than one part in two thousand of the largest;
one of which that is not true, as it is too large or too small for float16, is kept whole.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from kirik.errors import TrainingError
from kirik.reading.network import softmax

LEAST = 4096
"""Smaller tensors are kept as they are: they weigh little, and depthwise kernels, into which the
norms are folded, bear no rounding."""
ROUNDING = 2.0**-11
TOLERANCE = 3e-3


def halve_weights(content: bytes, radiographs: np.ndarray) -> bytes:
    """The graph with its large weights in float16, each cast back before it is used.

    radiographs: uint8 [n, 1, size, size], real ones on which both are compared.
    Raises TrainingError if a probability moves by more than 0.003.
    """
    model = onnx.load_from_string(content)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        small = _rounded(tensor, values)
        if small is None:
            kept.append(tensor)
            continue
        name = f"{tensor.name}.half"
        kept.append(numpy_helper.from_array(small, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    halved = model.SerializeToString()
    moved = np.abs(_probabilities(halved, radiographs) - _probabilities(content, radiographs)).max()
    if not moved <= TOLERANCE:
        raise TrainingError(
            f"half-precision weights move a probability by {moved:.2g}, more than {TOLERANCE:g}; "
            "no bundle was written: report this network"
        )
    return halved


def _rounded(tensor: onnx.TensorProto, values: np.ndarray) -> np.ndarray | None:
    """The weights in float16; None where they are few, or one is off by more than float16's
    precision of the largest."""
    if tensor.data_type != TensorProto.FLOAT or values.size < LEAST:
        return None
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and so is off
        small = values.astype(np.float16)
    off = np.abs(small.astype(np.float64) - values)
    return small if off.max() <= ROUNDING * np.abs(values).max() else None


def _probabilities(content: bytes, radiographs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [logits] = session.run(["logits"], {"radiograph": radiographs})
    return softmax(logits.astype(np.float64))
