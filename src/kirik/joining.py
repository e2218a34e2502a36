"""Bundles made of others, which they copy: averages and cascades."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from kirik.bundle import (
    LONGEST_MEMBER,
    WIDE,
    Bundle,
    Manifest,
    Scope,
    load_bundle,
    make_manifest,
    write_bundle,
)
from kirik.errors import BundleError
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing
from kirik.sums import SUMS


def average_bundles(
    paths: Sequence[Path | str],
    directory: Path | str,
    name: str,
    *,
    weights: Sequence[float] = (),
    temperature: float = 1.0,
    operating_points: OperatingPoints | None = None,
    files: Mapping[str, bytes | Path] | None = None,
    provenance: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Bundle:
    """Write a bundle that averages the calibrated probabilities of others, which it copies.

    operating_points: chosen for the average on the validation part; where they are not given,
        the mean of the members' own. The evidence map is the first's that has one.
    files: card.md, metrics.json and the like, of the average itself.

    Raises BundleError if there are fewer than two, two are the same, or their classes disagree.
    """
    bundles = [load_bundle(path) for path in paths]
    _check_members(bundles)
    first = bundles[0].manifest
    names = _member_names(bundles)
    grid = next((b.manifest for b in bundles if b.manifest.evidence), first)
    manifest = make_manifest(
        f"average {name!r}",
        name=name,
        kind="average",
        classes=first.classes,
        negative=first.negative,
        preprocessing=grid.preprocessing,
        temperature=temperature,
        operating_points=operating_points or _mean_points(bundles),
        evidence=grid.evidence,
        scope=_mean_scope(bundles),
        attributes=tuple(sorted({a for b in bundles for a in b.manifest.attributes})),
        members=tuple(names),
        weights=tuple(weights),
        network="average",
        provenance=dict(provenance or {}),
    )
    contents = member_files(manifest, bundles) | (files or {})
    return write_bundle(directory, manifest, contents, replace=replace)


def cascade_bundles(
    overview: Bundle,
    closer: Bundle,
    directory: Path | str,
    name: str,
    *,
    looks: int,
    looks_from: float = 0,
    close_ups: int = 0,
    overview_weight: float = 1,
    temperature: float = 1.0,
    operating_points: OperatingPoints | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle whose second network looks closer where the first sees most evidence; both
    are copied.

    Its input is `WIDE` times as wide as a patch. What it tells besides is the first network's.
    Raises BundleError if the two cannot work together.
    """
    size = closer.manifest.preprocessing.size
    manifest = make_manifest(
        f"cascade {name!r}",
        name=name,
        kind="cascade",
        classes=overview.manifest.classes,
        negative=overview.manifest.negative,
        preprocessing=Preprocessing(size=WIDE * size),
        temperature=temperature,
        operating_points=operating_points or overview.manifest.operating_points,
        evidence=closer.manifest.evidence,
        scope=overview.manifest.scope,
        attributes=overview.manifest.attributes,
        members=("overview", "closer"),
        looks=looks,
        looks_from=looks_from,
        close_ups=close_ups,
        overview_weight=overview_weight,
        network=f"{overview.manifest.network} + {closer.manifest.network}",
        provenance=dict(provenance or {}),
    )
    return write_bundle(directory, manifest, member_files(manifest, (overview, closer)))


def member_files(manifest: Manifest, bundles: Sequence[Bundle]) -> dict[str, bytes | Path]:
    """All files of a manifest's members, as `write_bundle` takes them to copy them."""
    return {
        f"members/{member}/{file}": bundle.path / file
        for member, bundle in zip(manifest.members, bundles, strict=True)
        for file in (*bundle.checksums, SUMS)
    }


def _check_members(bundles: Sequence[Bundle]) -> None:
    if len(bundles) < 2:
        raise BundleError("an average needs two bundles or more")
    first = bundles[0]
    for other in bundles[1:]:
        said, expected = other.manifest, first.manifest
        if (said.classes, said.negative) != (expected.classes, expected.negative):
            raise BundleError(
                f"{other.path}: its classes ({', '.join(said.classes)}) are not those of "
                f"{first.path} ({', '.join(expected.classes)}); average bundles of one data set"
            )
    _check_all_differ(bundles)


def _check_all_differ(bundles: Sequence[Bundle]) -> None:
    """A model that is named twice would count twice, silently; `weights` say so openly."""
    for one, other in combinations(bundles, 2):
        if one.content == other.content:
            raise BundleError(f"{other.path}: the same bundle as {one.path}; name each model once")


def _member_names(bundles: Sequence[Bundle]) -> list[str]:
    """A folder's name for each, by its network's and numbered where two have the same."""
    names: list[str] = []
    for bundle in bundles:
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", bundle.manifest.name).strip("-._")
        base = base[:LONGEST_MEMBER].rstrip("-._") or "member"
        taken = sum(n == base or n.startswith(f"{base}-no") for n in names)
        names.append(f"{base}-no{taken + 1}" if taken else base)
    return names


def _mean_points(bundles: Sequence[Bundle]) -> OperatingPoints | None:
    points = [bundle.manifest.operating_points for bundle in bundles]
    if None in points:
        return None
    return OperatingPoints(
        low=math.fsum(p.low for p in points) / len(points),
        high=math.fsum(p.high for p in points) / len(points),
    )


def _mean_scope(bundles: Sequence[Bundle]) -> Scope | None:
    scopes = [bundle.manifest.scope for bundle in bundles if bundle.manifest.scope]
    accepted = min((scope.accepted for scope in scopes), default=1)
    return Scope(threshold=1.0, accepted=accepted) if scopes else None
