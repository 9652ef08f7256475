"""Least squares with unknowns that cannot be negative."""

from __future__ import annotations

import numpy as np

from ecad.arrays import FloatArray


def relative_fit(design: FloatArray, measured: FloatArray) -> FloatArray:
    """Non-negative unknowns, shape (columns,), that minimise the sum of (predicted / measured - 1) ** 2.

    `design` has the shape (measurements, columns), `measured` (measurements,).
    """
    rows = design / measured[:, None]
    # Columns of length 1: the constant's ones and hundreds of executions then weigh alike in the tolerance.
    # A column without any execution has no effect and gets 0.
    lengths = np.linalg.norm(rows, axis=0)
    lengths[lengths == 0.0] = 1.0
    return nonnegative_least_squares(rows / lengths, np.ones(len(measured))) / lengths


def nonnegative_least_squares(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """The x >= 0 that minimises |matrix @ x - target|, shapes (columns,), (rows, columns) and (rows,).

    The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23): unknowns
    leave zero one by one, the one whose gradient promises most first; whenever the least squares of the free
    ones has a negative unknown, walk towards it only until the first free unknown reaches zero, and fix that.
    """
    columns = matrix.shape[1]
    solution = np.zeros(columns)
    free = np.zeros(columns, dtype=np.bool_)
    tolerance = 1e-12 * max(1.0, float(np.abs(matrix.T @ target).max(initial=0.0)))
    # Each round lowers the distance, so no set of free unknowns comes twice; the bound stops rounding errors.
    for _ in range(10 * columns):
        gradient = np.where(free, -np.inf, matrix.T @ (target - matrix @ solution))
        if free.all() or gradient.max() <= tolerance:
            break
        free[int(np.argmax(gradient))] = True
        while True:
            fitted = np.zeros(columns)
            fitted[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            blocked = free & (fitted <= 0.0)
            if not blocked.any():
                solution = fitted
                break
            walk = solution[blocked] - fitted[blocked]  # 0 only where both are 0: no step at all
            steps = np.divide(solution[blocked], walk, out=np.zeros(len(walk)), where=walk > 0.0)
            solution = solution + float(steps.min()) * (fitted - solution)
            free[np.flatnonzero(blocked)[steps == steps.min()]] = False
            solution[~free] = 0.0
    return solution
