"""One frame of a file as pixels for a picture, decoded in the child."""

from pathlib import Path

from kirik.archives import Member
from kirik.errors import RadiographError
from kirik.radiograph import Radiograph
from kirik.reading.decoder import Decoders


def decode_film(
    source: Path | str | Member,
    frame: int | None,
    at_most: int,
    decoders: Decoders,
    square: bool = True,
) -> Radiograph:
    """A frame, or the only one, of at most `at_most` pixels on its longer side. square: whether
    pixels that are no squares become some.

    Raises RadiographError if it cannot be decoded.
    """
    request = {"do": "film", "number": frame, "at_most": at_most, "square": square}
    [(header, arrays)] = decoders.ask(source, request)
    if "error" in header:
        raise RadiographError(header["error"], reason=header["reason"])
    size, spacing = tuple(header["stored_size"]), header["spacing"]
    return Radiograph(
        arrays[0],
        header["format"],
        header["mode"],
        size,
        orientation=header["orientation"],
        spacing=spacing and tuple(spacing),
        frame=header["frame"],
    )
