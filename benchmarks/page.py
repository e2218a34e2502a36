"""docs/performance.md from what the benchmarks of reading wrote.

python benchmarks/page.py [FOLDER]       # FOLDER: docs/performance
"""

import json
from pathlib import Path

import cyclopts

DOCS = Path(__file__).parents[1] / "docs"
PAGE = Path(__file__).with_name("performance.md.in")
MANY, FIRST_ALONE = "kirik, many", "kirik, many, its first network alone"
BESIDE = "ONNX Runtime alone, ready tensors, side by side"
MIXED = "openvino, bfloat16, the gate in float32"


def main(folder: Path = DOCS / "performance"):
    """Write the page beside the folder."""
    reading, engines, reduced = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("reading", "engines", "reduced")
    )
    others = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("reading-*"))
    ]
    page = PAGE.read_text(encoding="utf-8").format(
        **of_reading(reading),
        **of_engines(engines),
        **of_reduced(reduced),
        machines="\n".join(of_machine(said) for said in [reading, *others]),
    )
    (folder.parent / "performance.md").write_text(page, encoding="utf-8")


def of_reading(said: dict) -> dict:
    rates = said["readings_per_second"]
    slowest = rates.get("Keras, file by file")
    alone = {name: rate for name, rate in rates.items() if name.startswith("ONNX Runtime alone")}

    def times(way: str, peer: str) -> str:
        return f"{rates[way] / rates[peer]:.2f}" if peer in rates else "–"

    keras_cold = said.get("keras_cold_seconds")
    size, closer = (said["model"][name] for name in ("size", "closer_size"))
    cascade = closer != size
    return {
        "closer": f"; that kirik looks closer, at {closer} pixels, where the first "
        "finds a fracture not improbable counts against it"
        if cascade
        else "",
        "closer_tensors": ", the second network's among them" if cascade else "",
        "processor": said["machine"]["processor"],
        "cores": said["machine"]["cores"],
        "model": said["model"]["name"],
        "size": size,
        "files": said["files"],
        "rounds": said["rounds"],
        "megapixels": said["megapixels"],
        "ways": "\n".join(
            f"| {name} | {rate} | {f'{rate / slowest:.1f}' if slowest else '–'} |"
            for name, rate in rates.items()
        ),
        "by_file": times("kirik, file by file", "Keras, file by file"),
        "by_file_torch": times("kirik, file by file", "torch, file by file"),
        "many_by_file": times(MANY, "Keras, file by file"),
        "many": times(MANY, "Keras, batches"),
        "many_torch": times(MANY, "torch, file by file"),
        "alone": f" With its first network alone, which is the peers' work and no more, it is "
        f"{times(FIRST_ALONE, 'Keras, file by file')}, {times(FIRST_ALONE, 'Keras, batches')} and "
        f"{times(FIRST_ALONE, 'torch, file by file')} times as fast."
        if FIRST_ALONE in rates
        else "",
        "overhead": rates[MANY] / max(alone.values()),
        "overhead_one": rates[MANY] / rates["ONNX Runtime alone, ready tensors, one by one"],
        "overhead_batches": rates[MANY] / rates["ONNX Runtime alone, ready tensors, in batches"],
        "cold": said["cold_seconds"],
        "keras_cold": f"; the Keras script: {keras_cold} s" if keras_cold else "",
        "resident": said["resident_mebibytes"],
        "folder_files": f"{said['folder_files']:,}",
        "batch_memory": said["network_mebibytes"]["a batch of 16"],
        "side_memory": said["network_mebibytes"]["side by side"],
    }


def of_machine(said: dict) -> str:
    """Rows of a run: how many times as fast as its peers kirik was, whole, and with their work."""
    rates = said["readings_per_second"]

    def row(way: str, beside: str, cold: str) -> str:
        peers = ("Keras, file by file", "Keras, batches", "torch, file by file", beside)
        times = (f"{rates[way] / rates[peer]:.2f}" if peer in rates else "–" for peer in peers)
        return f"| {said['machine']['processor']} | {way} | {' | '.join(times)} | {cold} |"

    keras_cold = said.get("keras_cold_seconds")
    whole = row(MANY, BESIDE, f"{keras_cold / said['cold_seconds']:.1f}" if keras_cold else "–")
    return f"{whole}\n{row(FIRST_ALONE, '', '–')}" if FIRST_ALONE in rates else whole


def of_engines(said: dict) -> dict:
    rows, flop, peak = said["engines"], said["gflop_a_reading"], said["peak_gflops"]
    best = {
        name: max(row["batches_per_second"], row["singles_per_second"])
        for name, row in rows.items()
    }
    gain = {
        name: rows[MIXED][f"{name}_per_second"] / rows["openvino"][f"{name}_per_second"]
        for name in ("batches", "singles")
    }
    roofs = {"onnxruntime": "f32", "openvino": "f32", "openvino, bfloat16": "bf16"}
    return {
        "engine_files": said["radiographs"],
        "part": said["part"],
        "engines": "\n".join(
            f"| {name} | {row['batches_per_second']} | {row['singles_per_second']}"
            f" | {row['auroc']:.4f} | {row['largest_move']:.3f} | {row['mean_move']:.4f}"
            f" | {row['decisions_flipped']:.1%} | {row['out_of_scope']} |"
            for name, row in rows.items()
        ),
        "mixed_one": f"{gain['singles']:.2f}",
        "mixed_batches": f"{gain['batches']:.2f}",
        "gflop": flop,
        "peak": peak["f32"],
        "peak_bf16": peak["bf16"],
        "roofline": "\n".join(
            f"| {name} | {best[name] * flop:.0f} | {best[name] * flop / peak[kind]:.0%} |"
            for name, kind in roofs.items()
        ),
    }


def of_reduced(said: dict) -> dict:
    names = {"noise": "full size, ±1 level in 5 % of the pixels"}
    return {
        "reduced_files": said["radiographs"],
        "reduced": "\n".join(
            f"| {names.get(name, name)} | {row['pixels_changed']:.1%} | {row['mean_move']:.4f}"
            f" | {row['largest_move']:.3f} | {row['moved_more_than_0.002']:.0%} |"
            for name, row in said["ways"].items()
        ),
    }


if __name__ == "__main__":
    cyclopts.run(main)
