"""What a user writes into a config reaches a command as one word, and is never code of the shell."""

import re
import shlex

import checkouts
import forked
import pytest
import yaml
from made_data import make_celeba

from experiments.scale import read

pytestmark = pytest.mark.whole

FOLDERS = ["it's `touch BROKEN`; touch BROKEN {brace} {} ü*", "--help"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return checkouts.copy(tmp_path_factory.mktemp("a check out"))


def scale_on(checkout, data_dir, name, *rooms):
    """Path, below the checkout, of the config of a small scale on this data."""
    values = read("config/smoke.yaml")
    values["introvae"]["dataset"] = "celeba"
    kept = {room: values[room] for room in rooms or values if room in values}
    config = checkout / name
    config.write_text(yaml.safe_dump(kept | {"scale": "quoting", "data_dir": data_dir}), encoding="utf-8")
    return name


@pytest.mark.parametrize("data_dir", FOLDERS)
def test_data_are_verified_in_a_folder_of_any_name(checkout, data_dir):
    """Run for real: CelebA is laid out by the user, so that this needs no network."""
    make_celeba(checkout / data_dir)
    config = scale_on(checkout, data_dir, "config.yaml", "introvae")
    words = ["--cores", "1", "--configfile", config, "--", "results/quoting/celeba.verified"]
    done = forked.snakemake(*words, folder=checkout)
    log = (checkout / "results/quoting/logs/fetch-celeba.log").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr + log
    assert f"whole, in {data_dir}/celeba" in log
    assert not list(checkout.rglob("BROKEN"))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_images_of_any_name_is_converted_before_the_runs(checkout, name):
    images = checkout / "images" / name
    make_celeba(images)
    config = scale_on(checkout, "images", "config.yaml", "introvae")
    values = yaml.safe_load((checkout / config).read_text(encoding="utf-8"))
    values["introvae"] |= {"dataset": "folder", "folder": {"path": f"{name}/celeba/img_align_celeba"}, "crop": 64}
    (checkout / config).write_text(yaml.safe_dump(values), encoding="utf-8")
    done = checkouts.snakemake(checkout, "--configfile", config, "--", "results/quoting/folder.verified")
    log = (checkout / "results/quoting/logs/fetch-folder.log").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr + log
    assert f"whole, in images/{name}/celeba" in log
    assert list((checkout / "images" / "folder").glob("img_align_celeba-*/images-16-crop-64.npy"))
    assert not list(checkout.rglob("BROKEN"))


def test_a_run_reads_a_config_of_any_name(checkout):
    config = scale_on(checkout, "data", "my {config} $(touch BROKEN).yaml", "gradient_descent")
    values = yaml.safe_load((checkout / config).read_text(encoding="utf-8"))
    values["gradient_descent"] |= {"starts": 2, "max_steps": 10, "betas": [0.0, 0.1, 1.0]}
    (checkout / config).write_text(yaml.safe_dump(values), encoding="utf-8")
    run = "results/quoting/runs/gradient_descent/beale-fixed/seed-0/metrics.json"
    done = checkouts.snakemake(checkout, "--configfile", config, "--", run)
    assert done.returncode == 0, done.stderr
    assert (checkout / run).is_file()
    assert not list(checkout.rglob("BROKEN"))


def test_every_command_takes_the_config_as_one_word(checkout):
    config = scale_on(checkout, "two {words} `touch BROKEN`", "my config's {name}.yaml")
    words = ["--cores", "1", "--dry-run", "--forceall", "--printshellcmds", "--configfile", config]
    plan = forked.snakemake(*words, folder=checkout)
    assert plan.returncode == 0, plan.stderr
    commands = [
        shlex.split(line)
        for line in re.findall(r"^ *Shell command: ((?:python|snakemake|torchrun) .*)$", plan.stdout, re.MULTILINE)
    ]
    assert len(commands) > 50
    for command in commands:
        if "experiments.data" in command:
            assert "--data-dir=two {words} `touch BROKEN`" in command
        else:
            assert {f"--config={config}", f"--configfile={config}"} & set(command)
        assert ">" in command  # everything that it says goes to its log
    assert not list(checkout.rglob("BROKEN"))
