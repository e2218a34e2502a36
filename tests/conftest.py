"""Tiny models whose answers can be computed by hand, made without torch."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from kirik.bundle import Bundle, Evidence, Manifest, write_bundle
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test touches the user's cache of decoded radiographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIRIK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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


@pytest.fixture
def make_bundle(tmp_path):
    """Writes a bundle of a brightness graph: make_bundle(name, **of the manifest) → Bundle."""

    def make(name: str = "bright", *, graph: bytes | None = None, files=None, **said) -> Bundle:
        values = {
            "name": name,
            "classes": ("not_fractured", "fractured"),
            "negative": 0,
            "preprocessing": Preprocessing(size=SIZE),
            "operating_points": OperatingPoints(low=0.3, high=0.7),
            "evidence": Evidence(stride=STRIDE, threshold=0.5),
            "network": "brightness",
        } | said
        evidence, size = values["evidence"], values["preprocessing"].size
        content = graph or brightness_graph(
            len(values["classes"]), size=size, stride=evidence and evidence.stride
        )
        extra = {"card.md": b"# A tiny model\n", "metrics.json": b"{}\n"} | (files or {})
        return write_bundle(
            tmp_path / "bundles" / name, Manifest(**values), {"model.onnx": content} | extra
        )

    return make


def two_tone(level: float, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """A film, uint8, of two grays beside each other whose mean is round(level · 255)."""
    middle, columns = round(level * 255), shape[1]
    apart = min(16, middle, 255 - middle)
    pixels = np.full(shape, middle, np.uint8)
    pixels[:, : columns // 2] -= apart
    pixels[:, -(columns // 2) :] += apart
    return pixels


@pytest.fixture
def save_radiograph(tmp_path):
    """Saves a PNG or JPEG: save_radiograph("a/b.png", mean level or uint8 array) → Path."""

    def save(name: str, pixels: float | np.ndarray = 0.5, shape=(96, 64), **options) -> Path:
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(pixels, np.ndarray):
            pixels = two_tone(pixels, shape)
        Image.fromarray(pixels).save(path, **options)
        return path

    return save
