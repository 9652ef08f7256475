"""Least squares whose unknowns cannot be negative."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.measuring.least_squares import nonnegative_least_squares


class TestNonnegativeLeastSquares:
    def test_inside(self) -> None:
        matrix = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        assert nonnegative_least_squares(matrix, matrix @ [2.0, 3.0]) == pytest.approx([2.0, 3.0])

    def test_on_the_edge(self) -> None:
        """A falling line through (0, 3), (1, 2), (2, 1): without a negative slope the best is the mean, 2."""
        matrix = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
        assert nonnegative_least_squares(matrix, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])

    def test_nothing_helps(self) -> None:
        assert nonnegative_least_squares(np.eye(2), np.array([-1.0, -2.0])).tolist() == [0.0, 0.0]

    def test_optimality_conditions(self) -> None:
        """Karush-Kuhn-Tucker: x >= 0, the gradient A^T(b - Ax) is 0 where x > 0 and at most 0 where x = 0."""
        rng = np.random.default_rng(3)
        on_edge = 0
        for _ in range(200):
            matrix = rng.normal(size=(9, 6)) + rng.choice([0.0, 3.0])  # also strongly correlated columns
            target = rng.normal(size=9)
            solution = nonnegative_least_squares(matrix, target)
            gradient = matrix.T @ (target - matrix @ solution)
            assert (solution >= 0.0).all()
            assert gradient.max() < 1e-9
            assert np.abs(gradient[solution > 0.0]).max(initial=0.0) < 1e-9
            on_edge += bool((solution == 0.0).any())
        assert on_edge > 100
