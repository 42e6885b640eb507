"""Vectors: embeddings by row, compared after their mean is taken away.

The embeddings of one model lie in a narrow cone, where any two texts are alike; only their differences from the mean
tell texts apart. The mean moves with every change, so it is taken away while comparing and never stored in the rows.
"""

import numpy as np
from numpy.typing import NDArray

from aicp_router.matching.postings import Floats

Vector = NDArray[np.float32]
"""[dimensions]"""


class Vectors:
    """Embeddings by row number, all of the same dimensions. Rows are the caller's: small integers."""

    def __init__(self) -> None:
        self._rows: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._has: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._sum: Floats = np.zeros(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def mean(self) -> Vector:
        """Their mean; nothing but zeros when there are none."""
        return (self._sum / max(1, self._count)).astype(np.float32)

    def put(self, row: int, vector: Vector) -> None:
        """Give `row` the vector, at length 1. One of other dimensions is of another model: the others are dropped."""
        if len(vector) != self._rows.shape[1]:
            self._rows = np.zeros((len(self._has), len(vector)), np.float32)
            self._has[:] = False
            self._sum = np.zeros(len(vector))
            self._count = 0
        if row >= len(self._has):
            more = max(row + 1 - len(self._has), len(self._has), 16)
            self._rows = np.concatenate((self._rows, np.zeros((more, len(vector)), np.float32)))
            self._has = np.concatenate((self._has, np.zeros(more, np.bool_)))
        self.drop(row)
        self._rows[row] = vector / (np.linalg.norm(vector) or 1.0)
        self._has[row] = True
        self._sum += self._rows[row]
        self._count += 1

    def drop(self, row: int) -> None:
        """Forget `row`, if it is there."""
        if row < len(self._has) and self._has[row]:
            self._sum -= self._rows[row]
            self._rows[row] = 0.0
            self._has[row] = False
            self._count -= 1

    def least_cosine(self, rows: list[int]) -> float:
        """The least cosine of any two of these rows, their mean not taken away; 1 when fewer than two have a vector."""
        there = [row for row in rows if row < len(self._has) and self._has[row]]
        if len(there) < 2:
            return 1.0
        chosen = self._rows[there]
        return float((chosen @ chosen.T).min())

    def cosines(self, vector: Vector, centre: Vector, size: int, mean: Vector | None = None) -> Floats:
        """The cosine of each row and `vector`, after `mean` is taken from the rows and `centre` from the vector:
        [size], each -1 to 1, and 0 for rows without a vector or when the dimensions differ.

        Args:
            mean: None: the rows' own.
        """
        found = np.zeros(size)
        known = min(size, len(self._has))
        if not self._count or len(vector) != self._rows.shape[1]:
            return found
        mean = self.mean if mean is None else mean
        asked = vector - centre
        products = self._rows[:known] @ np.stack((asked, mean), axis=1)
        squares = np.maximum(1.0 - 2.0 * products[:, 1] + mean @ mean, 0.0)
        lengths = np.sqrt(squares) * float(np.linalg.norm(asked))
        # A row that is the mean, or a message that is the centre, is like nothing.
        cosines = np.where(lengths > _NOTHING, (products[:, 0] - mean @ asked) / np.maximum(lengths, _NOTHING), 0.0)
        found[:known] = np.where(self._has[:known], np.clip(cosines, -1.0, 1.0), 0.0)
        return found


_NOTHING = 1e-3
