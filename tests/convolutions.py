"""A graph of random convolutions: the arithmetic of a real network, without its weights."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from brightness import SIZE


def convolution_graph() -> bytes:
    """A small convolutional network of random weights: the arithmetic of a real one."""
    noise = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 255),
        "first": noise.normal(0, 0.2, (32, 1, 5, 5)).astype(np.float32),
        "second": noise.normal(0, 0.1, (48, 32, 3, 3)).astype(np.float32),
        "dense": noise.normal(0, 1, (48, 2)).astype(np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Cast", ["radiograph"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["levels"]),
        helper.make_node("Conv", ["levels", "first"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("ReduceMean", ["d", "axes"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("radiograph", TensorProto.UINT8, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()
