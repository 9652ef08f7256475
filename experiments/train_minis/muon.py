"""Muon (Jordan et al. 2024): momentum whose direction is orthogonalised, for the weight matrices of the blocks."""

from __future__ import annotations

import torch


class Muon:
    """Updates matrices; those of one shape together, in one batched Newton-Schulz iteration."""

    def __init__(
        self, matrices: list[torch.nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.03
    ):
        self.momentum, self.weight_decay = momentum, weight_decay
        self.groups: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.averages = {
            shape: torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update with the given learning rate; clears the gradients."""
        for shape, group in self.groups.items():
            gradient = torch.stack([matrix.grad for matrix in group])
            average = self.averages[shape]
            average.lerp_(gradient, 1 - self.momentum)
            direction = orthogonalise(gradient.lerp(average, self.momentum))
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, update in zip(group, direction, strict=True):
                matrix.mul_(1 - rate * self.weight_decay).add_(update, alpha=-scale)
                matrix.grad = None


def orthogonalise(batch: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest orthogonal matrices, by five quintic Newton-Schulz steps: (n, rows, columns)."""
    tall = batch.shape[1] > batch.shape[2]
    x = (batch.transpose(1, 2) if tall else batch).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return (x.transpose(1, 2) if tall else x).float()
