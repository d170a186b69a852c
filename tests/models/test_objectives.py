"""Rosenbrock's and Beale's functions: values, gradients and minimisers."""

import pytest
import torch
from torch.func import jacrev, vmap

from models.objectives import BEALE, OBJECTIVES, ROSENBROCK


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.name)
def test_gradients_agree_with_automatic_differentiation(objective):
    points = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(objective.gradients(points), vmap(jacrev(objective.components))(points))
    assert objective.gradients(points.reshape(5, 10, 2)).shape == (5, 10, len(objective.component_names), 2)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=lambda objective: objective.name)
def test_all_components_and_gradients_vanish_at_the_minimiser(objective):
    minimiser = torch.tensor(objective.minimiser, dtype=torch.float64)
    assert objective.components(minimiser).abs().max() < 1e-24
    assert objective.gradients(minimiser).abs().max() < 1e-11


def test_values_known_by_hand():
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    assert ROSENBROCK.components(start).sum().item() == pytest.approx(24.2)
    assert BEALE.components(torch.tensor([1.0, 1.0])).tolist() == pytest.approx([2.25, 5.0625, 6.890625])
