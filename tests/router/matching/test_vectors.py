"""Embeddings by row."""

import numpy as np

from aicp_router.matching.vectors import Vectors


def test_what_all_have_in_common_says_nothing() -> None:
    cone = np.array([10, 0, 0], np.float32)
    vectors = Vectors()
    for row, own in enumerate(([0, 1, 0], [0, 0, 1], [0, -1, -1])):
        vectors.put(row, cone + np.array(own, np.float32))
    asked = (cone + np.array([0, 1, 0], np.float32)) / np.linalg.norm([10, 1, 0])
    cosines = vectors.cosines(asked.astype(np.float32), vectors.mean, 5)
    assert cosines.argmax() == 0
    assert cosines[0] > 0.8 > 0.3 > cosines[1]
    assert cosines[3] == cosines[4] == 0


def test_rows_come_and_go() -> None:
    vectors = Vectors()
    for row in (7, 2, 7):
        vectors.put(row, np.array([row, 1], np.float32))
    assert len(vectors) == 2
    vectors.drop(7)
    vectors.drop(7)
    vectors.drop(99)
    assert len(vectors) == 1
    assert np.allclose(vectors.mean, np.array([2, 1]) / 5**0.5)


def test_another_model_begins_anew() -> None:
    vectors = Vectors()
    vectors.put(0, np.ones(3, np.float32))
    vectors.put(1, np.ones(4, np.float32))
    assert len(vectors) == 1
    assert vectors.cosines(np.ones(3, np.float32), np.zeros(3, np.float32), 2).tolist() == [0, 0]
