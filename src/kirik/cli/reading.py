"""`kirik predict`: the readings of files and folders; `kirik models`: what reads them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from os.path import samestat
from pathlib import Path
from typing import Literal

from kirik.cli.languages import DEFAULT, Language
from kirik.errors import SettingsError
from kirik.output.files import is_stream, refuse_urls

# Without the parser, which takes longer to load than a radiograph to read: where only paths are
# given, nobody waits for it (see `kirik.cli.run`).

SHOWN = 100
"""Readings in the terminal's table; files hold them all."""


def predict(
    paths: list[str],
    *,
    model: Path | None = None,
    json: str | None = None,
    csv: str | None = None,
    parquet: str | None = None,
    overlay: str | None = None,
    resume: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    engine: Literal["onnxruntime", "openvino"] = "onnxruntime",
    language: Language = DEFAULT,
    cluster: Literal["ray"] | None = None,
    partition: int | None = None,
) -> int:
    """Read radiographs: JPEG, PNG, TIFF or DICOM files, folders and zips of them, DICOMDIRs.

    Parameters
    ----------
    paths
        Files, folders, zips, DICOMDIRs; with --cluster also URLs of stores, such as
        s3://BUCKET/FOLDER.
    model
        A shipped model's name (see kirik models), a bundle, or the run that made it; else
        $KIRIK_MODEL, else the default one that kirik ships.
    json
        Write the readings to this file: a list with one object a file, or, if its name ends in
        .jsonl, one object a line.
    csv
        Write the readings to this file: one row a file.
    parquet
        Write the readings to this file, in the CSV's columns; with --cluster, to this folder or
        URL, a file for each partition.
    overlay
        Write a picture of each reading into this folder: NAME.overlay.png, or NAME-HASH.overlay.png
        where the first is another file's, by a hash of its path.
    resume
        Go on with the files that a stopped run left (NAME.partial): read only what they lack.
    threads
        Processor threads for the network; all of them if not given. With --cluster, of each of
        the processes: 1 if not given.
    workers
        Processes that decode; if not given, as many as there are cores, at most 8, and a quarter of
        them beside a heavy model. With --cluster, of each of the processes: two a thread.
    engine
        What computes the network; OpenVINO needs pip install '.[openvino]' in kirik's clone.
    language
        Of the table and the pictures.
    cluster
        Read on the machines of a cluster: ray takes the one of $RAY_ADDRESS, or of this machine.
    partition
        Files in a partition of the cluster's work; 1,000 if not given.
    """
    if "" in (*paths, json, csv, parquet, overlay):
        raise SettingsError("an empty path; name a file or a folder, or . for this one")
    if partition is not None and partition < 1:
        raise SettingsError(f"--partition {partition}: must be 1 or more")
    if cluster:
        _refuse_with_cluster(json=json, csv=csv, overlay=overlay)
        if not parquet:
            raise SettingsError("with --cluster, name a folder or URL by --parquet")
        return _predict_on_cluster(
            paths, model, parquet, resume, partition, threads, workers, engine, language
        )
    if partition is not None:
        raise SettingsError("--partition goes with --cluster alone; leave it out")
    refuse_urls(*paths, json, csv, parquet, overlay)
    from kirik.predict import predict as read
    from kirik.reading.classifier import load_model
    from kirik.reading.reading import Failure

    _load_meanwhile("kirik.output.table")
    classifier = load_model(model, threads=threads, engine=engine)
    from kirik.console import Console
    from kirik.output.table import failures_list, print_table
    from kirik.output.words import texts

    console, shown, failed, before = Console(), [], 0, None
    with _resumable(json, csv, parquet), console.reading(None) as progress:

        def keep(result, done: int, total: int | None) -> None:
            nonlocal failed, before
            before = done - 1 if before is None else before
            if isinstance(result, Failure):
                failed += 1
            elif len(shown) < SHOWN:
                shown.append(result)
            progress(done, total, failed, before=before)

        summary = read(
            [*map(Path, paths)],
            classifier,
            json=json,
            csv=csv,
            parquet=parquet,
            overlay=overlay,
            resume=resume,
            workers=workers,
            language=language,
            progress=keep,
            count=console.rich.is_terminal,
            on_problem=lambda problem: console.say(f"kirik: {problem}"),
        )
    if shown and not (_taken(json) or _taken(csv)):
        print_table(shown, language, total=summary.read - summary.before + summary.failed_before)
    if summary.before:
        console.say(f"{summary.before} were read before and are in the files")
    if summary.failures:
        failed = len(summary.failures) + summary.untold
        console.rich.print(failures_list(summary.failures, language, total=failed))
    for one in summary.undrawn:
        console.say(f"kirik: {one.error}")
    if summary.undrawn_untold:
        console.say(texts(language)["more"].format(count=summary.undrawn_untold))
    if summary.problems and _to_go_on_with(json, csv, parquet):
        console.say(f"kirik: {_GO_ON}")
    return summary.exit_code


def _load_meanwhile(module: str) -> None:
    """Load what shows the readings while the engine loads networks, mostly outside of Python's
    lock. Who imports it waits for it."""
    with suppress(RuntimeError):  # the system gives no thread
        threading.Thread(target=import_module, args=(module,)).start()


_GO_ON = "the same command with --resume goes on from here"


@contextmanager
def _resumable(*places: str | None) -> Iterator[None]:
    """Say of a stop how to go on, where there are files to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        if _to_go_on_with(*places):
            raise KeyboardInterrupt(f"stopped; {_GO_ON}") from None
        raise


def _to_go_on_with(*places: str | None) -> bool:
    """Whether a further run need not read all again: for a stream it must. With --cluster, one
    is a folder."""
    named = [Path(place) for place in places if place]
    return bool(named) and not any(is_stream(place) and not place.is_dir() for place in named)


def _taken(place: str | None) -> bool:
    """Whether a file to write is this command's standard output, so that nothing else may stand
    there."""
    try:
        return bool(place) and is_stream(Path(place)) and samestat(os.stat(place), os.fstat(1))  # noqa: PTH116
    except OSError:
        return False


def _refuse_with_cluster(**places: str | None) -> None:
    for name, place in places.items():
        if place:
            raise SettingsError(f"--{name} does not go with --cluster, which writes --parquet")


def _predict_on_cluster(
    paths: list[str],
    model: Path | None,
    parquet: str,
    resume: bool,
    each: int | None,
    cores: int | None,
    workers: int | None,
    engine: str,
    language: str,
) -> int:
    from kirik.cluster import EACH, predict_on_cluster
    from kirik.console import Console
    from kirik.output.table import counts_line, failures_list
    from kirik.reading.classifier import load_model

    classifier, console = load_model(model, threads=1, engine=engine), Console()
    before: int | None = None
    with _resumable(parquet), console.reading(None) as progress:

        def show(done: int, total: int, failed: int) -> None:
            nonlocal before
            before = done if before is None else before
            progress(done, total, failed, before=before)

        summary = predict_on_cluster(
            paths,
            classifier,
            parquet=parquet,
            resume=resume,
            each=each or EACH,
            cores=cores,
            workers=workers,
            engine=engine,
            progress=show,
        )
    if summary.before:
        console.say(f"{summary.before} were read before and are in the files")
    if summary.failures:
        failed = len(summary.failures) + summary.untold
        console.rich.print(failures_list(summary.failures[:SHOWN], language, total=failed))
    for problem in summary.problems[:SHOWN]:
        console.say(f"kirik: {problem}")
    if summary.problems:
        console.say("kirik: run the same command with --resume to read what was left out")
    print(counts_line(summary.read, summary.failed, language))
    return summary.exit_code


def models(*, language: Language = DEFAULT) -> int:
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
