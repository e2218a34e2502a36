"""What a file may take, told without all that decodes it."""

from dataclasses import dataclass

from kirik.errors import RadiographError


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded, so that no file can take the machine's memory.

    file_bytes: size of the file, and of what a deflated one inflates to. pixels: rows × columns of
    a frame. frames: how many a file may have. frame_pixels: those of all its frames together.
    """

    file_bytes: int = 512 * 2**20
    pixels: int = 100_000_000
    frames: int = 1_000
    frame_pixels: int = 2_000_000_000

    def check(self, rows: int, columns: int, name: str) -> None:
        """Raises RadiographError for a size above the limit, or of no pixels at all."""
        if min(rows, columns) < 1:
            raise RadiographError(
                f"{name}: an image without pixels; export it again", reason="damaged"
            )
        if rows * columns > self.pixels:
            raise RadiographError(
                f"{name}: {columns:,}×{rows:,} pixels, more than the limit of "
                f"{self.pixels:,}; export it smaller",
                reason="too_large",
            )

    def check_frames(self, frames: int, pixels: int, name: str) -> None:
        """Raises RadiographError for too many frames, or too many pixels in all of them."""
        if frames > self.frames:
            message = f"{name}: {frames:,} frames, more than the limit of {self.frames:,}"
            raise RadiographError(f"{message}; export fewer", reason="too_large")
        if pixels > self.frame_pixels:
            message = f"{name}: {pixels:,} pixels in all its frames, more than the limit of "
            message += f"{self.frame_pixels:,}; export fewer, or smaller"
            raise RadiographError(message, reason="too_large")
