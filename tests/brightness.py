"""A graph whose answers can be computed by hand, made without torch, and films for it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, STRIDE, GAIN = 64, 8, 12.0


def brightness_graph(
    classes: int = 2, *, size: int = SIZE, stride: int | None = STRIDE, gain: float = GAIN
) -> bytes:
    """A graph whose last class's logit is gain · (mean brightness − ½), and whose others are 0.

    Its evidence map is the mean brightness of each cell, each cell's box reaches 16 pixels from its
    centre; strangeness and the only attribute are the mean brightness, too.
    """
    weights = np.zeros((1, classes), np.float32)
    weights[0, -1] = gain
    constants = {
        "scale": np.float32(1 / 255),
        "middle": np.float32(0.5),
        "weights": weights,
        "axes": np.array([2, 3]),
        "last": np.array([1]),
        "nothing": np.float32(0),
        "reach": np.full((1, 4, 1, 1), 16, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["radiograph"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["levels"]),
        helper.make_node("ReduceMean", ["levels", "axes"], ["embedding"], keepdims=0),
        helper.make_node("Sub", ["embedding", "middle"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["logits"]),
        helper.make_node("Squeeze", ["embedding", "last"], ["strangeness"]),
        helper.make_node("Identity", ["embedding"], ["attributes"]),
    ]
    outputs = [("logits", ["n", classes]), ("embedding", ["n", 1])]
    outputs += [("strangeness", ["n"]), ("attributes", ["n", 1])]
    if stride:
        square = [stride, stride]
        nodes.append(
            helper.make_node(
                "AveragePool", ["levels"], ["evidence"], kernel_shape=square, strides=square
            )
        )
        side = size // stride
        nodes.append(helper.make_node("Mul", ["evidence", "nothing"], ["empty"]))
        nodes.append(helper.make_node("Add", ["empty", "reach"], ["boxes"]))
        outputs += [("evidence", ["n", 1, side, side]), ("boxes", ["n", 4, side, side])]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("radiograph", TensorProto.UINT8, ["n", 1, size, size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def two_tone(level: float, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """A film, uint8, of two grays beside each other whose mean is round(level · 255)."""
    middle, columns = round(level * 255), shape[1]
    apart = min(16, middle, 255 - middle)
    pixels = np.full(shape, middle, np.uint8)
    pixels[:, : columns // 2] -= apart
    pixels[:, -(columns // 2) :] += apart
    return pixels
