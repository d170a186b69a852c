"""Rosenbrock's and Beale's functions: values, gradients and minimisers."""

import pytest
import torch
from torch.func import jacrev, vmap

from models.objectives import BEALE, ROSENBROCK, TEST_FUNCTIONS


@pytest.mark.parametrize("function", TEST_FUNCTIONS.values(), ids=lambda f: f.name)
def test_gradients_agree_with_automatic_differentiation(function):
    points = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(function.gradients(points), vmap(jacrev(function.components))(points))
    assert function.gradients(points.reshape(5, 10, 2)).shape == (5, 10, len(function.component_names), 2)


@pytest.mark.parametrize("function", TEST_FUNCTIONS.values(), ids=lambda f: f.name)
def test_all_components_and_gradients_vanish_at_the_minimiser(function):
    minimiser = torch.tensor(function.minimiser, dtype=torch.float64)
    assert function.components(minimiser).abs().max() < 1e-24
    assert function.gradients(minimiser).abs().max() < 1e-11


def test_values_known_by_hand():
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    assert ROSENBROCK.components(start).sum().item() == pytest.approx(24.2)
    assert BEALE.components(torch.tensor([1.0, 1.0])).tolist() == pytest.approx([2.25, 5.0625, 6.890625])
