"""Eigenvalues of small symmetric matrices, the same bits on every machine (LAPACK promises none).

Jacobi's method with cyclic sweeps: Golub and Van Loan, Matrix Computations, section 8.5.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import float64, void

from mltwin.sim.jit import kernel

Array = npt.NDArray[Any]

SWEEPS = 50


def eigen(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues float64[n], in no order, and eigenvectors float64[n, n] as columns.

    Args:
        matrix: float64[n, n], symmetric, finite; a sweep takes 6 n^3 operations.
    """
    turned, vectors = np.array(matrix, np.float64, order="C"), np.eye(len(matrix))
    _diagonalise(turned, vectors)
    return np.diag(turned).copy(), vectors


@kernel(void(float64[:, ::1], float64[:, ::1]))
def _diagonalise(turned: Any, vectors: Any) -> None:
    """Rotate until what is beside the diagonal is below 1e-15 of the whole."""
    size = turned.shape[0]
    whole = 0.0
    for p in range(size):
        for q in range(size):
            whole += turned[p, q] * turned[p, q]
    floor = 1e-15 * np.sqrt(whole)
    for _ in range(SWEEPS):
        rotated = False
        for p in range(size - 1):
            for q in range(p + 1, size):
                if abs(turned[p, q]) <= floor:
                    continue
                rotated = True
                middle = (turned[q, q] - turned[p, p]) / (2.0 * turned[p, q])
                tangent = 1.0 / (abs(middle) + np.sqrt(1.0 + middle * middle))
                if middle < 0.0:
                    tangent = -tangent
                cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
                sine = tangent * cosine
                for k in range(size):
                    a, b = turned[k, p], turned[k, q]
                    turned[k, p], turned[k, q] = cosine * a - sine * b, sine * a + cosine * b
                    a, b = vectors[k, p], vectors[k, q]
                    vectors[k, p], vectors[k, q] = cosine * a - sine * b, sine * a + cosine * b
                for k in range(size):
                    a, b = turned[p, k], turned[q, k]
                    turned[p, k], turned[q, k] = cosine * a - sine * b, sine * a + cosine * b
                turned[p, q] = turned[q, p] = 0.0
        if not rotated:
            break
