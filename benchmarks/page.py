"""docs/performance.md from what the benchmarks of reading wrote.

python benchmarks/page.py [FOLDER]       # FOLDER: docs/performance
"""

import json
from pathlib import Path

import cyclopts

HERE = Path(__file__).parents[1] / "docs"

PAGE = Path(__file__).with_name("performance.md.in")


def main(folder: Path = HERE / "performance", *, gflops: float = 1.5):
    """Write the page beside the folder. gflops: 10⁹ multiplications and additions a reading."""
    reading, engines = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("reading", "engines")
    )
    rates = reading["readings_per_second"]
    slowest = rates.get("Keras, file by file")
    ways = [
        f"| {name} | {rate} | {rate / slowest:.1f} |" if slowest else f"| {name} | {rate} | – |"
        for name, rate in rates.items()
    ]
    rows = [
        f"| {name} | {row['batches_per_second']} | {row['singles_per_second']} | {row['auroc']:.4f}"
        f" | {row['largest_move']:.3f} | {row['mean_move']:.4f} | {row['decisions_flipped']:.1%}"
        f" | {row['out_of_scope']} |"
        for name, row in engines["engines"].items()
    ]
    fastest = max(row["batches_per_second"] for row in engines["engines"].values())
    keras_cold = reading.get("keras_cold_seconds")
    torch_rate = rates.get("torch, file by file")
    single = rates["kirik, file by file"]
    page = PAGE.read_text(encoding="utf-8").format(
        processor=reading["machine"]["processor"],
        cores=reading["machine"]["cores"],
        model=reading["model"]["name"],
        size=reading["model"]["size"],
        files=reading["files"],
        ways="\n".join(ways),
        cold=reading["cold_seconds"],
        keras_cold=f"; the Keras script: {keras_cold} s" if keras_cold else "",
        resident=reading["resident_mebibytes"],
        by_file=single / slowest if slowest else float("nan"),
        and_torch=f" and {single / torch_rate:.1f} times as torch" if torch_rate else "",
        many=rates["kirik, many"] / rates.get("Keras, batches", float("nan")),
        overhead=rates["kirik, many"] / rates["ONNX Runtime alone, ready tensors"],
        engine_files=engines["radiographs"],
        part=engines["part"],
        engines="\n".join(rows),
        gflop=gflops,
        reached=gflops * engines["engines"]["onnxruntime"]["batches_per_second"],
        best_reached=gflops * fastest,
        peak=reading["peak_gflops"],
    )
    (folder.parent / "performance.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
