"""The frontier of fixed lambdas, the place of other methods beside it, and the bill of a grid search."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.scale import load
from experiments.sparse_autoencoder import findings as autoencoder

LAST = 2


def findings(rows):
    """Findings of final epochs from (method, seed, l1, mse, pcc)."""
    table = pd.DataFrame(rows, columns=["run", "seed", "test_l1", "test_mse", "test_pcc"])
    others = {"train_mse": 0.01, "validation_mse": 0.01, "train_seconds": 1.0, "verdict": ""}
    table = table.assign(epoch=LAST, validation_pcc=table["test_pcc"], **others)
    return autoencoder.Findings(SimpleNamespace(rows=table, section=SimpleNamespace(epochs=LAST)))


def test_places_are_read_off_the_line_between_the_lambdas():
    found = findings(
        [
            ("lambda-1e-05", 0, 100.0, 0.01, 90.0),
            ("lambda-0.001", 0, 1.0, 0.04, 50.0),
            ("softadapt", 0, 10.0, 0.01, 75.0),  # half way in the logarithm: error 0.02, PCC 70
            ("equal", 0, 200.0, 0.01, 75.0),
            ("uncertainty", 0, 0.0, 0.07, 10.0),
        ]
    )
    places = found.beside_the_frontier.set_index("method")
    assert places.loc["softadapt", "error_ratio"] == pytest.approx(0.5)
    assert places.loc["softadapt", "pcc_gain"] == pytest.approx(5.0)
    assert places.loc["lambda-1e-05", ["error_ratio", "pcc_gain"]].tolist() == pytest.approx([1, 0])
    assert places.loc[["equal", "uncertainty"], ["error_ratio", "pcc_gain"]].isna().all(axis=None)


def test_dead_codes_do_not_draw_the_frontier_and_every_seed_has_its_own():
    found = findings(
        [
            *(("lambda-1e-05", seed, 100.0, 0.01 * (1 + seed), 90.0) for seed in (0, 1)),
            *(("lambda-0.0005", seed, 1.0, 0.01 * (1 + seed), 90.0) for seed in (0, 1)),
            *(("lambda-0.001", seed, 0.0, 0.07, 10.0) for seed in (0, 1)),
            *(("softadapt", seed, 10.0, 0.02, 90.0) for seed in (0, 1)),
        ]
    )
    places = found.beside_the_frontier.set_index(["method", "seed"])
    assert places.loc[("softadapt", 0), "error_ratio"] == pytest.approx(2.0)
    assert places.loc[("softadapt", 1), "error_ratio"] == pytest.approx(1.0)


def test_the_best_of_so_many_draws_is_what_enumeration_gives():
    random = np.random.default_rng(0)
    chosen_by, judged_by = random.normal(size=6), random.normal(size=6)
    for trials in range(1, 7):
        draws = [judged_by[max(draw, key=lambda index: chosen_by[index])] for draw in combinations(range(6), trials)]
        assert autoencoder.expected_best_of(trials, chosen_by, judged_by) == pytest.approx(np.mean(draws))


def test_trials_to_match():
    rows = [(f"lambda-{value}", 0, 1.0, 0.01, pcc) for value, pcc in ((1, 0.0), (2, 60.0), (3, 90.0))]
    for pcc, trials in ((40.0, 1), (70.0, 2), (90.0, 3), (95.0, None)):
        found = findings([*rows, ("softadapt", 0, 1.0, 0.01, pcc)])
        assert found.trials_to_match("softadapt") == trials


def test_groups_cover_every_method_of_every_scale():
    for path in Path("config").glob("*.yaml"):
        section = load(path).sparse_autoencoder
        for method in section.all_methods() if section else ():
            assert autoencoder.group_of(method) in autoencoder.GROUPS.values()
    assert autoencoder.group_of("lambda-0.001") == "fixed lambda"
    assert autoencoder.group_of("rule-nequip") == "other rules named SoftAdapt"
    assert autoencoder.group_of("gradnorm") == "rival"
