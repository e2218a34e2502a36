"""What faster arithmetic brings, and what it costs, for one bundle on real radiographs.

    python benchmarks/engines.py DATA --model BUNDLE [--split fracatlas-v1] [--part fold1] [--out F]

Every engine computes the same prepared radiographs, in batches and one by one: readings a second,
the largest move of a probability, decisions that are others than ONNX Runtime's in float32, AUROC.
int8 is ONNX Runtime's static quantization (QDQ, per channel), and OpenVINO's where NNCF is
installed, calibrated on radiographs that are not measured on. int8 and bfloat16 are measured here
and not offered. The roofline: operations of a reading, and what a matrix product reaches here.
"""

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cyclopts
import numpy as np
import openvino
from mixed import GateInFloat32
from openvino import opset13
from sklearn.metrics import roc_auc_score

from kirik.bundle import GRAPH, find_bundle, load_bundle
from kirik.dataset.cache import open_cache
from kirik.dataset.check import select
from kirik.dataset.sources import load_index
from kirik.dataset.split import load_split
from kirik.operating_points import decide
from kirik.reading.cores import usable_cores
from kirik.reading.engines import CPU, ENGINES, OpenVino, open_engine
from kirik.reading.network import calibrated
from reading import matrix_rate, processor

BATCH, CALIBRATION = 16, 200


def main(
    data: Path,
    *,
    model: Path,
    split: str = "fracatlas-v1",
    part: str = "fold1",
    out: Path | None = None,
):
    """Measure all engines, print a table, and write it as JSON."""
    bundle = load_bundle(find_bundle(model))
    radiographs, labels, others = measured_and_others(data, split, part, bundle)
    graph = bundle.read(GRAPH)
    cores = usable_cores()
    engines = {name: open_engine(name, graph, cores, [CPU]) for name in ENGINES}
    engines["openvino, bfloat16"] = OpenVino(graph, cores, bfloat16=True)
    engines["openvino, bfloat16, the gate in float32"] = GateInFloat32(graph, cores)
    with tempfile.TemporaryDirectory() as folder:
        quantized = int8(graph, others, Path(folder))
        engines["onnxruntime, int8"] = open_engine("onnxruntime", quantized, cores, [CPU])
        if (by_nncf := int8_of_openvino(graph, others, Path(folder))) is not None:
            engines["openvino, int8"] = OpenVino(by_nncf, cores)
    rows, exact = {}, None
    for name, engine in engines.items():
        said, refused = answers(engine, radiographs, bundle.manifest)
        exact = said if exact is None else exact
        rows[name] = row(engine, radiographs, labels, said, exact, bundle.manifest)
        rows[name]["out_of_scope"] = refused
        print(name, rows[name], flush=True)
    result = {
        "machine": {"cores": cores, "processor": processor()},
        "model": {"name": bundle.manifest.name, "size": bundle.manifest.preprocessing.size},
        "radiographs": len(radiographs),
        "part": f"{split}, {part}",
        "gflop_a_reading": round(gflop(graph), 3),
        "peak_gflops": {precision: round(peak(precision), 1) for precision in ("f32", "bf16")},
        "engines": rows,
    }
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measured_and_others(data: Path, split: str, part: str, bundle):
    """Inputs uint8 [n, 1, size, size] of the part, their labels (1: fractured), and inputs of some
    other development radiographs."""
    index, parts = load_index(data), load_split(split)
    own, dev = select(index, parts, part), select(index, parts, "dev")
    cache = open_cache(dev, bundle.manifest.preprocessing)
    ids = {record.id for record in own}
    measured = cache.rows([record.id for record in own])
    labels = [index.by_id[cache.ids[row]].label != index.negative for row in measured]
    rest = cache.rows([record.id for record in dev if record.id not in ids])
    some = np.random.default_rng(0).permutation(rest)[:CALIBRATION]
    return cache.images[measured][:, None], np.array(labels), cache.images[np.sort(some)][:, None]


def row(engine, radiographs, labels, said, exact, manifest) -> dict:
    points = manifest.operating_points
    flipped = [decide(a, points) != decide(b, points) for a, b in zip(said, exact, strict=True)]
    return {
        "batches_per_second": round(rate(lambda: run(engine, radiographs, BATCH), radiographs), 1),
        "singles_per_second": round(rate(lambda: run(engine, radiographs, 1), radiographs), 1),
        "auroc": round(float(roc_auc_score(labels, said)), 4),
        "largest_move": round(float(np.abs(said - exact).max()), 5),
        "mean_move": round(float(np.abs(said - exact).mean()), 6),
        "decisions_flipped": round(float(np.mean(flipped)), 4),
    }


def rate(job: Callable, radiographs: np.ndarray) -> float:
    best = min(_seconds(job) for _ in range(2))
    return min(len(radiographs), 400) / best


def _seconds(job: Callable) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def run(engine, radiographs: np.ndarray, batch: int) -> None:
    """All outputs of at most 400 radiographs."""
    for start in range(0, min(len(radiographs), 400), batch):
        engine.run(engine.outputs, radiographs[start : start + batch])


def answers(engine, radiographs: np.ndarray, manifest) -> tuple[np.ndarray, int]:
    """Probabilities of a fracture, float64 [n], and how many the scope gate would refuse."""
    names, starts = ["logits", "strangeness"], range(0, len(radiographs), BATCH)
    found = [engine.run(names, radiographs[i : i + BATCH]) for i in starts]
    logits, strangeness = (
        np.concatenate(parts).astype(np.float64) for parts in zip(*found, strict=True)
    )
    probabilities = calibrated(logits, manifest)
    refused = int((strangeness > manifest.scope.threshold).sum())
    return 1 - probabilities[:, manifest.negative], refused


def int8(graph: bytes, radiographs: np.ndarray, folder: Path) -> bytes:
    """The graph with weights and activations of convolutions in 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._left = iter(radiographs)

        def get_next(self):
            one = next(self._left, None)
            return None if one is None else {"radiograph": one[None]}

    paths = [folder / name for name in ("float.onnx", "ready.onnx", "int8.onnx")]
    paths[0].write_bytes(graph)
    quant_pre_process(str(paths[0]), str(paths[1]), skip_symbolic_shape=True)
    quantize_static(
        str(paths[1]),
        str(paths[2]),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
    )
    return paths[2].read_bytes()


def int8_of_openvino(graph: bytes, radiographs: np.ndarray, folder: Path) -> Path | None:
    """OpenVINO's model, quantized by NNCF, as a file; None where that is not installed."""
    try:
        import nncf
    except ImportError:
        return None
    inputs = nncf.Dataset([{"radiograph": one[None]} for one in radiographs])
    model = openvino.Core().read_model(graph)
    target = folder / "int8.xml"
    openvino.save_model(nncf.quantize(model, inputs, subset_size=len(radiographs)), target)
    return target


def gflop(graph: bytes) -> float:
    """10⁹ multiplications and additions of convolutions and matrix products for a radiograph."""
    model = openvino.Core().read_model(graph)
    model.reshape([1, *(d.get_length() for d in model.input(0).partial_shape[1:])])
    total = 0
    for node in model.get_ordered_ops():
        if (kind := node.get_type_name()) in ("Convolution", "GroupConvolution", "MatMul"):
            if kind == "MatMul":
                each = node.input(0).get_shape()[-1]
            else:  # weights [out, in, rows, columns], before them the groups where there are some
                each = math.prod(node.input(1).get_shape()[1 if kind == "Convolution" else 2 :])
            total += 2 * each * math.prod(node.output(0).get_shape())
    return total / 1e9


def peak(precision: str, side: int = 2048) -> float:
    """10⁹ operations a second of OpenVINO's matrix product on all cores; numpy's, if it is
    faster."""
    one = opset13.parameter([side, side], np.float32)
    weights = opset13.constant(np.random.default_rng(0).random((side, side), np.float32))
    product = opset13.matmul(one, weights, False, False)
    settings = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    request = (
        openvino.Core()
        .compile_model(openvino.Model([product], [one]), "CPU", settings)
        .create_infer_request()
    )
    request.infer([np.ones((side, side), np.float32)])
    found = 2 * side**3 / min(_seconds(request.infer) for _ in range(5)) / 1e9
    return max(found, matrix_rate()) if precision == "f32" else found


if __name__ == "__main__":
    cyclopts.run(main)
