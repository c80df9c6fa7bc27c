"""Masks in pixels from the small logits that a model gives.

Models bring their logits to the size of the image by linear interpolation, which is a matrix for
each axis, and here it is used as one: only the window that a mask lies in is computed, and only of
masks that are wanted.
"""

import numpy as np
import numpy.typing as npt

from lae_tasks.backends.protocols import EmbeddedImage, Floats, MaskProposal
from lae_tasks.geometry import mask_bbox


class _Axis:
    """One axis of the interpolation, as a matrix of shape (pixels, logits)."""

    def __init__(self, matrix: Floats) -> None:
        self._matrix = matrix
        used = matrix != 0
        # Which pixels a logit reaches, and which logits a pixel is made of: both are intervals.
        self._first_px, self._end_px = used.argmax(axis=0), len(used) - used[::-1].argmax(axis=0)
        backwards = used[:, ::-1].argmax(axis=1)
        self._first, self._end = used.argmax(axis=1), used.shape[1] - backwards

    def window(self, numbers: npt.NDArray[np.intp]) -> tuple[int, slice, Floats]:
        """The pixels that any of some logits reaches, these given by their numbers, rising.

        Returns:
            The first pixel, the logits that the pixels are made of, and the matrix between them.
        """
        low, high = int(self._first_px[numbers[0]]), int(self._end_px[numbers[-1]])
        of = slice(int(self._first[low]), int(self._end[high - 1]))
        return low, of, self._matrix[low:high, of]


class Upscaler:
    """Turns the logits of one embedded image into masks of its pixels."""

    def __init__(self, image: EmbeddedImage) -> None:
        self._rows, self._columns = _Axis(image.rows), _Axis(image.columns)

    def mask(
        self, logits: Floats, predicted_iou: float, stability_offset: float
    ) -> MaskProposal | None:
        """The mask where the interpolated logits are above 0; None if it is empty.

        Its stability score is the IoU of the masks above `stability_offset` and above
        `-stability_offset`, as in segment_anything.
        """
        maybe = logits > -stability_offset
        if not maybe.any():
            return None
        y, rows, by_row = self._rows.window(np.flatnonzero(maybe.any(axis=1)))
        x, columns, by_column = self._columns.window(np.flatnonzero(maybe.any(axis=0)))
        values = by_row @ logits[rows, columns] @ by_column.T
        mask = values > 0
        if not mask.any():
            return None
        sure = np.count_nonzero(values > stability_offset)
        stability = sure / np.count_nonzero(values > -stability_offset)
        x0, y0, x1, y1 = mask_bbox(mask)
        bbox = (x0 + x, y0 + y, x1 + x, y1 + y)
        return MaskProposal(bbox, mask[y0:y1, x0:x1], float(predicted_iou), stability)
