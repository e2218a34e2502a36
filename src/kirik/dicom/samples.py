"""A frame's samples, and the stored bits among all those that are allocated."""

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from kirik.dicom.codestream import Codestream

_LOSSY = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 53, 55, 81, 91, 203))


@dataclass(frozen=True)
class Samples:
    """One frame as it comes out of its file.

    values: whole numbers [rows, columns], or [rows, columns, 3] RGB. bits: how many of each are
    stored: as the file tells, or fewer where its stream holds no more. lowest: how many unused ones
    lie below those. is_lossy: whether its codec is.
    """

    values: np.ndarray
    bits: int
    lowest: int
    is_lossy: bool

    @classmethod
    def told(
        cls, values: np.ndarray, dataset: Dataset, stream: Codestream | None = None
    ) -> "Samples":
        """As the file tells them. stream: which they come from; None for RLE and plain pixels.

        A stream holds either the bits stored alone, or, as RLE and plain pixels do, all that are
        allocated, with those stored at the high bit: if its own precision reaches to it.
        """
        precision = stream.precision if stream else dataset.BitsAllocated
        bits, high_bit = min(dataset.BitsStored, precision), dataset.get("HighBit")
        known = isinstance(high_bit, int) and bits - 1 <= high_bit < precision
        is_lossless = stream is not None and stream.is_lossless  # whatever the file tells
        is_lossy = dataset.file_meta.TransferSyntaxUID in _LOSSY and not is_lossless
        return cls(values, bits, high_bit - (bits - 1) if known else 0, is_lossy)

    def stored(self) -> np.ndarray:
        """Values of the bits stored: what lies in the others (retired overlays, noise) is gone."""
        values, bits, width = self.values, self.bits, self.values.dtype.itemsize * 8
        if bits >= width:
            return values
        if self.is_lossy and self.lowest:
            values = values >> self.lowest
        signed = values.dtype.kind == "i"
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        if (self.is_lossy or not self.lowest) and low <= values.min() and values.max() <= high:
            return values  # as nearly all are, without a copy
        if self.is_lossy:  # there is nothing but an overshoot of the codec
            return np.clip(values, low, high)
        # Shifting up and down again clears them, and spreads the sign where there is one.
        return (values << (width - bits - self.lowest)) >> (width - bits)

    def placed(self) -> np.ndarray:
        """The values with nothing in the unused bits but a sign that is spread."""
        return self.stored() << self.lowest

    def holds_more(self) -> bool:
        """Whether there is more in the unused bits. Of a lossy frame those above are an overshoot,
        or cannot be told from it, and do not count."""
        overshoots_at_most = self.is_lossy and not self.lowest
        return not overshoots_at_most and not np.array_equal(self.placed(), self.values)
