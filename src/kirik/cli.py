"""The command `kirik`: parses, calls one function, prints.

Exit codes: 0 all went well; 1 done, but some files could not be read, or a split leaks; 2 nothing
could be done, and one line on standard error says why; 130 stopped with Ctrl-C.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from kirik import __version__
from kirik.errors import KirikError, SettingsError
from kirik.training.settings import Policy, TrainingSettings

Language = Literal["en", "tr"]
Settings = Annotated[TrainingSettings, Parameter(name="*")]
DEFAULTS = TrainingSettings()
SHOWN = 100
"""Readings in the terminal's table; files hold them all."""

app = App(
    name="kirik",
    help="Reads plain radiographs for fractures, and makes and measures the model that does. "
    "For research and decision support; not a medical device.",
    version=__version__,
    result_action="return_value",
)
data = App(name="data", help="Look at a data set, split it, download it, or make phantoms.")
app.command(data)


@data.command
def audit(
    directory: Path,
    *,
    json: Path | None = None,
    html: Path | None = None,
    language: Language = "en",
) -> int:
    """Say what is in a data set, and everything that is wrong with it.

    Parameters
    ----------
    directory
        FracAtlas, a folder per class, or a CSV of paths and labels.
    json
        Write everything that was found to this file.
    html
        Write a page with sample radiographs and explanations to this file.
    language
        Of the page and the summary.
    """
    from kirik.console import Console
    from kirik.dataset.audit import audit as look
    from kirik.dataset.audit_page import summary_lines, write_audit
    from kirik.dataset.sources import load_index

    index = load_index(directory)
    with Console().decoding("looking at every file") as progress:
        found = look(index, progress=progress)
    if json:
        found.write_json(json)
    if html:
        write_audit(found, html, language)
    for line in summary_lines(found, language):
        print(line)
    return 0


@data.command
def split(
    directory: Path, *, out: Path, folds: int = 4, test_share: float = 0.2, seed: int = 0
) -> int:
    """Split a data set so that no exam, patient or duplicate is on two sides.

    Parameters
    ----------
    directory
        The data set.
    out
        The split's file, a CSV.
    folds
        Parts of the development radiographs, at least 2.
    test_share
        Share of the radiographs that is kept for a last test.
    seed
        Another seed gives another split.
    """
    from kirik.dataset.split import class_counts
    from kirik.workflow import split_data

    made, index = split_data(directory, out, folds=folds, test_share=test_share, seed=seed)
    for part, counts in class_counts(made, index).items():
        print(f"{part}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    excluded = sum(a.split == "excluded" for a in made.assignments.values())
    print(f"excluded: {excluded} (the file says why)")
    print(f"written: {out}")
    return 0


@data.command
def check_split(split: str, directory: Path) -> int:
    """Prove that a split does not leak on a data set, or name the leaks (exit code 1).

    Parameters
    ----------
    split
        The split's file, or the name of a published one, such as fracatlas-v1.
    directory
        The data set.
    """
    from kirik.workflow import check

    leaks, absent = check(split, directory)
    if absent:
        print(
            f"{len(absent)} radiographs that the split names are not there; they were not looked at"
        )
    for leak in leaks:
        print(leak)
    print(f"{len(leaks)} leaks" if leaks else "no leak")
    return 1 if leaks else 0


@data.command
def download(name: Literal["fracatlas"], directory: Path) -> int:
    """Download a data set, check it, and unpack it. A broken download goes on where it stopped.

    Parameters
    ----------
    name
        Which data set.
    directory
        Where to put it.
    """
    from kirik.console import Console
    from kirik.dataset.download import CITATION, LICENCE, download_fracatlas

    with Console().decoding("downloading") as progress:
        place = download_fracatlas(directory, progress=progress)
    print(f"{name}: {place}\nLicence: {LICENCE}\nPlease cite: {CITATION}")
    return 0


@data.command
def phantoms(
    directory: Path,
    *,
    count: int = 300,
    seed: int = 0,
    size: int = 450,
    form: Literal["fracatlas", "folders"] = "fracatlas",
    image_format: Literal["jpeg", "png", "dicom", "mixed"] = "jpeg",
    fractured_share: float = 0.3,
) -> int:
    """Write synthetic radiographs with known fractures, for tests and demonstrations.

    Parameters
    ----------
    directory
        A new or empty folder.
    count
        How many radiographs.
    seed
        The same seed gives the same files.
    size
        Longer side in pixels.
    form
        FracAtlas's layout, or a folder for each type of fracture.
    image_format
        The files' format.
    fractured_share
        Share of the fractured ones.
    """
    from kirik.console import Console
    from kirik.dataset.phantoms import write_phantoms

    with Console().decoding("drawing") as progress:
        write_phantoms(
            directory,
            count=count,
            seed=seed,
            size=size,
            form=form,
            image_format=image_format,
            fractured_share=fractured_share,
            progress=progress,
        )
    print(f"written: {directory}")
    return 0


@data.command
def augment_preview(
    directory: Path, *, out: Path, policy: Policy = "radiograph", count: int = 6, seed: int = 0
) -> int:
    """Draw radiographs beside their AutoAugment copies, as training would see them.

    Parameters
    ----------
    directory
        The data set.
    out
        The picture, a PNG.
    policy
        The AutoAugment policy.
    count
        How many radiographs, one a row.
    seed
        Chooses the radiographs and what is done to them.
    """
    from kirik.dataset.sources import load_index
    from kirik.training.preview import write_preview

    write_preview(load_index(directory), out, policy=policy, count=count, seed=seed)
    print(f"written: {out}")
    return 0


@app.command
def train(
    directory: Path = Path(),
    *,
    split: str | None = None,
    fold: int | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    settings_file: Annotated[Path | None, Parameter(name="--settings")] = None,
    language: Language = "en",
    settings: Settings = DEFAULTS,
) -> int:
    """Train a classifier, measure it on the fold left out, and write its bundle.

    Parameters
    ----------
    directory
        The data set; the folder that one stands in, if none is named.
    split
        The split's file, or the name of a published one, such as fracatlas-v1.
    fold
        The fold to leave out and to report on; without it, all of the development part trains.
    out
        The run's folder; runs/NETWORK-foldN-seedS if none is named.
    resume
        Go on with this run, which was stopped.
    settings_file
        A TOML file with any of the settings below; what is given on the command line wins.
    language
        Of the report.
    """
    from kirik import workflow
    from kirik.console import Console
    from kirik.dataset.split import load_split

    console = Console(quiet=os.environ.get("RANK", "0") != "0")
    if resume:
        moved = directory if directory != Path() else None
        return _trained(workflow.resume(resume, moved, language, console))
    if split is None:
        raise SettingsError(
            "no split; name one with --split (kirik data split makes it; fracatlas-v1 is published)"
        )
    chosen = _merged(settings, settings_file)
    name = f"{chosen.network}-{'all' if fold is None else f'fold{fold}'}-seed{chosen.seed}"
    run = out or Path("runs") / name
    return _trained(
        workflow.train(
            directory,
            chosen,
            run,
            split=load_split(split),
            fold=fold,
            language=language,
            console=console,
        )
    )


def _merged(settings: TrainingSettings, file: Path | None) -> TrainingSettings:
    """The settings of a TOML file, overruled by those that were given as flags."""
    if file is None:
        return settings
    import tomllib

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not a readable TOML file ({error})") from error
    given = settings.model_dump(include=settings.model_fields_set)
    return TrainingSettings.parse(values | given, where=str(file))


def _trained(bundle: Path | None) -> int:
    if bundle is None:
        return 0
    report = bundle.parent / "report" / "report.html"
    print(f"bundle: {bundle}")
    if report.is_file():
        print(f"report: {report}")
    return 0


@app.command
def evaluate(
    model: Path,
    directory: Path,
    *,
    split: str,
    part: str,
    out: Path,
    threshold: float = 0.5,
    bootstrap: int = 2000,
    seed: int = 0,
    language: Language = "en",
) -> int:
    """Measure a bundle or a run on one part of a split: report.html, metrics.json, predictions.csv.

    Parameters
    ----------
    model
        A bundle, or the run that made it.
    directory
        The data set.
    split
        The split's file, or the name of a published one.
    part
        test, dev, all, fold1 …, or train1 … (dev without that fold).
    out
        Folder of the report.
    threshold
        From this probability on, a radiograph counts as called fractured.
    bootstrap
        Replicates for the confidence intervals.
    seed
        Of the bootstrap.
    language
        Of the report.
    """
    from kirik.evaluation.metrics import headline
    from kirik.workflow import evaluate as measure

    metrics = measure(
        model,
        directory,
        split=split,
        part=part,
        out=out,
        threshold=threshold,
        bootstrap=bootstrap,
        seed=seed,
        language=language,
    )
    print(headline(metrics))
    print(f"report: {out / 'report.html'}")
    return 0


@app.command
def predict(
    paths: Annotated[list[Path], Parameter(negative="")],
    *,
    model: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    overlay: Path | None = None,
    threads: int | None = None,
    language: Language = "en",
) -> int:
    """Read radiographs: JPEG, PNG, TIFF or DICOM files, and folders of them.

    Parameters
    ----------
    paths
        Files and folders.
    model
        A bundle, or the run that made it; else $KIRIK_MODEL, else the model that kirik ships.
    json
        Write the readings to this file: a list with one object a file.
    csv
        Write the readings to this file: one row a file.
    overlay
        Write a picture of each reading into this folder.
    threads
        Processor threads for the network; all of them if not given.
    language
        Of the table and the pictures.
    """
    from kirik.console import Console
    from kirik.output.table import failures_list, print_table
    from kirik.predict import predict as read
    from kirik.reading.classifier import load_model
    from kirik.reading.reading import Failure

    classifier, console, shown = load_model(model, threads=threads), Console(), []
    with console.reading(len(paths)) as progress:

        def keep(result, done: int, total: int) -> None:
            if len(shown) < SHOWN and not isinstance(result, Failure):
                shown.append(result)
            progress(done, total)

        summary = read(
            paths,
            classifier,
            json=json,
            csv=csv,
            overlay=overlay,
            language=language,
            progress=keep,
        )
    if shown:
        print_table(shown, language, total=summary.read)
    if summary.failures:
        console.rich.print(failures_list(summary.failures, language))
    for problem in summary.problems:
        console.say(f"kirik: {problem}")
    return summary.exit_code


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command `kirik`."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what is wrong is said in one line."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _refuse(_first_lines(str(error)))
    except KirikError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return _refuse("stopped", code=130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has gone
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in _EXPLAINED:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{where}{_EXPLAINED[error.errno]}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _TRAINING_PACKAGES:
            raise
        return _refuse(
            f"{error.name} is not installed; training needs it: pip install kirik[train]"
        )
    return code or 0


_TRAINING_PACKAGES = {"torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript"}
_EXPLAINED = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EACCES: "no permission; check who owns it, or name another place",
    errno.EPERM: "not permitted; name another place",
    errno.EROFS: "the file system is read-only; name another place",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder; name a file",
    errno.ENOTDIR: "is not a folder",
}


def _first_lines(text: str) -> str:
    """A parser's message in one line, without pydantic's pointers to its own documentation."""
    lines = [line.strip() for line in text.splitlines() if "errors.pydantic.dev" not in line]
    return " ".join(line.split(" [type=")[0] for line in lines if line)


def _refuse(message: str, code: int = 2) -> int:
    print(f"kirik: {message}", file=sys.stderr)
    return code
