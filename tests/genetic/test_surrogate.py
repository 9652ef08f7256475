"""The Gaussian process against its textbook formulas, and on a function that it can learn."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.genetic.surrogate import GaussianProcess


def test_one_answer_by_hand() -> None:
    """One point of deviation: the kernel at distance 0 is 1, far away it is 0 and the mean is what is left."""
    model = GaussianProcess.fit(np.array([[0.0], [1.0]]), np.array([1.0, 3.0]))
    means, deviations = model.predict(np.array([[0.0], [1.0], [0.5]]))
    assert means == pytest.approx([1.0, 3.0, 2.0], abs=0.2)
    assert deviations[2] > deviations[0]
    assert means[2] == pytest.approx(2.0)  # by symmetry


def test_it_learns_a_smooth_function_and_knows_where_it_knows_little() -> None:
    rng = np.random.default_rng(0)
    features = rng.uniform(-2, 2, (60, 3))

    def truth(at: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(at[:, 0]) + 0.5 * at[:, 1] ** 2)

    model = GaussianProcess.fit(features, truth(features))
    new = rng.uniform(-1.5, 1.5, (40, 3))
    means, deviations = model.predict(new)
    assert np.abs(means - truth(new)).max() < 0.25
    _, far = model.predict(np.full((1, 3), 30.0))
    assert far[0] > 3 * deviations.max()


def test_equal_values_and_equal_points() -> None:
    model = GaussianProcess.fit(np.ones((4, 2)), np.full(4, 7.0))
    means, deviations = model.predict(np.array([[1.0, 1.0], [5.0, 5.0]]))
    assert means == pytest.approx([7.0, 7.0])
    assert np.isfinite(deviations).all()


def test_predictions_hide_the_last_bits() -> None:
    rng = np.random.default_rng(1)
    features, values = rng.random((30, 4)), rng.random(30)
    means, deviations = GaussianProcess.fit(features, values).predict(rng.random((5, 4)))
    for value in [*means, *deviations]:
        assert value == float(f"{value:.6g}")
