"""Which settings the trials of IntroVAE choose, and which runs count as trained without a warm-up."""

import adapter
import pandas as pd
import pytest
import synthetic

from experiments.introvae.findings import chosen

NAN = float("nan")


@pytest.fixture
def scale(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return synthetic.scale()


@pytest.mark.parametrize(
    ("psnr", "distance", "label"),
    [
        ([20.0, 22.0, 21.75, 21.74], [0.1, 0.9, 0.5, 0.2], 2),  # within 0.25 dB of 22, the nearer samples
        ([20.0, 22.0, 21.7, 21.7], [0.1, 0.9, 0.5, 0.2], 1),  # alone within 0.25 dB
        ([22.0, 21.9, 21.8, 21.7], [0.4, 0.3, 0.2, 0.1], 2),
        ([NAN, 21.9, 21.8, 21.7], [0.1, 0.3, 0.2, NAN], 2),  # without a number, as after divergence
        ([30.0, 21.9, 21.8, 21.7], [NAN, 0.3, 0.2, 0.4], 2),  # nor does its PSNR keep others out
        ([NAN, NAN, NAN, 21.7], [NAN, NAN, NAN, NAN], None),
    ],
)
def test_the_chosen_setting_has_the_best_samples_among_good_reconstructions(psnr, distance, label):
    assert chosen(pd.DataFrame({"validation_psnr": psnr, "validation_swd": distance})) == label


def test_the_table_names_one_setting_of_each_rule(scale):
    """SoftAdapt's two settings are compared with each other; fixed weights have one, so that nothing was chosen."""
    scale.settings["introvae"]["methods"]["fixed"]["encoder"] = {"rule": "fixed", "weights": {}}
    for method, psnr, distance in (("fixed", 10.0, 0.9), ("softadapt", 20.0, 0.3), ("equal", 20.2, 0.4)):
        for seed in synthetic.SEEDS:
            scale.runs["introvae", method, seed].history[-1] |= {"validation_psnr": psnr, "validation_swd": distance}
    table = adapter.tables(scale.write("introvae"), "introvae")["introvae_methods"].set_index("method")
    assert table["chosen"].to_dict() == {"fixed": "", "softadapt": "yes", "equal": ""}
    assert table.loc["softadapt", "validation_swd"] == pytest.approx(0.3)


def test_the_margin_is_the_mean_over_runs_of_what_they_took(scale):
    scale.final("introvae", "softadapt", "margin", [10.0, 20.0, 30.0, 40.0, 50.0])
    table = adapter.tables(scale.write("introvae"), "introvae")["introvae_methods"].set_index("method")
    assert table["margin"].to_dict() == {"fixed": 50, "softadapt": 30, "equal": 50}


@pytest.mark.parametrize("verdict", ["order inverted", "no adversary", "posterior collapsed", "diverged"])
def test_a_run_that_lost_the_game_has_not_trained_without_a_warm_up(scale, verdict):
    findings = adapter.findings(scale.write("introvae"), "introvae")
    good = findings.without_warmup()
    assert (good.value, good.failed) == (pytest.approx(19.8), None)
    scale = synthetic.scale()
    scale.runs["introvae", "softadapt", 12].metrics["verdict"] = verdict
    scale.settings["scale"] = "other"
    bad = adapter.findings(scale.write("introvae"), "introvae").without_warmup()
    assert (bad.failed.ours, bad.failed.theirs, bad.failed.runs) == (1, 0, 5)
