"""Statistics, tables and verdicts, on numbers whose answers are known."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from experiments.analysis import reading, reference
from experiments.analysis.claims import judge, judged_by, load_claims
from experiments.analysis.measurements import EXPERIMENT_OF, MEASUREMENTS, Evidence, published_niqe_spread
from experiments.analysis.statistics import Estimate
from experiments.analysis.tables import readable, write_table
from experiments.config import load, read_yaml
from experiments.errors import UserError
from experiments.files import write_json
from experiments.sources import SOURCES


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


def test_artefact_and_not_testable():
    assert judge({"artefact": 0.01}, Estimate(0.006, 0.006, 0.006, 16)) == "artefact"
    assert judge({"artefact": 0.01}, Estimate(0.5, 0.5, 0.5, 16)) == "inconclusive"
    assert judge({"not testable": "needs a GPU"}, None) == "not testable"


def test_the_published_niqe_values_are_constant_to_the_second_decimal():
    published = read_yaml("paper/published.yaml")
    estimate = published_niqe_spread(Evidence(load("config/smoke.yaml"), published))
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
    assert {name for claim in claims for name in claim.measure} == set(MEASUREMENTS)
    for claim in claims:
        assert bool(claim.measure) != ("not testable" in claim.rule)


def test_a_scale_judges_the_claims_of_its_experiments(faces_config):
    claims = load_claims()
    for scale in ("smoke", "laptop", "paper"):  # all but the rivals on IntroVAE, which have a scale of their own
        left_out = [claim for claim in claims if claim not in judged_by(load(f"config/{scale}.yaml"), claims)]
        tuned = ("vae-beats-", "vae-tuned-") if scale == "paper" else ("vae-beats-",)
        assert all(claim.id.startswith(tuned) for claim in left_out), scale
    assert judged_by(load("config/full.yaml"), claims) == claims
    judged = judged_by(load(faces_config), claims)
    assert {name for claim in judged for name in claim.measure} == {
        "introvae_difference",
        "introvae_without_warmup",
    }
    assert not any("not testable" in claim.rule for claim in judged)
    assert set(EXPERIMENT_OF) == set(MEASUREMENTS)
    assert set(EXPERIMENT_OF.values()) <= set(SOURCES)


README = f"before\n{reference.START}\nold\n{reference.END}\nafter\n"


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Return a function that lays out what the workflow leaves behind for some settings, as far as `keep` reads it."""

    def lay_out(settings):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "README.md").write_text(README)
        results, figures = reading.results(settings), reading.figures(settings)
        for folder in (results / "tables", figures):
            folder.mkdir(parents=True)
        (results / "tables" / "introvae_train.csv").write_text("psnr\n20.0\n")
        (figures / "introvae_course.png").write_bytes(b"picture")
        claim = {"id": "a", "statement": "It is so.", "measured": 0.2, "measured_low": 0.1, "measured_high": 0.3}
        others = {"unit": "dB", "verdict": "reproduced", "published": "fixed 20", "figure": "curve"}
        others |= {"effect": 2.0, "effect_measure": "Cohen's d"}
        write_table(pd.DataFrame([claim | others]), results, "claims")
        run = dict.fromkeys(["python", "cpu", "gpu", "system", "threads", "commit"], "same")
        run |= {"versions": {"torch": "2"}, "dirty": False, "data": {"faces": "checksum"}, "times": {"total": 60.0}}
        for seed in (0, 1):
            folder = results / "runs" / "introvae" / "softadapt" / f"seed-{seed}"
            write_json(folder / "provenance.json", run | {"commit": f"commit {seed}"})
            (folder / "config.yaml").write_text("code: same\n")
        return results

    return lay_out


def test_the_reference_of_a_scale_without_a_manuscript_leaves_the_readme_alone(finished, faces_config):
    settings = load(faces_config)
    finished(settings)
    reference.keep(settings)
    kept = Path("results/reference/faces-only")
    assert {path.name for path in kept.iterdir()} == {
        "tables",
        "claims.csv",
        "claims.md",
        "claims.tex",
        "provenance.json",
    }
    assert (kept / "tables" / "introvae_train.csv").read_text() == "psnr\n20.0\n"
    assert Path("figures/reference/faces-only/introvae_course.png").exists()
    assert json.loads((kept / "provenance.json").read_text())["one_thread_minutes"] == 2.0
    assert json.loads((kept / "provenance.json").read_text())["commits"] == {"introvae": ["commit 0", "commit 1"]}
    (Path("results/faces-only/runs/introvae/softadapt/seed-1") / "config.yaml").write_text("code: other\n")
    with pytest.raises(UserError, match=r"seed-1/provenance\.json: no part .* \(code differ\)"):
        reference.keep(settings)
    assert Path("README.md").read_text() == README


def test_runs_that_list_different_packages_are_one_set_unless_a_version_differs(finished, faces_config):
    settings = load(faces_config)
    run = finished(settings) / "runs" / "introvae" / "softadapt" / "seed-1" / "provenance.json"
    provenance = json.loads(run.read_text())
    write_json(run, provenance | {"versions": {"torch": "2", "typst": "1"}})
    reference.keep(settings)
    kept = json.loads(Path("results/reference/faces-only/provenance.json").read_text())
    assert kept["versions"] == {"torch": "2", "typst": "1"}
    write_json(run, provenance | {"versions": {"torch": "3"}})
    with pytest.raises(UserError, match=r"seed-1/provenance\.json: no part .* \(torch differ\)"):
        reference.keep(settings)


def test_no_more_of_celeba_is_kept_than_eight_faces(finished):
    settings = load("config/celeba-10k.yaml")
    finished(settings)
    for name in ("figure_3_train_faces", "figure_4_held_out_faces", "prior_samples"):
        (reading.figures(settings) / f"{name}.png").write_bytes(b"picture")
    reference.keep(settings)
    kept = {path.stem for path in Path("figures/reference/celeba-10k").iterdir()}
    assert kept == {"figure_4_held_out_faces", "introvae_course"}


def test_the_readme_shows_the_claims_of_the_laptop_scale(finished):
    settings = load("config/laptop.yaml")
    write_json(finished(settings) / "numbers.json", {})
    reference.keep(settings)
    assert Path("results/reference/laptop/numbers.json").exists()
    readme = Path("README.md").read_text()
    figure = "[figure](figures/reference/laptop/curve.png)"
    assert f"| It is so. | fixed 20 | 0.2 [0.1, 0.3] (dB) | Cohen's d 2 | **reproduced** | {figure} |\n" in readme
    assert "old" not in readme
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")


def test_a_claim_with_an_unknown_measurement_is_one_line(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n- {id: a, where: b, statement: c, measure: {guess: {}}, rule: {above: 0}}\n")
    with pytest.raises(UserError, match=r"claims\.yaml: measurements\.0: .*'guess'"):
        load_claims(str(path))
    path.write_text("claims:\n- {id: a, where: b, statement: c, rule: {about: 0}}\n")
    with pytest.raises(UserError, match=r"claims\.yaml: claims\.0\.rule"):
        load_claims(str(path))


def test_tables_join_values_and_intervals_and_escape_latex(tmp_path):
    table = pd.DataFrame({"method": ["a_b", "50 %"], "psnr": [20.123456, 3.0], "psnr_low": [19.0, math.nan]})
    table["psnr_high"] = [21.0, math.nan]
    assert readable(table).to_dict("list") == {"method": ["a_b", "50 %"], "psnr": ["20.12 [19, 21]", "3"]}
    write_table(table, tmp_path, "t")
    assert (tmp_path / "t.md").read_text().splitlines() == [
        "| method | psnr |",
        "| --- | --- |",
        "| a_b | 20.12 [19, 21] |",
        "| 50 % | 3 |",
    ]
    assert r"a\_b & 20.12 [19, 21] \\" in (tmp_path / "t.tex").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table)


@pytest.mark.parametrize("family", ["fixed", "softadapt"])
def test_the_tuned_methods_are_those_that_won_their_trials(family):
    """By PSNR on the validation people, in the committed results of the trials, at otherwise equal settings."""
    trials, laptop = (load(f"config/{scale}.yaml").introvae for scale in ("introvae-trials", "laptop"))
    table = pd.read_csv("results/reference/introvae-trials/tables/introvae_methods.csv", index_col="method")
    assert set(table.index) == set(trials.methods)
    best = table[table.index.str.startswith(family)]["validation_psnr"].idxmax()
    assert laptop.methods[f"{family}-tuned"] == trials.methods[best]
    exclude = {"methods", "seeds"}
    assert laptop.model_dump(exclude=exclude) == trials.model_dump(exclude=exclude)
    assert not set(laptop.seeds) & set(trials.seeds)
