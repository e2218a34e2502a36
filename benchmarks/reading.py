"""Readings per second, beside what one would otherwise write, on the same files in one run.

    python benchmarks/reading.py RADIOGRAPHS --model BUNDLE [--count 400] [--out FILE.json]

Peers, with a network of the same family at the same input size and random weights (speed does not
depend on them): timm in torch, eager, in a loop and behind a DataLoader; Keras' `load_img` and
`predict`, file by file and in batches, where Keras is installed. The pipeline's overhead is held
against three ways to run ONNX Runtime alone on ready tensors. Each way reads the same files in a
process of its own, after a warm-up; the ways take turns, round for round, so that a machine that is
slower for a while is so for all, and the median of the rounds counts.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cyclopts
import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pydicom.uid import generate_uid as uid

from kirik.errors import SettingsError
from kirik.files import find_files
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.cores import usable_cores
from kirik.reading.engines import CPU
from kirik.reading.models import Cascade
from kirik.reading.network import Network
from kirik.reading.prepare import Prepared
from kirik.reading.reading import Reading
from kirik.telemetry import onnxruntime

BATCH = 16
BESIDE = "side by side"
FIRST_ALONE = "kirik, many, its first network alone"
"""The same work as the peers', who have one network: a cascade's member is a model of its own."""
FAMILIES = {
    "mobilenet": ("mobilenetv2_100", "MobileNetV2"),
    "mobilenetv2": ("mobilenetv2_100", "MobileNetV2"),
    "densenet169": ("densenet169", "DenseNet169"),
}


def main(
    radiographs: Path, *, model: Path, count: int = 400, rounds: int = 5, out: Path | None = None
):
    """Measure all ways, print a table, and write it as JSON."""
    load = round(os.getloadavg()[0], 1)
    found = list(find_files([radiographs], lambda *_: None))
    rng, total = np.random.default_rng(0), len(found)
    files = [found[i] for i in sorted(rng.permutation(total)[:count])]
    classifier = load_model(model, gate=False)
    # What cannot be read stops the peers at once.
    files = [r.source for r in classifier.read_many(files) if isinstance(r, Reading)]
    folder = tempfile.TemporaryDirectory()
    films = [as_dicom(path, Path(folder.name)) for path in files]
    # Peers have one network, as wide as the first that kirik runs.
    networks = networks_of(classifier)
    first, folder_of_first = networks[0].manifest, networks[0]._where.parent
    size = first.preprocessing.size
    torch_name, keras_name = FAMILIES[first.network]
    jobs = {
        "kirik, file by file": (kirik_files, model, files),
        "kirik, many": (kirik_many, model, "onnxruntime", files),
        "kirik, many, OpenVINO": (kirik_many, model, "openvino", files),
        "kirik, many, the same as DICOM": (kirik_many, model, "onnxruntime", films),
        "ONNX Runtime alone, ready tensors, in batches": (ready_tensors, model, BATCH, files),
        "ONNX Runtime alone, ready tensors, one by one": (ready_tensors, model, 1, files),
        "ONNX Runtime alone, ready tensors, side by side": (ready_tensors, model, None, files),
        "torch, file by file": (torch_loop, torch_name, size, files),
        "torch, DataLoader": (torch_loader, torch_name, size, files),
        "Keras, file by file": (keras_files, keras_name, size, files),
        "Keras, batches": (keras_batches, keras_name, size, files),
    }
    if len(networks) > 1:
        jobs[FIRST_ALONE] = (kirik_many, folder_of_first, "onnxruntime", files)
    rates = {name: len(files) / taken for name, taken in in_turns(jobs, rounds).items()}
    result = {
        "machine": {"cores": usable_cores(), "processor": processor()},
        "model": {
            "name": classifier.name,
            "size": size,
            "closer_size": classifier.manifest.preprocessing.size,
        },
        "files": len(files),
        "rounds": rounds,
        "megapixels": round(float(np.mean([megapixels(path) for path in files])), 2),
        "load_before": load,
        "readings_per_second": {name: round(value, 1) for name, value in rates.items()},
        "cold_seconds": round(cold(plainly(files[0]), KIRIK_MODEL=str(model)), 2),
        "keras_cold_seconds": keras_cold(keras_name, size, files[0]),
        "network_mebibytes": {
            name: network_memory(model, name) for name in ("a batch of 16", BESIDE)
        },
        "folder_files": total,
        "resident_mebibytes": round(resident(radiographs, model)),
    }
    print(json.dumps(result, indent=2))
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def in_turns(jobs: dict[str, tuple], rounds: int) -> dict[str, float]:
    """Seconds of each way that is installed: the median of its rounds."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    with ExitStack() as stack:
        # Each in a process of its own: libraries of several makers share no threads well.
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn")))
            for name in jobs
        }
        for name, job in jobs.items():
            if not processes[name].submit(made_ready, *job).result():
                print(f"{name}: not installed")
                del taken[name]
        for number in range(rounds):
            for name, seconds in taken.items():
                seconds.append(processes[name].submit(once).result())
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


_ready: list[Callable] = []


def made_ready(make: Callable, *arguments) -> bool:
    """In a way's own process: make its job and let it run once; False where it is not installed."""
    job = make(*arguments)
    if job is None:
        return False
    job()
    _ready.append(job)
    return True


TURN = 3.0
"""Seconds that a turn takes at least: what is read is a stream, not a start out of cold caches."""


def once() -> float:
    """Seconds of the process's job, done again and again until its turn is over."""
    start, times, taken = time.perf_counter(), 0, 0.0
    while taken < TURN:
        _ready[0]()
        times, taken = times + 1, time.perf_counter() - start
    return taken / times


def kirik_files(model: Path, files: list[Path]) -> Callable:
    classifier = load_model(model, gate=False)
    return lambda: [classifier.read(path) for path in files]


def kirik_many(model: Path, engine: str, files: list[Path]) -> Callable | None:
    try:
        classifier = load_model(model, gate=False, engine=engine)
    except SettingsError:
        return None
    return lambda: list(classifier.read_many(files))


def as_dicom(path: Path, folder: Path) -> Path:
    """The same pixels in an uncompressed DICOM file, as a radiograph comes from its device."""
    pixels = np.asarray(Image.open(path).convert("L"))
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, uid()
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    target = folder / f"{path.stem}.dcm"
    dcmwrite(target, dataset, enforce_file_format=True)
    return target


def networks_of(classifier: Classifier) -> list[Network]:
    """Its network, or a cascade's two."""
    model = classifier._model
    return [model._overview, model._closer] if isinstance(model, Cascade) else [model]


def ready_tensors(model: Path, batch: int | None, files: list[Path]) -> Callable:
    """The networks alone, on the tensors that they get for these files: a session as ONNX Runtime
    opens it, in batches of this size; where None, as kirik runs it, one radiograph a thread."""
    classifier = load_model(model, gate=False)
    prepared = [one for path in files for one in classifier.frames(path)]
    jobs = []
    for network in networks_of(classifier):
        names, tensors = list(network._outputs), inputs_of(network, classifier, prepared)
        if batch is None:
            jobs.append(partial(network._engine.run, names, tensors))
            continue
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        graph = network._where.read_bytes()
        session = onnxruntime.InferenceSession(graph, options, [CPU])
        for start in range(0, len(tensors), batch):
            feed = {"radiograph": tensors[start : start + batch]}
            jobs.append(partial(session.run, names, feed))
    return lambda: [job() for job in jobs]


def inputs_of(network: Network, classifier: Classifier, prepared: list[Prepared]) -> np.ndarray:
    """All that a network is given for these radiographs: uint8 [n, 1, size, size]."""
    given, run = [], network._engine.run

    def recorded(names, radiographs):
        given.append(radiographs)
        return run(names, radiographs)

    network._engine.run = recorded
    for one in prepared:
        classifier.judge([one])
    network._engine.run = run
    return np.concatenate(given)


def _tensor(path: Path, size: int) -> np.ndarray:
    image = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


def torch_loop(name: str, size: int, files: list[Path]) -> Callable | None:
    try:
        import timm
        import torch
    except ImportError:
        return None
    network = timm.create_model(name, num_classes=1).eval()

    def run():
        with torch.inference_mode():
            for path in files:
                network(torch.from_numpy(_tensor(path, size))[None]).sigmoid().item()

    return run


@dataclass
class _Files:
    """A data set for torch's DataLoader."""

    files: list[Path]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> np.ndarray:
        return _tensor(self.files[number], self.size)


def torch_loader(name: str, size: int, files: list[Path]) -> Callable | None:
    try:
        import timm
        import torch
    except ImportError:
        return None
    network = timm.create_model(name, num_classes=1).eval()

    loader = torch.utils.data.DataLoader(
        _Files(files, size), batch_size=BATCH, num_workers=2, persistent_workers=True
    )

    def run():
        with torch.inference_mode():
            for batch in loader:
                network(batch).sigmoid().numpy()

    return run


def _keras(name: str, size: int):
    try:
        import keras
    except ImportError:
        return None
    network = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=2
    )
    return keras, network


def keras_files(name: str, size: int, files: list[Path]) -> Callable | None:
    made = _keras(name, size)
    if made is None:
        return None
    keras, network = made

    def run():
        for path in files:
            image = keras.utils.load_img(path, target_size=(size, size))
            network.predict(keras.utils.img_to_array(image)[None] / 255, verbose=0)

    return run


def keras_batches(name: str, size: int, files: list[Path]) -> Callable | None:
    made = _keras(name, size)
    if made is None:
        return None
    keras, network = made

    def run():
        images = [
            keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size))) / 255
            for path in files
        ]
        network.predict(np.stack(images), batch_size=BATCH, verbose=0)

    return run


def megapixels(path: Path) -> float:
    columns, rows = Image.open(path).size
    return rows * columns / 1e6


def predicting(path: Path, model: Path) -> list[str]:
    return [*plainly(path), "--model", str(model)]


def plainly(path: Path) -> list[str]:
    return [sys.executable, "-m", "kirik", "predict", str(path)]


def cold(command: list[str], **environment: str) -> float:
    """Seconds from the command to its end: the median of five."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


KERAS_SCRIPT = """
import sys, keras
name, size, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=2)
image = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(size, size)))
print(network.predict(image[None] / 255, verbose=0))
"""


def keras_cold(name: str, size: int, path: Path) -> float | None:
    try:
        import keras  # noqa: F401
    except ImportError:
        return None
    return round(cold([sys.executable, "-c", KERAS_SCRIPT, name, str(size), str(path)]), 2)


def resident(folder: Path, model: Path) -> float:
    """MiB that `kirik predict` and its children hold at most while they read a folder; shared pages
    count once."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process, most = subprocess.Popen(predicting(folder, model), **quiet), 0
    while process.poll() is None:
        most = max(most, sum(_proportional(pid) for pid in [process.pid, *_children(process.pid)]))
        time.sleep(0.2)
    return most / 1024


def network_memory(model: Path, how: str) -> int:
    """MiB that a process holds more after it has run batches of 16."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return round(process.submit(_growth, model, how).result() / 1024)


def _growth(model: Path, how: str) -> int:
    classifier = load_model(model, gate=False)
    network = networks_of(classifier)[0]
    names, engine = list(network._outputs), network._engine
    size = network.manifest.preprocessing.size
    session = onnxruntime.InferenceSession(network._where.read_bytes(), providers=[CPU])
    batch = np.zeros((BATCH, 1, size, size), np.uint8)
    before = _proportional(os.getpid())
    for _ in range(3):
        if how == BESIDE:
            engine.run(names, batch)
        else:
            session.run(names, {"radiograph": batch})
    return _proportional(os.getpid()) - before


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return []


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def matrix_rate(side: int = 2048) -> float:
    """10⁹ operations a second of a float32 matrix product: what the machine can do."""
    one = np.random.default_rng(0).random((side, side), np.float32)
    one @ one
    best = min(_timed(lambda: one @ one) for _ in range(5))
    return 2 * side**3 / best / 1e9


def _timed(job: Callable) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    cyclopts.run(main)
