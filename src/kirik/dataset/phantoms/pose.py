"""How a limb is held: its segments, bent at the joints between them.

A limb is a chain of segments from the trunk to its tip. The segment that is radiographed stays
where it is, and its neighbours turn about the joints, as a patient holds them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kirik.dataset.phantoms.bones import Bone, Flesh, Point

Move = Callable[[Point], Point]


@dataclass(frozen=True)
class Joint:
    """Where a segment turns on the one before it, in mm, and how far, in degrees (from, to).

    aside: in the frontal plane, away from the thumb or little toe. forward: in the sagittal one.
    """

    pivot: Point
    aside: tuple[float, float]
    forward: tuple[float, float]


@dataclass(frozen=True)
class Segment:
    """A part of a limb that moves as one; joint: with the segment before it."""

    name: str
    bones: tuple[Bone, ...]
    flesh: tuple[Flesh, ...]
    joint: Joint | None = None


def moved(part: Bone | Flesh, move: Move) -> Bone | Flesh:
    """A bone or flesh with both its ends moved."""
    return replace(part, start=move(part.start), end=move(part.end))


def posed(rng: np.random.Generator, chain: list[Segment], still: str) -> list[Segment]:
    """The chain with its joints bent, and the segment of the name `still` left in place."""
    number = next(i for i, segment in enumerate(chain) if segment.name == still)
    turns = [_turn(rng, segment.joint) for segment in chain[1:]]
    held = []
    for i, segment in enumerate(chain):
        # The farthest joint first: its pivot then goes along with the nearer ones. What lies
        # nearer the trunk than the segment in place turns the other way round.
        moves = [there for there, _ in reversed(turns[number:i])]
        moves += [back for _, back in turns[i:number]]
        held.append(_moved_by(segment, moves))
    return held


def _moved_by(segment: Segment, moves: list[Move]) -> Segment:
    for move in moves:
        segment = replace(
            segment,
            bones=tuple(moved(bone, move) for bone in segment.bones),
            flesh=tuple(moved(flesh, move) for flesh in segment.flesh),
        )
    return segment


def _turn(rng: np.random.Generator, joint: Joint) -> tuple[Move, Move]:
    """The joint's turn, and the same turn undone."""
    aside, forward = np.deg2rad(rng.uniform(*joint.aside)), np.deg2rad(rng.uniform(*joint.forward))
    c, s = np.cos(aside), np.sin(aside)
    frontal = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(forward), np.sin(forward)
    matrix = frontal @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return _about(joint.pivot, matrix), _about(joint.pivot, matrix.T)


def _about(pivot: Point, matrix: np.ndarray) -> Move:
    centre = np.array(pivot)
    return lambda point: tuple((matrix @ (np.array(point) - centre) + centre).tolist())
