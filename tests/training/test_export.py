"""Export: ONNX says what torch says, or nothing is exported."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kirik.errors import TrainingError
from kirik.training import halve
from kirik.training.export import _Graph, check_parity, export_onnx
from kirik.training.weights import build_network


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    network = build_network(
        "test_resnet", classes=2, negative=0, size=64, evidence=True, attributes=3
    )
    radiographs = np.random.default_rng(0).integers(0, 256, (9, 1, 64, 64), dtype=np.uint8)
    return network, radiographs, export_onnx(network, radiographs, temperature=1.3)


def test_the_graph_has_the_bundles_inputs_and_outputs(exported):
    _, radiographs, content = exported
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [(i.name, i.type) for i in session.get_inputs()] == [("radiograph", "tensor(uint8)")]
    names = ["logits", "embedding", "strangeness", "evidence", "boxes", "attributes"]
    assert [o.name for o in session.get_outputs()] == names
    logits, embedding, strangeness, evidence, boxes, attributes = session.run(
        None, {"radiograph": radiographs}
    )
    assert strangeness.shape == (9,)
    assert logits.shape == (9, 2)
    assert embedding.dtype == np.float32
    assert evidence.shape == (9, 1, 8, 8)
    assert 0 <= evidence.min() <= evidence.max() <= 1
    assert boxes.shape == (9, 4, 8, 8)
    assert boxes.min() >= 0
    assert attributes.shape == (9, 3)
    assert 0 <= attributes.min() <= attributes.max() <= 1


def test_weights_in_half_precision_say_nearly_the_same_in_little_more_than_half(exported):
    _, radiographs, content = exported
    halved = halve.halve_weights(content, radiographs)
    assert len(halved) < 0.8 * len(content)
    wanted, found = (
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(
            None, {"radiograph": radiographs}
        )
        for graph in (content, halved)
    )
    for whole, half in zip(wanted, found, strict=True):
        np.testing.assert_allclose(half, whole, rtol=0.02, atol=0.02)
    assert any((whole != half).any() for whole, half in zip(wanted, found, strict=True))


@pytest.mark.parametrize(("scale", "kept"), [(1e-2, False), (1e-6, True), (1e6, True)])
def test_a_tensor_that_half_precision_would_spoil_is_kept_whole(scale, kept):
    rng = np.random.default_rng(0)
    weights = rng.normal(0, scale, (4096, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["radiograph"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("radiograph", TensorProto.UINT8, ["n", 1, 64, 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    blank = np.zeros((2, 1, 64, 64), np.uint8)
    halved = onnx.load_from_string(halve.halve_weights(model.SerializeToString(), blank))
    [stored] = halved.graph.initializer
    assert (stored.data_type == TensorProto.FLOAT) is kept


def test_half_precision_that_moves_a_probability_is_refused(exported, monkeypatch):
    _, radiographs, content = exported
    monkeypatch.setattr(halve, "TOLERANCE", 0)
    with pytest.raises(TrainingError, match="half-precision weights move a probability by"):
        halve.halve_weights(content, radiographs)


def test_a_graph_that_says_something_else_is_refused(exported):
    network, radiographs, content = exported
    with torch.no_grad():
        network.head[-1].bias += torch.tensor([0.0, 0.01])
    with pytest.raises(TrainingError, match=r"differ from torch's by .*no bundle was written"):
        check_parity(_Graph(network).eval(), content, radiographs, temperature=1.0)
