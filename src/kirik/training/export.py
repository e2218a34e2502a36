"""A trained network as an ONNX graph that says the same: checked here, refused otherwise."""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.export import Dim

from kirik.errors import TrainingError
from kirik.reading.network import softmax
from kirik.telemetry import onnxruntime
from kirik.training.networks import FractureNetwork

TOLERANCE = 1e-4
OPSET = 18


class _Graph(nn.Module):
    """The outputs of a bundle's graph, in its order; map and attributes in 0…1."""

    def __init__(self, network: FractureNetwork):
        super().__init__()
        self.network = network

    def forward(self, radiograph: torch.Tensor):
        output = self.network(radiograph)
        given = [output.logits, output.embedding, output.strangeness]
        if output.evidence is not None:
            given += [output.evidence.sigmoid(), output.boxes]
        if output.attributes is not None:
            given += [output.attributes.sigmoid()]
        return tuple(given)


def export_onnx(network: FractureNetwork, radiographs: np.ndarray, temperature: float) -> bytes:
    """The network as ONNX, after ONNX Runtime gave the same probabilities as torch.

    radiographs: uint8 [n, 1, size, size], real ones on which both are compared.
    Raises TrainingError if a probability differs by more than 1e-4.
    """
    graph = _Graph(network.cpu().float()).eval()
    names = ["logits", "embedding", "strangeness"]
    names += ["evidence", "boxes"] if network.pyramid is not None else []
    names += ["attributes"] if network.attributes is not None else []
    example = torch.from_numpy(np.repeat(radiographs[:1], 2, axis=0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            _write(graph, example, names, path)
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            cause = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"this network cannot be exported to ONNX ({cause}); "
                "no bundle was written, the checkpoints are kept"
            ) from error
        content = _without_traces(onnx.load(path)).SerializeToString()
    check_parity(graph, content, radiographs, temperature)
    return content


def _write(graph: nn.Module, example: torch.Tensor, names: list[str], path: Path) -> None:
    with _quietly():
        torch.onnx.export(
            graph,
            (example,),
            path,
            input_names=["radiograph"],
            output_names=names,
            opset_version=OPSET,
            dynamic_shapes={"radiograph": {0: Dim("n")}},
            dynamo=True,
            external_data=False,
        )


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what the exporter notes of its making: stack traces with local paths."""
    graph = model.graph
    noted = [model, graph, *graph.node, *graph.initializer, *graph.value_info]
    noted += [*graph.input, *graph.output, *model.functions]
    noted += [node for function in model.functions for node in function.node]
    for part in noted:
        del part.metadata_props[:]
        part.ClearField("doc_string")
    return model


def check_parity(
    graph: nn.Module, content: bytes, radiographs: np.ndarray, temperature: float
) -> float:
    """Largest difference of a probability between torch and ONNX Runtime, in batches of 1 and 8.

    Raises TrainingError if it is above 1e-4.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 8):
        for start in range(0, len(radiographs), size):
            batch = radiographs[start : start + size]
            with torch.inference_mode():
                ours = graph(torch.from_numpy(batch))[0].double().numpy()
            theirs = session.run(["logits"], {"radiograph": batch})[0].astype(np.float64)
            difference = np.abs(softmax(ours / temperature) - softmax(theirs / temperature))
            worst = max(worst, float(difference.max()))
    if not worst <= TOLERANCE:
        raise TrainingError(
            f"the exported graph's probabilities differ from torch's by {worst:.2g}, more than "
            f"{TOLERANCE:g}; no bundle was written (the checkpoints are kept): report this network"
        )
    return worst


@contextlib.contextmanager
def _quietly():
    """The exporter's progress and advice for its own developers are not for kirik's users."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
