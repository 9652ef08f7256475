"""A Gaussian process: what the answers so far say about a genome that was not evaluated yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecad.arrays import FloatArray

# What the marginal likelihood chooses among: length scales in median distances, noise and linear trend in variances of
# the values.
_LENGTH_SCALES = (0.25, 0.5, 1.0, 2.0)
_NOISES = (1e-3, 1e-2, 1e-1)
_TRENDS = (0.0, 0.1, 1.0)

# Significant digits of predictions: the last bits depend on the number of threads, and decisions must not.
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Regression with a squared exponential kernel plus a linear one (Rasmussen and Williams, 2006, chapters 2, 5)."""

    features: FloatArray  # (n, d), scaled
    scale: float  # of the features
    weights: FloatArray  # (n,)
    factor: FloatArray  # (n, n), Cholesky's of the kernel matrix
    trend: float
    mean: float  # of the values
    deviation: float

    @classmethod
    def fit(cls, features: FloatArray, values: FloatArray) -> GaussianProcess:
        """To features (n, d) and values (n,), with the hyperparameters of the highest marginal likelihood."""
        mean, deviation = float(values.mean()), max(float(values.std()), 1e-12)
        targets = (values - mean) / deviation
        distances = np.sqrt(_squared_distances(features, features))
        typical = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
        found: list[tuple[float, GaussianProcess]] = []
        for length_scale in _LENGTH_SCALES:
            scaled = features / (length_scale * typical)
            for trend in _TRENDS:
                kernel = _kernel(scaled, scaled, trend)
                for noise in _NOISES:
                    noisy = kernel + noise * np.eye(len(kernel))
                    factor = np.linalg.cholesky(noisy)
                    weights = np.linalg.solve(noisy, targets)
                    likelihood = float(-0.5 * targets @ weights - np.log(np.diag(factor)).sum())
                    model = cls(scaled, length_scale * typical, weights, factor, trend, mean, deviation)
                    found.append((likelihood, model))
        return max(found, key=lambda item: item[0])[1]

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations, without noise, at features (m, d): shapes (m,) and (m,)."""
        scaled = features / self.scale
        cross = _kernel(scaled, self.features, self.trend)
        means = self.mean + self.deviation * (cross @ self.weights)
        solved = np.linalg.solve(self.factor, cross.T)
        prior = 1.0 + self.trend * (scaled**2).sum(axis=1)
        variances = (prior - (solved**2).sum(axis=0)).clip(min=0.0)
        return _rounded(means), _rounded(self.deviation * np.sqrt(variances))


def _kernel(first: FloatArray, second: FloatArray, trend: float) -> FloatArray:
    kernel: FloatArray = np.exp(-0.5 * _squared_distances(first, second)) + trend * (first @ second.T)
    return kernel


def _squared_distances(first: FloatArray, second: FloatArray) -> FloatArray:
    squares: FloatArray = (
        (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * (first @ second.T)
    )
    return squares.clip(min=0.0)


def _rounded(values: npt.NDArray[np.float64]) -> FloatArray:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values])
