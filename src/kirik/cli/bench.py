"""`kirik train`, `crossval`, `evaluate`, `compare`, `ensemble`: where a model is made."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kirik.cli.languages import DEFAULT, Language
from kirik.cli.options import Count, Probability, Seed
from kirik.errors import SettingsError
from kirik.training.settings import PLACES, TrainingSettings

Settings = Annotated[TrainingSettings, Parameter(name="*")]
DEFAULTS = TrainingSettings()


def train(
    directory: Path = Path(),
    *,
    split: str | None = None,
    fold: int | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    settings_file: Annotated[Path | None, Parameter(name="--settings")] = None,
    language: Language = DEFAULT,
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
        if settings.model_fields_set or split or fold is not None or out or settings_file:
            raise SettingsError(
                f"{resume}: a resumed run keeps its own settings, split and folder; "
                "leave the other options out, or start a new run"
            )
        moved = directory if directory != Path() else None
        return _trained(workflow.resume(resume, moved, language, console), console)
    if split is None:
        raise SettingsError(
            "no split; name one with --split (kirik data split makes it; fracatlas-v1 is published)"
        )
    chosen = _chosen(settings, settings_file)
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
        ),
        console,
    )


def crossval(
    directory: Path,
    *,
    split: str,
    out: Path,
    final: Literal["single", "average", "none"] = "single",
    at_once: Count = 1,
    bootstrap: Count = 2000,
    settings_file: Annotated[Path | None, Parameter(name="--settings")] = None,
    language: Language = DEFAULT,
    settings: Settings = DEFAULTS,
) -> int:
    """Train once for each fold without it, measure on all folds, and make the model of them.

    What a model needs beside its weights (calibration, operating points, scope) is chosen on the
    readings of the folds left out. The same command goes on with what was stopped.

    Parameters
    ----------
    directory
        The data set.
    split
        The split's file, or the name of a published one, such as fracatlas-v1.
    out
        Folder of the runs, the report and the bundle; its name is the model's.
    final
        The model: `single`, one more network trained on all folds; `average`, the folds' networks
        together; `none`, the figures alone.
    at_once
        Trainings that run side by side, which share the GPU or the cores.
    bootstrap
        Replicates for the confidence intervals.
    settings_file
        A TOML file with any of the settings below; what is given on the command line wins.
    language
        Of the report.
    """
    # One in a settings file is another run's, whose other settings are asked for.
    if "validation" in settings.model_fields_set and settings.validation:
        raise SettingsError(
            "--validation: cross-validation holds nothing back, as the folds left out choose; "
            "leave it away"
        )
    from kirik.console import Console
    from kirik.crossval import cross_validate
    from kirik.dataset.split import load_split
    from kirik.training.run import resolve

    metrics, bundle = cross_validate(
        directory,
        resolve(_chosen(settings, settings_file)),
        out,
        split=load_split(split),
        final=final,
        at_once=at_once,
        bootstrap=bootstrap,
        language=language,
        console=Console(),
    )
    return _told(metrics, out, bundle, language)


def _told(metrics, out: Path, bundle: Path | None, language: str) -> int:
    """Say what cross-validation came to, and where it lies."""
    from kirik.evaluation.metrics import headline

    print(headline(metrics, language))
    print(f"report: {out / 'report' / 'report.html'}")
    if bundle:
        print(f"bundle: {bundle}")
    return 0


def _chosen(settings: TrainingSettings, file: Path | None) -> TrainingSettings:
    """The settings of a TOML file, overruled by those that were given as flags. Raises
    SettingsError for flags that cannot act; a file may state all settings."""
    chosen = _merged(settings, file)
    for names, acts, beside in (
        (
            ("looks", "looks_from", "close_ups", "overview_weight"),
            chosen.overview,
            "without --overview",
        ),
        (("policy",), chosen.balance == "autoaugment", f"with --balance {chosen.balance}"),
        (("box_weight",), chosen.masks, "with --no-masks"),
    ):
        idle = [name for name in names if name in settings.model_fields_set and not acts]
        if idle:
            flag = f"--{idle[0].replace('_', '-')}"
            raise SettingsError(f"{flag} does nothing {beside}; change that, or leave {flag} out")
    return chosen


def _merged(settings: TrainingSettings, file: Path | None) -> TrainingSettings:
    if file is None:
        return settings
    import tomllib

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SettingsError(f"{file}: no such file") from error
    except IsADirectoryError as error:
        raise SettingsError(f"{file}: is a folder; name a TOML file") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not a readable TOML file ({error})") from error
    given = settings.model_dump(include=settings.model_fields_set)
    return TrainingSettings.parse(values | given, where=str(file))


def _trained(trained, console) -> int:
    if trained.bundle is None:
        return 0
    console.unreadable(trained.unreadable)
    report = trained.bundle.parent / "report" / "report.html"
    print(f"bundle: {trained.bundle}")
    if report.is_file():
        print(f"report: {report}")
    return 1 if trained.unreadable else 0


def evaluate(
    model: Path,
    directory: Path,
    *,
    split: str,
    part: str,
    out: Path,
    threshold: Probability | None = None,
    bootstrap: Count = 2000,
    seed: Seed = 0,
    language: Language = DEFAULT,
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
        From this probability on, a radiograph counts as called fractured; the bundle's upper
        operating point if not given.
    bootstrap
        Replicates for the confidence intervals.
    seed
        Of the bootstrap.
    language
        Of the report.
    """
    from kirik.console import Console
    from kirik.evaluation.metrics import headline
    from kirik.measuring import evaluate as measure

    console = Console()
    metrics, unreadable = measure(
        model,
        directory,
        split=split,
        part=part,
        out=out,
        threshold=threshold,
        bootstrap=bootstrap,
        seed=seed,
        language=language,
        console=console,
    )
    console.unreadable(unreadable)
    print(headline(metrics, language))
    print(f"report: {out / 'report.html'}")
    return 1 if unreadable else 0


def compare(
    runs: Annotated[list[Path], Parameter(negative="")],
    *,
    html: Path | None = None,
    bootstrap: Count = 2000,
    seed: Seed = 0,
    language: Language = DEFAULT,
) -> int:
    """Put runs side by side, with paired differences on the radiographs that they have in common.

    Parameters
    ----------
    runs
        Training runs, or folders that kirik evaluate wrote; the first is the reference.
    html
        Write the comparison as a page, too.
    bootstrap
        Replicates for the confidence intervals.
    seed
        Of the bootstrap.
    language
        Of table and page.
    """
    from kirik.dataset.places import refuse_unwritable
    from kirik.evaluation.compare_page import print_comparison, write_comparison
    from kirik.measuring import compare_runs

    refuse_unwritable(html)
    comparison = compare_runs(runs, bootstrap=bootstrap, seed=seed)
    if html:
        write_comparison(html, comparison, language)
    print_comparison(comparison, language=language)
    return 0


def ensemble(
    members: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path,
    data: Path | None = None,
    split: str | None = None,
    bootstrap: Count = 2000,
    language: Language = DEFAULT,
) -> int:
    """Average the calibrated probabilities of several models, as one bundle.

    With `--data` and `--split`, of cross-validated models, whose average is then measured and
    calibrated out of fold as each of them was.

    Parameters
    ----------
    members
        Bundles, or the runs that made them, for the same classes.
    out
        The new bundle's folder; with `--data`, the folder of the report and the bundle.
    data
        The data set on which the members were cross-validated.
    split
        Their split: a file, or the name of a published one.
    bootstrap
        Replicates for the confidence intervals.
    language
        Of the report.
    """
    from kirik.bundle import model_name
    from kirik.card import with_card
    from kirik.joining import average_bundles
    from kirik.trainings import refuse_several_processes

    if (data is None) != (split is None):
        raise SettingsError("--data and --split belong together; give both, or neither")
    if data is None:
        refuse_several_processes("ensemble")
        with_card(average_bundles(members, out, model_name(out)))
        print(f"bundle: {out}")
        return 0
    from kirik.averaging import average_cross_validated
    from kirik.console import Console
    from kirik.dataset.split import load_split

    metrics, bundle = average_cross_validated(
        data,
        members,
        out,
        split=load_split(split),
        bootstrap=bootstrap,
        language=language,
        console=Console(),
    )
    return _told(metrics, out, bundle, language)


def study(
    folder: Path,
    *,
    add: Annotated[list[Path], Parameter(negative="", consume_multiple=True)] = [],  # noqa: B006 (cyclopts copies it)
    ablation: Annotated[list[str], Parameter(negative="", consume_multiple=True)] = [],  # noqa: B006
    out: Path | None = None,
    bootstrap: Count = 2000,
    seed: Seed = 0,
) -> int:
    """Put cross-validated models side by side in one Markdown file.

    Parameters
    ----------
    folder
        What is kept of each model: a folder of its name, with predictions.csv and metrics.json.
    add
        Cross-validated runs whose files are copied there first.
    ablation
        TOPIC/NAME=RUN: a run on one fold that is copied there as a row of a topic's table.
    out
        The file; FOLDER.md if none is named.
    bootstrap
        Replicates for the confidence intervals.
    seed
        Of the bootstrap.
    """
    from kirik.dataset.places import refuse_unwritable
    from kirik.evaluation.studied import add_ablation, add_runs
    from kirik.evaluation.study import write_study

    named = folder if folder.name not in ("", "..") else folder.resolve()
    out = out or named.parent / f"{named.name}.md"
    refuse_unwritable(out)
    add_runs(folder, add)
    for one in ablation:
        where, _, run = one.partition("=")
        topic, _, name = where.partition("/")
        if not (topic and name and run):
            raise SettingsError(f"--ablation {one}: give TOPIC/NAME=RUN")
        add_ablation(folder, topic, name, Path(run), without=PLACES)
    write_study(folder, out, replicates=bootstrap, seed=seed)
    print(f"study: {out}")
    return 0
