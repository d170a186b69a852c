"""Every claim of the committed ledgers computed once more, in its main specification, by pandas and scipy alone.

Nothing of the suite is imported: the committed rows go in, and the value and interval of the committed ledger must come out.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

pytestmark = pytest.mark.whole

REFERENCE = Path("results/reference")
FULL = REFERENCE / "full"
LIMIT = 20001  # steps that a miss counts


@cache
def rows(room, run=None):
    table = pd.read_csv(FULL / "runs.csv", dtype=str, keep_default_na=False)
    table = table[(table["room"] == room) & (table["run"] == run if run else True)]
    return table.loc[:, (table != "").any()]


def t_interval(values):
    mean, error = np.mean(values), stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error)
    return mean, low, high


def of_ratios(values):
    return np.exp(t_interval(np.log(np.asarray(values))))


# --- descent: settings with the fewest expected steps on a half, judged on the other ---------------------------------


def expected(codes):
    steps = [max(code, 1) if code >= 0 else LIMIT for code in codes]
    arrived = sum(code >= 0 for code in codes)
    return sum(steps) / arrived if arrived else math.inf


@cache
def sweep(run):
    table = rows("gradient_descent", run)
    start = table[table["kind"] == "starts"].iloc[0]
    halves = [np.array(start[f"half_{k}"].split(), dtype=int) == 1 for k in range(20)]
    steps = table[table["kind"] == "steps"]
    codes = [
        (row.method, float(row.beta), row.sizes, np.array(row.steps.split(), dtype=int)) for row in steps.itertuples()
    ]
    grid = table[(table["kind"] == "grid") & (table["method"] == "plain")]
    plain = {float(row.sizes): np.array(row.steps.split(), dtype=int) for row in grid.itertuples()}
    return halves, codes, plain


def judged(run, method, beta, count=None):
    """Expected steps on the judging half of each split. A beta of None is the best one, not 0."""
    halves, codes, _ = sweep(run)
    candidates = [
        each for each in codes if each[0] == method and (each[1] == beta if beta is not None else each[1] != 0)
    ]
    found = []
    for half in halves:
        best = min(candidates, key=lambda each, half=half: expected(each[3][half[: len(each[3])]]))[3]
        found.append(expected(best[:count][~half[: len(best[:count])]]))
    return np.array(found)


def of_halves(values):
    ordered = sorted(values)
    return (ordered[9] + ordered[10]) / 2, ordered[1], ordered[18]


def speed(run, method):
    return of_halves(judged(run, method, 0.1) / judged(run, "plain", 0.0))


def lost_or_slow():
    halves, _, plain = sweep("rosenbrock-fixed")
    large = [codes for size, codes in plain.items() if size > 0.00099999]
    return of_halves([np.mean([(c[~half] < 0) | (c[~half] > 1000) for c in large]) for half in halves])


def descent_knob():
    names = {0.0: "original", 1.0: "loss_weighted"}
    sizes = [judged("rosenbrock-fixed", names[size], 0.1) for size in (0.0, 1.0)]
    betas = [judged("rosenbrock-fixed", "loss_weighted", beta) for beta in (0.0, 0.1)]
    spans = [np.log(np.max(values, 0) / np.min(values, 0)) for values in (sizes, betas)]
    return of_halves(spans[0] / spans[1])


def over_component_steps():
    codes = sweep("rosenbrock-fixed")[1]
    count = next(len(each[3]) for each in codes if each[0] == "component_steps")
    ours = judged("rosenbrock-fixed", "loss_weighted", 0.1, count)
    return of_halves(ours / judged("rosenbrock-fixed", "component_steps", 0.0))


# --- autoencoder ---------------------------------------------------------------------------------------------------


def autoencoder(method, column, epoch=30):
    """Values by seed."""
    table = rows("sparse_autoencoder", method)
    table = table[table["epoch"].astype(float) == epoch]
    return pd.Series(table[column].astype(float).to_numpy(), index=table["seed"].astype(int)).sort_index()


LAMBDAS = [1e-8, 1e-6, 1e-5, 1e-4, 3e-4, 5e-4, 7e-4, 1e-3, 1.3e-3, 1.5e-3, 1.7e-3, 2e-3, 1e-2]


def best_lambda():
    return max(LAMBDAS, key=lambda value: autoencoder(f"lambda-{value:g}", "validation_pcc").mean())


def loss_ratio(part):
    value = best_lambda()
    parts = [
        autoencoder(method, f"{part}_mse") + value * autoencoder(method, f"{part}_l1")
        for method in ("softadapt", f"lambda-{value:g}")
    ]
    return of_ratios(parts[0] / parts[1])


def pcc_difference(epoch):
    return t_interval(
        autoencoder("softadapt", "test_pcc", epoch) - autoencoder(f"lambda-{best_lambda():g}", "test_pcc", epoch)
    )


def place(method, curve=tuple(f"lambda-{value:g}" for value in LAMBDAS)):
    """Error over that of a curve at the same share of active units, by seed."""
    ours, found = autoencoder(method, "test_active_share"), {}
    for seed in ours.index:
        points = [
            (autoencoder(other, "test_active_share")[seed], autoencoder(other, "test_mse")[seed])
            for other in curve
            if autoencoder(other, "test_l1")[seed] > 1e-3
        ]
        x, y = np.log(np.array(sorted(points)).T)
        error = np.exp(np.interp(np.log(ours[seed]), x, y, left=np.nan, right=np.nan))
        found[seed] = autoencoder(method, "test_mse")[seed] / error
    return pd.Series(found)


def quotient(ours, theirs):
    return of_ratios((place(ours) / place(theirs)).dropna())


def share_on_the_curve():
    names = rows("sparse_autoencoder")["run"].unique()
    controls = ("lambda-", "units-", "size-", "softadapt-yoked")
    rules = [name for name in names if "." not in name and not name.startswith(controls)]
    alive = [name for name in rules if 64 * autoencoder(name, "test_active_share").mean() > 1]
    ratios = [of_ratios(place(name)) for name in alive]
    inside = [[1 / 1.05 < value < 1.05 for value in ratio] for ratio in ratios]
    touching = [low < 1.05 and high > 1 / 1.05 for _, low, high in ratios]
    return (
        np.mean([mean for mean, _, _ in inside]),
        np.mean([low and high for _, low, high in inside]),
        np.mean(touching),
    )


def prediction():
    """The lambda at which the ratio of the losses of fixed lambdas equals it, by bisection."""
    found = []
    for seed in autoencoder("softadapt", "test_l1").index:
        error, norm, tested = (
            np.array([autoencoder(f"lambda-{value:g}", column)[seed] for value in LAMBDAS])
            for column in ("train_mse", "train_l1", "test_l1")
        )
        alive = np.minimum(norm, tested) > 1e-3
        logs = np.log(np.array(LAMBDAS))[alive]
        ratio, tested = np.log(norm[alive] / 784**2 / error[alive]), np.log(tested[alive])
        low, high = logs[0], logs[-1]
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if middle < np.interp(middle, logs, ratio) else (low, middle)
        found.append(autoencoder("softadapt", "test_l1")[seed] / np.exp(np.interp(low, logs, tested)))
    return of_ratios(found)


def autoencoder_knob():
    errors = {
        (s, r): autoencoder(f"size-{s}-rate-{r}", "test_mse") for s, r in (("0", "0.1"), ("1", "0.1"), ("1", "0"))
    }
    return of_ratios(
        abs(np.log(errors["0", "0.1"] / errors["1", "0.1"])) / abs(np.log(errors["1", "0"] / errors["1", "0.1"]))
    )


def share_of_histories(rule, reference):
    table = rows("namesakes")
    pair = table[(table["rule"] == rule) & (table["other"] == reference)].iloc[0]
    count = int(float(pair["histories"]))
    interval = stats.binomtest(round(float(pair["random"]) * count), count).proportion_ci(method="wilson")
    return float(pair["random"]), interval.low, interval.high


def published_niqe():
    tables = yaml.safe_load(Path("paper/published.yaml").read_text())["introvae"]
    values = [
        v for table in ("table_1", "table_2") for side in ("softadapt", "fixed") for v in tables[table][side]["niqe"]
    ]
    return (max(values) - min(values),) * 3


CLAIMS = {
    "vae-niqe-column": published_niqe,
    "gd-rosenbrock-original": lambda: speed("rosenbrock-fixed", "original"),
    "gd-rosenbrock-loss-weighted": lambda: speed("rosenbrock-fixed", "loss_weighted"),
    "gd-rosenbrock-bb-original": lambda: speed("rosenbrock-barzilai_borwein", "original"),
    "gd-rosenbrock-bb-loss-weighted": lambda: speed("rosenbrock-barzilai_borwein", "loss_weighted"),
    "gd-rosenbrock-bb-other-beta": lambda: of_halves(
        judged("rosenbrock-barzilai_borwein", "loss_weighted", None)
        / judged("rosenbrock-barzilai_borwein", "loss_weighted", 0.1)
    ),
    "gd-beale-original": lambda: speed("beale-fixed", "original"),
    "gd-beale-loss-weighted": lambda: speed("beale-fixed", "loss_weighted"),
    "gd-beale-bb-original": lambda: speed("beale-barzilai_borwein", "original"),
    "gd-plain-lost-or-slow": lost_or_slow,
    "gd-size-alone": lambda: of_halves(
        judged("rosenbrock-fixed", "loss_weighted", 0.1) / judged("rosenbrock-fixed", "loss_weighted", 0.0)
    ),
    "gd-knob": descent_knob,
    "gd-knob-from-zero": descent_knob,  # whose main specification has the exponents 0 and 1
    "gd-component-steps": over_component_steps,
    "sae-train-loss": lambda: loss_ratio("train"),
    "sae-validation-loss": lambda: loss_ratio("validation"),
    "sae-pcc-first": lambda: pcc_difference(2),
    "sae-pcc-second": lambda: pcc_difference(5),
    "sae-pcc-third": lambda: pcc_difference(15),
    "sae-pcc-last": lambda: pcc_difference(30),
    "sae-comparable": lambda: of_ratios(
        autoencoder("softadapt", "test_mse") / autoencoder(f"lambda-{best_lambda():g}", "test_mse")
    ),
    "sae-no-prior-knowledge": lambda: t_interval(
        (autoencoder("units-10", "test_pcc") - autoencoder("softadapt", "test_pcc")).dropna()
    ),
    "sae-different-scales": lambda: quotient("softadapt", "softadapt-original"),
    "sae-normalized": lambda: quotient("softadapt-original-normalized", "softadapt-original"),
    "sae-equal-sparsity": lambda: of_ratios(place("softadapt")),
    "sae-yoked": lambda: quotient("softadapt-yoked", "softadapt"),
    "sae-warm-up": lambda: of_ratios(
        place("softadapt", tuple(f"warm-up-10.lambda-{value:g}" for value in (5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3)))
    ),
    "sae-one-curve": share_on_the_curve,
    "sae-where-it-lands": prediction,
    "sae-size-alone": lambda: quotient("softadapt", "softadapt-beta-0"),
    "sae-knob": autoencoder_knob,
    "rules-eq3-eq4": lambda: share_of_histories("equation 3", "equation 4"),
    "rules-authors-2019": lambda: share_of_histories("authors 2019", "equation 4"),
    "rules-authors-2023": lambda: share_of_histories("authors 2023, original", "equation 3"),
}


# --- IntroVAE, and the cost of a step --------------------------------------------------------------------------------


def faces(method, column, epoch):
    """Values by seed."""
    table = pd.read_csv(REFERENCE / "introvae-rivals" / "runs.csv")
    table = table[(table["run"] == method) & (table["epoch"] == epoch)]
    return table.set_index("seed")[column].sort_index()


def over_fixed(column, epoch=120):
    return t_interval(faces("softadapt", column, epoch) - faces("fixed", column, epoch))


def order_of_divergences():
    return t_interval(faces("softadapt", "kl_sampled", 120) - faces("softadapt", "kl_real", 120))


def share_of_a_step(experiment):
    table = pd.read_csv(REFERENCE / "laptop" / "runs.csv", dtype=str)
    table = table[table["experiment"] == experiment].set_index("timed")
    fixed, ours = (
        table[name].str.split().map(lambda texts: np.array(texts, dtype=float)) for name in ("fixed", "softadapt")
    )
    shares = (ours["call"] - fixed["call"]) / np.median(fixed["step"])
    return np.median(shares), *stats.quantile_test(shares, p=0.5).confidence_interval(0.95)


OF_FACES = {
    "vae-train-psnr": lambda: over_fixed("train_psnr"),
    "vae-train-ssim": lambda: over_fixed("train_ssim"),
    "vae-held-out-psnr": lambda: over_fixed("held_out_psnr"),
    "vae-held-out-ssim": lambda: over_fixed("held_out_ssim"),
    "vae-early-psnr": lambda: over_fixed("train_psnr", 6),
    "vae-pooled-niqe": lambda: over_fixed("held_out_niqe"),
    "vae-order": order_of_divergences,
}
OF_STEPS = {"sae-cost": lambda: share_of_a_step("sparse_autoencoder"), "vae-cost": lambda: share_of_a_step("introvae")}
LEDGERS = {"full": CLAIMS, "introvae-rivals": OF_FACES, "laptop": OF_STEPS}
WITHOUT_A_VALUE = {"vae-no-pretraining", "any-optimiser", "paper-scale"}


@cache
def ledger(scale):
    return pd.read_csv(REFERENCE / scale / "claims.csv", keep_default_na=False, na_values=[""]).set_index("id")


def test_every_claim_that_has_a_value_is_recomputed():
    """In the first ledger that has it, which is the one that the README shows."""
    left = set().union(*(ledger(scale).index for scale in LEDGERS)) - WITHOUT_A_VALUE
    for scale, recomputed in LEDGERS.items():
        assert left & set(ledger(scale).index) == set(recomputed)
        left -= set(recomputed)
    assert not left


def test_the_runs_that_lost_the_game_are_counted():
    lost = faces("softadapt", "verdict", 120) != "trained"
    assert ledger("introvae-rivals").loc["vae-no-pretraining", "failed_runs"] == f"ours {lost.sum()} of {len(lost)}"


@pytest.mark.parametrize(("scale", "claim"), [(scale, claim) for scale in LEDGERS for claim in LEDGERS[scale]])
def test_a_claim_recomputed_from_the_rows_agrees_with_the_ledger(scale, claim):
    expected_values = ledger(scale).loc[claim, ["measured", "measured_low", "measured_high"]].to_numpy(float)
    found = np.array(LEDGERS[scale][claim](), dtype=float)
    np.testing.assert_allclose(found, expected_values, rtol=1e-9, atol=1e-12)
