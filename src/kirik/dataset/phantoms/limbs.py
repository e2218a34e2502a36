"""Two limbs, an arm and a leg, as bones and flesh.

Lengths and widths are an adult's, rounded, in millimetres.
"""

import numpy as np

from kirik.dataset.phantoms.bones import Bone, End, Flesh
from kirik.dataset.phantoms.pose import Joint, Segment

FINGERS = {
    # name: (base x, base y, fan angle in degrees, metacarpal, phalanges from near to far)
    "thumb": (25, 266, 38, 45, (32, 23)),
    "index": (15, 279, 13, 68, (41, 24, 18)),
    "middle": (4, 281, 3, 65, (45, 28, 19)),
    "ring": (-7, 280, -7, 58, (42, 27, 19)),
    "little": (-16, 277, -18, 54, (33, 19, 17)),
}
CARPALS = {
    # name: (x, y, half-width, half-length, tilt in degrees)
    "scaphoid": (15, 252, 6.2, 12, 35),
    "lunate": (2, 249, 6.6, 7.5, 0),
    "triquetrum": (-11, 252, 6, 8, -35),
    "trapezium": (26, 263, 6, 7, 25),
    "trapezoid": (15, 268, 5.2, 6.5, 5),
    "capitate": (3.5, 266, 6, 11, 0),
    "hamate": (-9, 266, 6.6, 9, -12),
}


SHOULDER = (
    Bone(
        "clavicle",
        (-165, -352, 15),
        (-22, -342, 0),
        6,
        2,
        End(9, 30, 6),
        End(8, 30, 5),
        bow=(9, 0),
    ),
    Bone("acromion", (-62, -338, -20), (6, -345, -5), 7, 1.5, End(7, 20, 6), End(11, 30, 8)),
    Bone(
        "glenoid",
        (-38, -326, -8),
        (-32, -284, -8),
        6,
        1.5,
        End(5, 10, 5),
        End(5, 10, 5),
        marrow=0.8,
    ),
    Bone(
        "scapula",
        (-40, -298, -10),
        (-88, -190, -25),
        4,
        1.5,
        End(11, 35, 6),
        End(5, 20, 6),
        marrow=0.5,
    ),
)
ARM = (
    Bone(
        "humerus",
        (-6, -330, 0),
        (0, -2, 0),
        11.5,
        4.6,
        End(25, 60, 24, depth=0.95, lean=5),
        End(31, 55, 9, notch=3, depth=0.5),
        bow=(0, 3),
    ),
    Bone(
        "radius",
        (11, 4, 2),
        (14, 238, 0),
        7.4,
        3.1,
        End(11.5, 26, 4),
        End(16.5, 46, 5, depth=0.75),
        bow=(5, 3),
    ),
    Bone(
        "ulna",
        (-8, -16, -8),
        (-12, 231, -6),
        7.0,
        3.0,
        End(14, 60, 8),
        End(8, 24, 5),
        bow=(-1.5, -2),
    ),
)
FEMUR = Bone(
    "femur",
    (8, -400, 0),
    (0, -3, 0),
    14,
    5.8,
    End(20, 40, 12),
    End(41, 85, 20, notch=9, depth=0.8),
    bow=(0, 8),
)
TIBIA = Bone(
    "tibia",
    (0, 3, 0),
    (2, 350, 0),
    12.5,
    5.2,
    End(38, 75, 9, notch=-3, depth=0.68),
    End(23, 52, 8, depth=0.8, lean=-2),
    bow=(0, 4),
)
FIBULA = Bone(
    "fibula",
    (31, 22, -16),
    (25, 370, -6),
    6.0,
    2.7,
    End(10.5, 30, 9),
    End(10, 50, 14),
    bow=(-2, 0),
)
PATELLA = Bone(
    "patella",
    (0, -52, 36),
    (0, -8, 36),
    21,
    1.2,
    End(17, 20, 20, depth=0.45),
    End(13, 24, 22, depth=0.45),
    marrow=0.9,
    depth=0.5,
)
TARSALS = (
    Bone(
        "calcaneus",
        (1, 386, -52),
        (3, 392, 26),
        16,
        1.0,
        End(17, 30, 18),
        End(14, 24, 12),
        marrow=0.7,
    ),
    Bone(
        "navicular",
        (-6, 376, 24),
        (-6, 382, 48),
        14,
        1.0,
        End(13, 10, 8),
        End(13, 10, 8),
        marrow=0.9,
    ),
    Bone(
        "cuboid",
        (14, 390, 26),
        (14, 396, 54),
        12,
        1.0,
        End(11, 12, 8),
        End(11, 12, 8),
        marrow=0.9,
    ),
)


def _short(
    name: str,
    centre: tuple[float, float, float],
    width: float,
    half: float,
    tilt: float,
    depth: float,
) -> Bone:
    """A short bone: two caps that meet, a thin shell and spongy bone inside."""
    lean = np.deg2rad(tilt)
    step = np.array([np.sin(lean) * half, np.cos(lean) * half, 0])
    end = End(width * 0.92, half, half * 0.6, depth=depth)
    start, stop = np.array(centre) - step, np.array(centre) + step
    return Bone(
        name, tuple(start), tuple(stop), width, 0.9, end, end, marrow=0.9, shell=0.6, depth=depth
    )


def _fingers(rng: np.random.Generator) -> tuple[list[Bone], list[Flesh]]:
    bones, flesh = [], []
    spread = rng.uniform(0.6, 1.25)
    for name, (x, y, fan, metacarpal, phalanges) in FINGERS.items():
        thick = 1.1 if name == "thumb" else 0.9 if name == "little" else 1.0
        angle = np.deg2rad(fan * spread + rng.normal(0, 1))
        # Fingers rest slightly in front of the palm, the thumb far in front of it.
        forward = np.array([0, 0, 0.45 if name == "thumb" else rng.uniform(0, 0.12)])
        point = np.array([x, y, 0.0])
        lengths = (metacarpal, *phalanges)
        for k, length in enumerate(lengths):
            along = np.array([np.sin(angle), np.cos(angle), 0]) + forward
            along /= np.linalg.norm(along)
            stop = point + along * (length - 2.0)
            label = f"metacarpal {name}" if k == 0 else f"phalanx {k} {name}"
            bones.append(_finger_bone(label, point, stop, thick, k, k == len(lengths) - 1))
            if k > 0:
                widths = (10.5, 9.5, 9.5) if k < len(lengths) - 1 else (9.5, 9.0, 7.5)
                reach = along * 7
                flesh.append(
                    Flesh(
                        tuple(point - reach),
                        tuple(stop + reach * 0.9),
                        tuple(w * thick for w in widths),
                        0.85,
                        2.0,
                    )
                )
            point = stop + along * 2.0
            angle += np.deg2rad(rng.normal(0, 2.5) - 0.12 * fan * spread)
        base = np.array([x, y, 0.0])
        flesh.append(Flesh(tuple(base), tuple(base + (point - base) * 0.6), (13, 13, 11), 1.0, 2.5))
    return bones, flesh


def _finger_bone(
    name: str, start: np.ndarray, end: np.ndarray, thick: float, k: int, last: bool
) -> Bone:
    shaft = (4.3, 4.2, 3.5, 2.6)[k] * thick
    base, head = (7.6, 7.4, 6.2, 5.2)[k] * thick, (7.0, 5.6, 4.9, 3.8)[k] * thick
    length = float(np.linalg.norm(end - start))
    return Bone(
        name,
        tuple(start),
        tuple(end),
        shaft,
        (1.9, 1.7, 1.4, 1.0)[k],
        End(base, 0.36 * length, 2.5),
        End(head, 0.3 * length, 2.5 if last else 4.5, notch=0 if last or k == 0 else 0.8),
        marrow=0.25,
        shell=0.55,
    )


def _shoulder() -> tuple[list[Bone], list[Flesh]]:
    bones = list(SHOULDER)
    for k in range(6):
        wall = (-84 - 3 * k, -325 + 38 * k, 0)
        rib = End(5.5, 12, 5)
        for part, inner, bow in (
            ("front", (-215, wall[1] + 58, 60), -16),
            ("back", (-215, wall[1] - 34, -60), 14),
        ):
            bones.append(Bone(f"rib {k} {part}", inner, wall, 5, 0.9, rib, rib, 0.5, (bow, 0)))
    flesh = [
        Flesh((-175, -420, 0), (-165, 40, 0), (70, 95, 92, 88, 95), 0.5, 8),
        Flesh((-150, -350, 0), (20, -330, 0), (38, 48, 44), 0.75, 8),
    ]
    return bones, flesh


def _muscle(rng: np.random.Generator, heavy: float, widths: tuple[float, ...]) -> tuple:
    """Widths of one patient's flesh: heavy or slim throughout, and shaped in its own way."""
    return tuple((np.array(widths) * heavy * rng.normal(1, 0.06, len(widths))).tolist())


def arm(rng: np.random.Generator, *, torso: bool) -> list[Segment]:
    """An arm that hangs straight beside the torso (if that is in the field).

    y is 0 at the elbow, the hand points down, the thumb to the right.
    """
    carpals = [
        _short(name, (x, y, rng.normal(0, 1.5)), width, half, tilt, 1.0)
        for name, (x, y, width, half, tilt) in CARPALS.items()
    ]
    fingers, finger_flesh = _fingers(rng)
    shoulder, chest = _shoulder() if torso else ([], [])
    heavy = float(np.exp(rng.uniform(np.log(0.8), np.log(1.28))))
    round_arm = rng.uniform(0.85, 1.15)
    upper = _muscle(rng, heavy, (52, 50, 48, 46, 44))
    lower = _muscle(rng, heavy, (45, 46, 40, 32, 28))
    palm = _muscle(rng, rng.uniform(0.93, 1.15), (27, 35, 40, 40))
    aside, front = rng.normal(0, 3, 2)
    upper_flesh = Flesh((-4, -375, 0), (aside, 25, front), upper, round_arm, 6 * heavy)
    lower_flesh = Flesh((aside, -30, front), (2, 275, 0), lower, 0.85 * round_arm, 5 * heavy)
    palm_flesh = Flesh((3, 232, 0), (1, 350, 4), palm, 0.36, 3)
    return [
        Segment("torso", tuple(shoulder), tuple(chest)),
        Segment("upper arm", ARM[:1], (upper_flesh,), Joint((-6, -312, 0), (-25, 8), (-10, 20))),
        Segment("forearm", ARM[1:], (lower_flesh,), Joint((0, -14, 0), (-14, 10), (0, 65))),
        Segment(
            "hand",
            (*carpals, *fingers),
            (palm_flesh, *finger_flesh),
            Joint((3, 250, 0), (-20, 25), (-20, 20)),
        ),
    ]


def leg(rng: np.random.Generator) -> list[Segment]:
    """A straight leg: y is 0 at the knee, the foot points to the front (z)."""
    heavy = float(np.exp(rng.uniform(np.log(0.82), np.log(1.22))))
    round_leg = rng.uniform(0.87, 1.13)
    thigh = _muscle(rng, heavy, (84, 78, 70, 60, 56))
    calf = _muscle(rng, heavy, (56, 55, 60, 54, 43, 35, 34))
    aside, front = rng.normal(0, 4, 2)
    thigh_flesh = Flesh((4, -440, 0), (aside, 45, front), thigh, round_leg, 8 * heavy)
    calf_flesh = Flesh((4 + aside, -45, front - 6), (6, 400, -2), calf, round_leg, 6 * heavy)
    foot_flesh = Flesh((2, 388, -62), (2, 400, 150), (28, 34, 38, 36, 26), 0.8, 5)
    return [
        Segment("thigh", (FEMUR, PATELLA), (thigh_flesh,)),
        Segment(
            "lower leg", (TIBIA, FIBULA), (calf_flesh,), Joint((0, -20, -4), (-8, 8), (-55, 3))
        ),
        Segment("foot", _foot(), (foot_flesh,), Joint((2, 362, 0), (-15, 15), (-35, 15))),
    ]


def _foot() -> tuple[Bone, ...]:
    toes = (
        Bone(
            f"metatarsal {k}",
            (-14 + 8 * k, 383 + 4 * k, 50),
            (-22 + 12 * k, 404, 122),
            4.6 - 0.2 * k,
            1.6,
            End(8, 24, 4),
            End(7, 18, 5),
            marrow=0.3,
        )
        for k in range(5)
    )
    return (*TARSALS, _short("talus", (2, 366, 6), 21, 13, 0, 1.2), *toes)
