"""`kirik data …`: look at a data set, split it, download it, make phantoms."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from kirik.cli.languages import DEFAULT, Language
from kirik.cli.options import Count, Seed
from kirik.training.settings import Policy

Quality = Annotated[int, Parameter(validator=Number(gte=1, lte=100))]
app = App(name="data", help="Look at a data set, split it, download it, or make phantoms.")


@app.command
def audit(
    directory: Path,
    *,
    json: Path | None = None,
    html: Path | None = None,
    language: Language = DEFAULT,
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
    from kirik.dataset.places import refuse_unwritable
    from kirik.dataset.sources import load_index

    index = load_index(directory)
    refuse_unwritable(json, html)
    with Console().decoding("looking at every file") as progress:
        found = look(index, progress=progress)
    if json:
        found.write_json(json)
    if html:
        write_audit(found, html, language)
    for line in summary_lines(found, language):
        print(line)
    return 0


_UNBOUND = (
    "patients and exams: none known, so that copies alone are kept together; name them in a CSV's "
    "column patient or exam, or give each a folder (DICOM's own ids count)"
)


@app.command
def split(
    directory: Path, *, out: Path, folds: int = 4, test_share: float = 0.2, seed: Seed = 0
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
    from kirik.dataset.groups import nothing_known
    from kirik.dataset.split import class_counts
    from kirik.splitting import split_data

    made, index = split_data(directory, out, folds=folds, test_share=test_share, seed=seed)
    for part, counts in class_counts(made, index).items():
        print(f"{part}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    excluded = sum(a.split == "excluded" for a in made.assignments.values())
    print(f"excluded: {excluded} (the file says why)")
    if nothing_known(index.records):
        print(_UNBOUND)
    print(f"written: {out}")
    return 0


@app.command
def check_split(split: str, directory: Path) -> int:
    """Prove that a split does not leak on a data set, or name the leaks (exit code 1).

    Parameters
    ----------
    split
        The split's file, or the name of a published one, such as fracatlas-v1.
    directory
        The data set.
    """
    from kirik.splitting import check

    leaks, absent, unbound = check(split, directory)
    if absent:
        missing = "1 radiograph" if len(absent) == 1 else f"{len(absent)} radiographs"
        print(f"named by the split, but not there, so not looked at: {missing}")
    for leak in leaks:
        print(leak)
    if unbound:
        print(_UNBOUND)
    print({0: "no leak", 1: "1 leak"}.get(len(leaks), f"{len(leaks)} leaks"))
    return 1 if leaks else 0


@app.command
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
    from kirik.dataset.download import CITATION, LICENCE, download_fracatlas, is_complete

    if is_complete(directory):
        print(f"{directory}: already complete")
    with Console().decoding("downloading, checking, unpacking (bytes)") as progress:
        place = download_fracatlas(directory, progress=progress)
    print(f"{name}: {place}\nLicence: {LICENCE}\nPlease cite: {CITATION}")
    return 0


@app.command
def phantoms(
    directory: Path,
    *,
    count: int = 300,
    seed: Seed = 0,
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


@app.command
def shrink(directory: Path, out: Path, *, size: Count, quality: Quality = 90) -> int:
    """Write a small copy of a data set: grayscale JPEGs, upright, with their boxes and outlines.

    Parameters
    ----------
    directory
        The data set.
    out
        A new folder for the copy, which is a CSV data set.
    size
        Pixels that the longer side has at most.
    quality
        Of the JPEGs.
    """
    from kirik.console import Console
    from kirik.dataset.shrink import shrink as copy
    from kirik.dataset.sources import load_index

    console = Console()
    with console.decoding("copying") as progress:
        failures = copy(load_index(directory), out, size, quality=quality, progress=progress)
    console.unreadable(failures)
    print(f"written: {out}")
    return 1 if failures else 0


@app.command
def augment_preview(
    directory: Path,
    *,
    out: Path,
    policy: Policy = "radiograph",
    count: Count = 6,
    seed: Seed = 0,
    language: Language = DEFAULT,
) -> int:
    """Draw radiographs beside their AutoAugment copies, as training would see them.

    Parameters
    ----------
    directory
        The data set.
    out
        The picture, a PNG or JPEG.
    policy
        The AutoAugment policy.
    count
        How many radiographs, one a row.
    seed
        Chooses the radiographs and what is done to them.
    language
        Of the columns' titles.
    """
    from kirik.dataset.places import refuse_unwritable
    from kirik.dataset.sources import load_index
    from kirik.training.preview import write_preview

    refuse_unwritable(out)
    write_preview(
        load_index(directory), out, policy=policy, count=count, seed=seed, language=language
    )
    print(f"written: {out}")
    return 0
