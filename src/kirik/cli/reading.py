"""`kirik predict`: the readings of files and folders; `kirik models`: what reads them."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kirik.cli.options import Language

SHOWN = 100
"""Readings in the terminal's table; files hold them all."""


def predict(
    paths: Annotated[list[Path], Parameter(negative="")],
    *,
    model: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    parquet: Path | None = None,
    overlay: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    workers: int | None = None,
    engine: Literal["onnxruntime", "openvino", "openvino-bfloat16"] = "onnxruntime",
    language: Language = "en",
) -> int:
    """Read radiographs: JPEG, PNG, TIFF or DICOM files, folders and zips of them, DICOMDIRs.

    Parameters
    ----------
    paths
        Files, folders, zips, DICOMDIRs.
    model
        A shipped model's name (see kirik models), a bundle, or the run that made it; else
        $KIRIK_MODEL, else the default one that kirik ships.
    json
        Write the readings to this file: a list with one object a file, or, if its name ends in
        .jsonl, one object a line.
    csv
        Write the readings to this file: one row a file.
    parquet
        Write the readings to this file, in the CSV's columns.
    overlay
        Write a picture of each reading into this folder.
    resume
        Go on with the files that a stopped run left (NAME.partial): read only what they lack.
    threads
        Processor threads for the network; all of them if not given.
    workers
        Processes that decode; as many as there are cores, at most 8, if not given.
    engine
        What computes the network; OpenVINO needs kirik[openvino].
    language
        Of the table and the pictures.
    """
    from kirik.reading.decoder import Decoders

    # While this process still imports what it needs, the first child gets ready to decode.
    decoders = Decoders()
    decoders.start()
    from kirik.console import Console
    from kirik.output.table import failures_list, print_table
    from kirik.predict import predict as read
    from kirik.reading.classifier import load_model
    from kirik.reading.reading import Failure

    classifier = load_model(model, threads=threads, engine=engine, decoders=decoders)
    console, shown = Console(), []
    with console.reading(len(paths)) as progress:

        def keep(result, done: int, total: int | None) -> None:
            if len(shown) < SHOWN and not isinstance(result, Failure):
                shown.append(result)
            progress(done, total)

        summary = read(
            paths,
            classifier,
            json=json,
            csv=csv,
            parquet=parquet,
            overlay=overlay,
            resume=resume,
            workers=workers,
            language=language,
            progress=keep,
        )
    if shown:
        print_table(shown, language, total=summary.read)
    if summary.before:
        console.say(f"{summary.before} were read before and are in the files")
    if summary.failures:
        console.rich.print(failures_list(summary.failures, language))
    for problem in summary.problems:
        console.say(f"kirik: {problem}")
    return summary.exit_code


def models(*, language: Language = "en") -> int:
    """List the models that ship with kirik, the default one first.

    Parameters
    ----------
    language
        Of the list.
    """
    from kirik.bundle import load_bundle, shipped_models
    from kirik.output.models import print_models

    print_models([load_bundle(path) for path in shipped_models().values()], language)
    return 0
