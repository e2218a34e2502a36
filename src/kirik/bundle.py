"""A bundle: the folder in which training hands a model on, and all that a reading needs of it.

    bundle.json    the manifest: classes, preprocessing, calibration, operating points, provenance
    model.onnx     the graph (kind "network")
    members/NAME/  one bundle for each member (kinds "average" and "cascade")
    card.md, metrics.json, history.csv, …   for people, and for the report
    SHA256SUMS     the checksum of every file above, as `sha256sum` writes and checks it

The graph takes `radiograph`, uint8 [n, 1, size, size], and gives `logits`, float32 [n, classes],
`embedding`, float32 [n, features], where the manifest has `scope`, `strangeness`, float32 [n], and,
where the manifest has `evidence`, `evidence`, float32
[n, 1, size/stride, size/stride] in 0…1, and, where that has `boxes`, `boxes`, float32
[n, 4, size/stride, size/stride]: input pixels from each cell's centre to the left, top, right and
bottom of the fracture there. Where the manifest names `attributes`, `attributes`, float32
[n, attributes] in 0…1, says which of them a radiograph has. softmax(logits / temperature + bias)
are the probabilities.

A file in the folder that SHA256SUMS does not list (a desktop's `.DS_Store`, a user's note) is
ignored: kirik reads listed files only.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from kirik.drafts import drafting, swap
from kirik.errors import BundleError, KirikError
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing
from kirik.sums import (
    MANIFEST,
    SUMS,
    bytes_of,
    check_name,
    compare_sums,
    fill,
    listed_sums,
    sha256_of,
)

FORMAT = 1
GRAPH = "model.onnx"
SHIPPED, DEFAULT = Path(__file__).parent / "models", "small"
_QUICKEST_FIRST = (DEFAULT, "medium", "best")
WIDE = 4
"""Side of a cascade's input over that of a patch."""

LONGEST_NAME, LONGEST_MEMBER = 100, 70
"""Letters that a model's name should have at most, and a member's folder before it is numbered."""

_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=120)]
_Folder = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Evidence(BaseModel):
    """The evidence map: input pixels a cell, the score from which a cell is a finding's, and
    whether the graph gives each cell's box."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stride: int = Field(ge=1, le=256)
    threshold: float = Field(gt=0, lt=1)
    boxes: bool = False


class Scope(BaseModel):
    """What is too strange to be read: above this a radiograph is out of scope.

    accepted: the share of radiographs like the training data that lie below it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: _Positive
    accepted: float = Field(gt=0, le=1)


class Manifest(BaseModel):
    """What a bundle says about itself.

    name, version: the model, as a reading names it.
    classes: in the order of the graph's logits; `negative` is the index of the one that means
        "no fracture", or None where every class is a fracture.
    temperature, bias: of the calibration, see `kirik.evaluation.calibration`; no bias where empty.
        In an average they are applied to the logarithm of the members' mean.
    operating_points: chosen on the validation part; with a negative class only.
    members, weights: of an average; weights are relative, and equal where there are none. A
        cascade's members are the network for the whole radiograph and the one for patches.
    looks: of a cascade: how many patches of a radiograph its second network sees.
    looks_from: of a cascade: the probability of a fracture, by its first network, from which the
        second one looks; 0 where it always does.
    close_ups: of a cascade: how many findings of a radiograph, at most, its second network sees
        once more, close up.
    overview_weight: of a cascade: what the first network's word counts beside the second's 1.
    scope: None where nothing is refused. An average's members' strangeness is divided by their own
        thresholds before it is averaged.
    attributes: what the graph tells beside the classes, such as `region:hand` or `hardware`.
    preprocessing, evidence: an average's are the grid that its members' maps are brought to.
    network: the name it was trained by.
    provenance: versions, the data's hash, split, fold, seed, settings; nothing of a patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    name: _Text
    kind: Literal["network", "average", "cascade"] = "network"
    version: _Text = "1"
    created: date = Field(default_factory=date.today)
    classes: tuple[_Text, ...] = Field(min_length=2)
    negative: int | None = Field(ge=0)
    preprocessing: Preprocessing
    temperature: _Positive = 1.0
    bias: tuple[_Finite, ...] = ()
    operating_points: OperatingPoints | None = None
    evidence: Evidence | None = None
    scope: Scope | None = None
    attributes: tuple[_Text, ...] = ()
    members: tuple[_Folder, ...] = ()
    weights: tuple[_Positive, ...] = ()
    looks: int | None = Field(default=None, ge=1, le=64)
    looks_from: float = Field(default=0, ge=0, lt=0.5)
    close_ups: int = Field(default=0, ge=0, le=64)
    overview_weight: float = Field(default=1, gt=0, le=10)
    network: _Text
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes have the same name")
        if self.negative is not None and self.negative >= len(self.classes):
            raise ValueError("negative is not the index of a class")
        if (self.negative is None) != (self.operating_points is None):
            raise ValueError("operating_points and a negative class go together")
        if (self.kind == "network") == bool(self.members):
            raise ValueError('kinds "average" and "cascade" have members, "network" has none')
        if (self.kind == "cascade") != (self.looks is not None) or (
            (self.looks_from or self.close_ups or self.overview_weight != 1) and self.looks is None
        ):
            raise ValueError('looks belong to kind "cascade", and to that alone')
        if self.bias and len(self.bias) != len(self.classes):
            raise ValueError("there must be one bias a class, or none at all")
        if len(set(self.members)) < len(self.members):
            raise ValueError("two members have the same name")
        if self.weights and len(self.weights) != len(self.members):
            raise ValueError("there must be one weight a member, or none at all")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were all there, and unchanged, when it was loaded.

    checksums: SHA-256 in hex, by the file's name within the bundle.
    members: the bundles of an average or a cascade, in the manifest's order.
    """

    path: Path
    manifest: Manifest
    checksums: Mapping[str, str]
    members: tuple["Bundle", ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """Every listed file but the manifest, as `write_bundle` takes them."""
        return {name: self.path / name for name in self.checksums if name != MANIFEST}

    @property
    def content(self) -> frozenset[tuple[str, str]]:
        """What it has in common with a bundle of the same files, wherever that lies."""
        return frozenset(self.checksums.items())

    @property
    def digest(self) -> str:
        """A SHA-256 of all that a model's answers come from."""
        return hashlib.sha256(json.dumps(sorted(self.content)).encode()).hexdigest()

    def read(self, name: str) -> bytes:
        """A listed file's bytes, checked again, so that what is used is what was verified."""
        if name not in self.checksums:
            raise BundleError(f"{self.path}: the bundle has no {name}")
        content = bytes_of(self.path / name, self.path)
        compare_sums(self.path, name, hashlib.sha256(content).hexdigest(), self.checksums[name])
        return content


def shipped_models() -> dict[str, Path]:
    """Name → folder of each bundle that ships with this kirik; the default one first."""
    found = {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{MANIFEST}"))}
    return {name: found[name] for name in [*_QUICKEST_FIRST, *found] if name in found}


def model_name(folder: Path) -> str:
    """How the model that is made in a folder is called."""
    return folder.resolve().name[:LONGEST_NAME]


def find_bundle(path: Path | str | None = None) -> Path:
    """The bundle's folder: `path`, else $KIRIK_MODEL, else the one that ships with kirik.

    A shipped model's name stands for its folder, and a training run's folder for the bundle in it.
    Raises BundleError where there is none.
    """
    shipped = shipped_models()
    named = path or os.environ.get("KIRIK_MODEL") or next(iter(shipped), None)
    if not named:
        raise BundleError(
            "no model: none ships with this kirik; train one (kirik train) and name its bundle"
            " with --model, or in the environment variable KIRIK_MODEL"
        )
    if str(named) in shipped:
        return shipped[str(named)]
    folder = Path(named)
    try:
        run = folder / "bundle"
        found = run if not (folder / MANIFEST).is_file() and run.is_dir() else folder
        there = found.is_dir()
    except OSError as error:
        raise BundleError(f"{folder}: cannot be opened ({error.strerror})") from error
    if not there:
        what = "is a file, not a bundle's folder" if found.exists() else "no such folder"
        known = f", or a shipped model ({', '.join(shipped)})" if shipped else ""
        raise BundleError(f"{folder}: {what}; name a bundle, or the run that made it{known}")
    return found


def load_bundle(path: Path | str) -> Bundle:
    """Load a bundle, or a run's, and verify every file that it lists. Raises BundleError."""
    folder = find_bundle(path)
    checksums = listed_sums(folder)
    for name, expected in checksums.items():
        compare_sums(folder, name, sha256_of(folder / name, folder), expected)
    return _open(folder, checksums)


def write_bundle(
    directory: Path | str,
    manifest: Manifest,
    files: Mapping[str, bytes | Path],
    *,
    replace: bool = False,
) -> Bundle:
    """Write a bundle whole or not at all, and load it.

    directory: must not exist, unless `replace` is set and it is a bundle, which is then swapped
        for the new one; `files` may name that bundle's own files.
    files: content, or a file to copy, by name within the bundle; "/" parts folders.

    Raises BundleError if the place is taken, a name is not usable, or the disk refuses.
    """
    target = Path(directory).absolute()
    _check_place(target, replace)
    for name in files:
        check_name(target, name, reserved=(MANIFEST, SUMS))
    contents = {MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode(), **files}
    try:
        with drafting(target) as draft:
            fill(draft, contents)
            load_bundle(draft)
            swap(draft, target)
    except OSError as error:
        raise BundleError(
            f"{target}: the bundle cannot be written ({error.strerror or error}); "
            "free some space, or name another folder"
        ) from error
    return load_bundle(target)


def _open(folder: Path, checksums: Mapping[str, str]) -> Bundle:
    """A verified folder as a Bundle, its members opened too (their files are in `checksums`)."""
    if MANIFEST not in checksums:
        raise BundleError(f"{folder}: {SUMS} does not list {MANIFEST}; get the bundle again")
    manifest = _parse(folder)
    members = []
    for name in manifest.members:
        inside = folder / "members" / name
        sums = listed_sums(inside)
        for file, digest in sums.items():
            compare_sums(inside, file, checksums.get(f"members/{name}/{file}", ""), digest)
        members.append(_open(inside, sums))
    if manifest.kind == "network" and GRAPH not in checksums:
        raise BundleError(f"{folder}: the bundle has no {GRAPH}; get it again")
    if manifest.kind == "cascade":
        _check_cascade(folder, manifest, members)
    _check_average(folder, manifest, members)
    return Bundle(folder, manifest, checksums, tuple(members))


def _check_cascade(folder: Path, manifest: Manifest, members: Sequence[Bundle]) -> None:
    """What `kirik.reading.models.Cascade` counts on."""
    fits = len(members) == 2 and manifest.negative is not None
    if fits:
        overview, closer = (member.manifest for member in members)
        size, evidence = closer.preprocessing.size, closer.evidence
        fits = (
            overview.evidence is not None
            and evidence is not None
            and evidence.boxes
            and closer.kind == "network"
            and manifest.evidence is not None
            and manifest.evidence.stride == evidence.stride
            and size % evidence.stride == 0
            and manifest.preprocessing.size == WIDE * size
        )
    if not fits:
        raise BundleError(
            f"{folder}: not a network with an evidence map and one for patches of a quarter of "
            "the input's side; make the cascade again"
        )


def _check_average(folder: Path, manifest: Manifest, members: Sequence[Bundle]) -> None:
    if any(member.manifest.classes != manifest.classes for member in members):
        raise BundleError(f"{folder}: its members' classes disagree; make it again")
    said = [member.manifest for member in members]
    lacks_map = manifest.evidence and not any(m.evidence for m in said)
    lacks_boxes = (
        manifest.evidence
        and manifest.evidence.boxes
        and not any(m.evidence and m.evidence.boxes for m in said)
    )
    lacks_attributes = set(manifest.attributes) - {name for m in said for name in m.attributes}
    lacks_scope = manifest.scope and not any(m.scope for m in said)
    if members and (lacks_map or lacks_boxes or lacks_attributes or lacks_scope):
        raise BundleError(
            f"{folder}: none of its members gives the evidence, attributes or scope that it "
            "promises; make it again"
        )


def _parse(folder: Path) -> Manifest:
    try:
        said = json.loads(bytes_of(folder / MANIFEST, folder))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / MANIFEST}: not JSON ({error}); get it again") from error
    written = said.get("format") if isinstance(said, dict) else None
    if isinstance(written, int) and written > FORMAT:
        raise BundleError(
            f"{folder}: written by a newer kirik (bundle format {written}, this one reads up to "
            f"{FORMAT}); update kirik"
        )
    return make_manifest(str(folder / MANIFEST), said)


def make_manifest(where: str, said: Any = None, **values: Any) -> Manifest:
    """A manifest from parsed JSON or from values, its first flaw told in one line."""
    try:
        return Manifest.model_validate(values if said is None else said, strict=False)
    except ValidationError as error:
        flaw = error.errors()[0]
        place = ".".join(str(part) for part in flaw["loc"]) or "manifest"
        raise BundleError(f"{where}: {place}: {flaw['msg']}; not a manifest of a bundle") from error
    except KirikError as error:  # an operating point out of its range
        raise BundleError(f"{where}: {error}") from error


def _check_place(target: Path, replace: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not replace:
        raise BundleError(f"{target}: already exists; name another folder, or remove it first")
    if not (target / MANIFEST).is_file():
        raise BundleError(f"{target}: not a bundle, so it is not replaced; name another folder")
