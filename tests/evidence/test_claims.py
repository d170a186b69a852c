"""Verdicts and the ledger, on numbers whose answers are known."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments.evidence import claims as judging
from experiments.evidence.claims import judge, judged_by, ledger, load_claims
from experiments.evidence.statistics import Estimate, mean_over_seeds, p_value
from experiments.niqe_collapse.findings import Findings
from experiments.runs.errors import UserError
from experiments.runs.validation import read_yaml
from experiments.scale import ROOMS, load


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        ({"above": 0.0}, 0.1, 0.3, "reproduced"),
        ({"above": 0.0}, -0.3, -0.1, "not reproduced"),
        ({"above": 0.0}, -0.1, 0.3, "inconclusive"),
        ({"below": 1.0}, 0.1, 0.9, "reproduced"),
        ({"below": 1.0}, 1.1, 1.9, "not reproduced"),
        ({"below": 1.0}, 1.0, 1.0, "inconclusive"),
        ({"above": 0.0}, math.nan, math.nan, "inconclusive"),
    ],
)
def test_verdicts_ask_for_the_whole_interval(rule, low, high, verdict):
    assert judge(rule, Estimate((low + high) / 2, low, high, 5)) == verdict


def test_one_observation_is_inconclusive_by_definition():
    assert judge({"above": 0.0}, Estimate(5.0, 4.0, 6.0, 1)) == "inconclusive"


def test_a_verdict_needs_a_corrected_p_value_too():
    estimate = Estimate(0.2, 0.1, 0.3, 5)
    assert judge({"above": 0.0}, estimate, 0.049) == "reproduced"
    assert judge({"above": 0.0}, estimate, 0.051) == "inconclusive"
    assert judge({"below": 0.0}, estimate, 0.049) == "not reproduced"


def test_the_ledger_corrects_within_an_experiment():
    """Two claims of one experiment: the smaller p value is doubled, the larger is not."""
    ids = ["vae-train-psnr", "vae-train-ssim", "sae-one-trial"]
    claims = [claim for claim in load_claims() if claim.id in ids]
    differences = {"psnr": np.array([1.0, 1.1, 1.2]), "ssim": np.array([0.1, 0.4, 0.9])}
    introvae = SimpleNamespace(difference=lambda *, measure, **others: mean_over_seeds(differences[measure]))
    autoencoder = SimpleNamespace(one_trial=lambda: mean_over_seeds(differences["psnr"]))
    table = ledger(claims, {"introvae": introvae, "sparse_autoencoder": autoencoder}).set_index("id")
    single = p_value(mean_over_seeds(differences["psnr"]), 0.0)
    assert table.loc["vae-train-psnr", "corrected_p"] == pytest.approx(2 * single)
    assert table.loc["sae-one-trial", "corrected_p"] == pytest.approx(single)
    assert table.loc["vae-train-ssim", "corrected_p"] == pytest.approx(
        p_value(mean_over_seeds(differences["ssim"]), 0.0)
    )
    assert table.loc["vae-train-psnr", "effect"] == pytest.approx(11.0)
    assert table.loc["vae-train-psnr", "effect_measure"] == "Cohen's d"


def test_artefact_and_not_testable():
    assert judge({"artefact": 0.01}, Estimate(0.006, 0.006, 0.006, 16)) == "artefact"
    assert judge({"artefact": 0.01}, Estimate(0.5, 0.5, 0.5, 16)) == "inconclusive"
    assert judge({"not testable": "needs a GPU"}, None) == "not testable"


def test_the_published_niqe_values_are_constant_to_the_second_decimal():
    estimate = Findings(None).published_spread()  # it reads no run
    assert estimate.count == 16
    assert estimate.value == pytest.approx(18.8763 - 18.8700)


def test_published_tables_are_complete():
    tables = read_yaml("paper/published.yaml")["introvae"]
    for table in ("table_1", "table_2"):
        for method in ("softadapt", "fixed"):
            assert {name: len(values) for name, values in tables[table][method].items()} == {
                "ssim": 4,
                "psnr": 4,
                "niqe": 4,
            }
    assert tables["table_1"]["softadapt"]["psnr"][3] == 23.9272
    assert tables["table_2"]["fixed"]["ssim"][0] == 0.8042


def test_the_ledger_is_well_formed():
    claims = load_claims()
    assert len(claims) >= 20
    assert len({claim.id for claim in claims}) == len(claims)
    known = {f"{room}.{name}" for room in ROOMS for name in judging.measurements(room)}
    assert {name for claim in claims for name in claim.measure} == known
    assert 1 <= sum(claim.headline for claim in claims) <= judging.MOST_HEADLINES
    for claim in claims:
        assert bool(claim.measure) != ("not testable" in claim.rule)


def test_a_scale_judges_the_claims_of_its_experiments(faces_config):
    claims = load_claims()
    for scale in ("smoke", "laptop", "paper"):  # all but the rivals on IntroVAE, which have a scale of their own
        judged = judged_by(load(f"config/{scale}.yaml"), claims)
        left_out = [claim for claim in claims if claim not in judged]
        tuned = ("vae-beats-", "vae-tuned-") if scale == "paper" else ("vae-beats-",)
        assert all(claim.id.startswith(tuned) for claim in left_out), scale
    assert judged_by(load("config/full.yaml"), claims) == claims
    judged = judged_by(load(faces_config), claims)
    assert {name for claim in judged for name in claim.measure} == {
        "introvae.difference",
        "introvae.without_warmup",
    }
    assert not any("not testable" in claim.rule for claim in judged)


def test_a_claim_with_an_unknown_measurement_is_one_line(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n- {id: a, where: b, statement: c, measure: {guess: {}}, rule: {above: 0}}\n")
    with pytest.raises(
        UserError,
        match=r"claims\.yaml: a: measure: no measurement guess\.; known are a room, one of gradient_descent, ",
    ):
        load_claims(str(path))
    path.write_text("claims:\n- {id: a, where: b, statement: c, measure: {introvae.guess: {}}, rule: {above: 0}}\n")
    known = r"introvae\.difference, introvae\.without_warmup"
    with pytest.raises(UserError, match=rf"a: measure: no measurement introvae\.guess; known are {known}$"):
        load_claims(str(path))
    path.write_text("claims:\n- {id: a, where: b, statement: c, rule: {about: 0}}\n")
    with pytest.raises(UserError, match=r"claims\.yaml: claims\.0\.rule"):
        load_claims(str(path))


def test_ten_headlines_are_enough(tmp_path):
    claim = {"where": "b", "statement": "c", "rule": {"not testable": "so"}, "headline": True}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim | {"id": str(number)} for number in range(10)]}))
    assert len(load_claims(str(path))) == 10
    path.write_text(yaml.safe_dump({"claims": [claim | {"id": str(number)} for number in range(11)]}))
    with pytest.raises(UserError, match="claims: at most 10 claims may be headlines, got 11"):
        load_claims(str(path))


def test_ledger_rows_carry_measurement_and_verdict():
    claims = [claim for claim in load_claims() if claim.id in ("vae-train-psnr", "paper-scale")]
    introvae = SimpleNamespace(difference=lambda **arguments: Estimate(0.4, 0.1, 0.7, 3))
    table = ledger(claims, {"introvae": introvae}).set_index("id")
    assert table.loc["vae-train-psnr", "verdict"] == "reproduced"
    assert table.loc["vae-train-psnr", "published"] == "softadapt 23.9272; fixed 22.2415"
    assert table.loc["paper-scale", "verdict"] == "not testable"
    assert math.isnan(table.loc["paper-scale", "measured"])


@pytest.mark.parametrize("family", ["fixed", "softadapt"])
def test_the_tuned_methods_are_those_that_won_their_trials(family):
    """In the committed results of the trials, at otherwise equal settings."""
    trials, laptop = (load(f"config/{scale}.yaml").introvae for scale in ("introvae-trials", "laptop"))
    table = pd.read_csv("results/reference/introvae-trials/tables/introvae_methods.csv", index_col="method")
    if "chosen" not in table:
        pytest.skip("the committed trials are of before samples were compared with validation images")
    assert set(table.index) == set(trials.methods)
    (best,) = table.index[table.index.str.startswith(family) & (table["chosen"] == "yes")]
    assert laptop.methods[f"{family}-tuned"] == trials.methods[best]
    exclude = {"methods", "seeds"}
    assert laptop.model_dump(exclude=exclude) == trials.model_dump(exclude=exclude)
    assert not set(laptop.seeds) & set(trials.seeds)
