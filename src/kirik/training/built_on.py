"""The finished runs that a training builds on: its overview, its start, and its teacher."""

from pathlib import Path

from kirik.bundle import Bundle, load_bundle
from kirik.dataset.index import Index
from kirik.dataset.split import Split
from kirik.errors import SettingsError
from kirik.training.distil import Teacher
from kirik.training.machine import Machine
from kirik.training.runs import find_run, is_run
from kirik.training.settings import TrainingSettings


def overview_of(
    index: Index, settings: TrainingSettings, fold: int | None, split: Split
) -> Bundle | None:
    """The bundle of the run that sees the whole radiograph, where this one is to look closer."""
    if not settings.overview:
        return None
    if index.negative is None or len(index.classes) != 2:
        raise SettingsError("--overview needs two classes, one of which means no fracture")
    if settings.validation:
        raise SettingsError(
            "--overview needs --validation 0, as kirik crossval has it: what is chosen for the "
            "model is chosen on whole radiographs that neither network saw"
        )
    if not settings.masks:
        raise SettingsError("--overview needs --masks: patches lie around outlined fractures")
    run = _find_run(settings.overview, fold, "--overview", split)
    overview = load_bundle(run)
    if overview.manifest.evidence is None or overview.manifest.classes != index.classes:
        raise SettingsError(
            f"{run}: its network has no evidence map, or other classes; name another --overview"
        )
    if overview.manifest.kind == "cascade":
        raise SettingsError(
            f"{run}: is two networks already, one of which looks closer; name as --overview the "
            "run that its first one is of"
        )
    return overview


def start_of(settings: TrainingSettings, fold: int | None, split: Split) -> Path | None:
    """The run whose weights this one begins with; None where it begins with others."""
    is_one = is_run(Path(settings.weights).expanduser())
    return _find_run(settings.weights, fold, "--weights", split) if is_one else None


def teacher_of(
    index: Index, settings: TrainingSettings, fold: int | None, split: Split, machine: Machine
) -> Teacher | None:
    """The run that this one learns from besides the labels, if any."""
    if not settings.teacher:
        return None
    run = _find_run(settings.teacher, fold, "--teacher", split)
    return Teacher(run, index.classes, machine, closer=bool(settings.overview))


def _find_run(folder: str, fold: int | None, option: str, split: Split) -> Path:
    held_out = {one.image_id for one in split.part("test")}
    return find_run(Path(folder).expanduser(), fold, option, split.digest, held_out)
