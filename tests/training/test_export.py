"""Export: ONNX says what torch says, or nothing is exported."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kirik.errors import TrainingError
from kirik.telemetry import onnxruntime
from kirik.training import compact as storing
from kirik.training.compact import compact
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


BLANK = np.zeros((2, 1, 64, 64), np.uint8)


def dense_graph(scale: float) -> bytes:
    """A graph of one matrix, of weights of this size."""
    weights = np.random.default_rng(0).normal(0, scale, (4096, 2)).astype(np.float32)
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
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


OUTPUTS = ["logits", "embedding", "strangeness", "evidence", "boxes", "attributes"]


def said(graph: bytes, radiographs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"radiograph": radiographs}), strict=True))


@pytest.mark.parametrize(("large", "share", "off"), [(10**9, 0.8, 0.02), (0, 0.75, 0.1)])
def test_weights_in_fewer_bits_say_nearly_the_same(exported, monkeypatch, large, share, off):
    _, radiographs, content = exported
    monkeypatch.setattr(storing, "LARGE", large)
    small = compact(content, radiographs, OUTPUTS)
    assert len(small) < share * len(content)
    kinds = {tensor.data_type for tensor in onnx.load_from_string(small).graph.initializer}
    assert (TensorProto.INT8 in kinds) is (large == 0)
    wanted, found = said(content, radiographs), said(small, radiographs)
    assert list(found) == OUTPUTS
    for name, whole in wanted.items():
        np.testing.assert_allclose(found[name], whole, rtol=off, atol=off)
    assert any((whole != found[name]).any() for name, whole in wanted.items())


def test_a_graph_without_large_convolutions_stays_in_half_precision(monkeypatch):
    monkeypatch.setattr(storing, "LARGE", 0)
    monkeypatch.setattr(storing, "TOLERANCE_8_BITS", -1)
    small = onnx.load_from_string(compact(dense_graph(1e-2), BLANK, ["logits"]))
    [stored] = small.graph.initializer
    assert stored.data_type == TensorProto.FLOAT16


def test_a_scale_for_each_filter_keeps_small_filters_beside_large_ones(monkeypatch):
    rng = np.random.default_rng(0)
    filters = rng.normal(0, 1, (64, 64, 1, 1)) * np.geomspace(1e-3, 1e3, 64)[:, None, None, None]
    tensor = numpy_helper.from_array(filters.astype(np.float32), "w")
    (bits, scale), _ = storing._bits_8(tensor, numpy_helper.to_array(tensor), filters=True)
    again = numpy_helper.to_array(bits) * numpy_helper.to_array(scale).astype(np.float64)
    off = np.sqrt(((again - filters) ** 2).mean(axis=(1, 2, 3)) / (filters**2).mean(axis=(1, 2, 3)))
    assert off.max() < 0.01


def test_what_only_other_outputs_need_is_left_out(exported):
    _, radiographs, content = exported
    small = compact(content, radiographs, ["logits", "evidence"])
    wanted, found = said(content, radiographs), said(small, radiographs)
    assert list(found) == ["logits", "evidence"]
    np.testing.assert_allclose(found["evidence"], wanted["evidence"], atol=0.02)
    names = {tensor.name for tensor in onnx.load_from_string(small).graph.initializer}
    assert not any("scope" in name or "attributes" in name for name in names)
    whole = compact(content, radiographs, OUTPUTS)
    assert any("scope" in tensor.name for tensor in onnx.load_from_string(whole).graph.initializer)


@pytest.mark.parametrize(("scale", "kept"), [(1e-2, False), (1e-6, True), (1e6, True)])
def test_a_tensor_that_half_precision_would_spoil_is_kept_whole(scale, kept):
    small = onnx.load_from_string(compact(dense_graph(scale), BLANK, ["logits"]))
    [stored] = small.graph.initializer
    assert (stored.data_type == TensorProto.FLOAT) is kept


@pytest.mark.parametrize(
    ("borne", "kept"),
    [
        ({}, TensorProto.INT8),
        ({"TOLERANCE_8_BITS": 0}, TensorProto.FLOAT16),
        ({"TOLERANCE_8_BITS": 0, "TOLERANCE_HALF": 0}, TensorProto.FLOAT),
    ],
)
def test_weights_have_as_few_bits_as_the_probabilities_bear(exported, monkeypatch, borne, kept):
    _, radiographs, content = exported
    monkeypatch.setattr(storing, "LARGE", 0)
    for name, most in borne.items():
        monkeypatch.setattr(storing, name, most)
    small = compact(content, radiographs, ["logits"])
    large = [t for t in onnx.load_from_string(small).graph.initializer if np.prod(t.dims) >= 4096]
    assert kept in {tensor.data_type for tensor in large}
    if kept == TensorProto.FLOAT:
        assert {tensor.data_type for tensor in large} == {kept}
        assert np.array_equal(
            said(small, radiographs)["logits"], said(content, radiographs)["logits"]
        )


def test_a_graph_that_says_something_else_is_refused(exported):
    network, radiographs, content = exported
    with torch.no_grad():
        network.head[-1].bias += torch.tensor([0.0, 0.01])
    with pytest.raises(TrainingError, match=r"differ from torch's by .*no bundle was written"):
        check_parity(_Graph(network).eval(), content, radiographs, temperature=1.0)
    with torch.no_grad():
        network.head[-1].bias -= torch.tensor([0.0, 0.01])


def test_graphs_are_compared_by_what_a_reading_makes_of_their_logits(exported):
    """A temperature of a thousand leaves next to nothing of a difference."""
    network, radiographs, content = exported
    with torch.no_grad():
        network.head[-1].bias += torch.tensor([0.0, 0.01])
    assert check_parity(_Graph(network).eval(), content, radiographs, temperature=1000) < 1e-5
