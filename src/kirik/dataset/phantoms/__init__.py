"""Phantoms: synthetic radiographs with known fractures, for tests, demos and teaching.

Long bones and hands as line integrals through cortical and spongy bone and soft tissue
(Beer–Lambert, one effective energy), with scatter, blur, quantum noise, collimation, markers and
hardware. Nothing of it differs between fractured and whole ones but the fracture itself, so a
network that tells them apart has found the fracture.
"""

from kirik.dataset.phantoms.fractures import FRACTURE_TYPES
from kirik.dataset.phantoms.phantom import Phantom, make_phantom
from kirik.dataset.phantoms.writing import write_phantoms

__all__ = ["FRACTURE_TYPES", "Phantom", "make_phantom", "write_phantoms"]
