"""The profiles name what there is, and every job says what it needs. A real SLURM is tests/cluster/one_node_slurm.sh."""

import re
from collections import defaultdict
from pathlib import Path

import forked
import pytest
import yaml

from experiments.evidence.specifications import load_ledger
from experiments.scale import ROOMS, load, read
from tests.cluster import compare

pytestmark = pytest.mark.whole

PROFILES = sorted(Path("profiles").iterdir())


def profile(name):
    return yaml.safe_load(Path("profiles", name, "config.yaml").read_text(encoding="utf-8"))


def dry_run(config, name, *options):
    """Every job of a plan as Snakemake prints it, by rule. The local executor spares the test SLURM's plugin."""
    words = ["--dry-run", "--nolock", "--workflow-profile", f"profiles/{name}", "--quiet", "reason"]
    words += ["--configfile", str(config), "--executor", "local", "--printshellcmds", *options]
    result = forked.snakemake(*words)
    assert result.returncode == 0, result.stderr
    jobs = defaultdict(list)
    for block in re.split(r"^(?= *(?:local)?rule \w+:$)", result.stdout, flags=re.MULTILINE)[
        1:
    ]:  # a group's are indented
        jobs[re.match(r" *(?:local)?rule (\w+):", block)[1]].append(block)
    return jobs


def resource(block, name):
    return int(re.search(rf"^ +resources: .*\b{name}=(\d+)", block, re.MULTILINE)[1])


@pytest.fixture
def scale(tmp_path):
    """A function from changes to the path of a config of another name, so that finished runs do not matter."""

    def write(name, **changes):
        values = read(f"config/{name}.yaml")
        path = tmp_path / "planned.yaml"
        path.write_text(yaml.safe_dump(values | {"scale": f"profiles-{name}"} | changes), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def rules():
    """Names of all rules of the workflow."""
    listed = forked.snakemake("--list-rules", "--quiet", "all", "--configfile", "config/smoke.yaml")
    assert listed.returncode == 0, listed.stderr
    return set(listed.stdout.split())


def test_every_rule_that_a_profile_names_exists(rules):
    assert {"introvae", "report"} <= rules
    for path in PROFILES:
        options = profile(path.name)
        for key in ("set-resources", "set-threads"):
            assert set(options.get(key, {})) <= rules, f"{path}: {key}"


def test_all_that_follows_the_runs_is_one_group(scale):
    """Else a new table or figure would queue by itself for seconds of work."""
    jobs = dry_run(scale("smoke"), "slurm")
    grouped = {rule for rule, blocks in jobs.items() if all(block.startswith(" ") for block in blocks)}
    alone = {rule for rule in jobs if rule.rpartition("_")[0] == "sparse_autoencoder"} | {"all", "fetch", *ROOMS}
    assert grouped == jobs.keys() - alone
    count = sum(len(jobs[rule]) for rule in grouped)
    assert profile("slurm")["group-components"]["analysis"] >= count


@pytest.mark.parametrize("name", [path.name for path in PROFILES])
def test_every_profile_plans(name, scale):
    cores = ["--cores", "2"] if name == "default" else []
    jobs = dry_run(scale("smoke"), name, *cores)
    section = read("config/smoke.yaml")["introvae"]
    assert len(jobs["introvae"]) == len(section["methods"]) * len(section["seeds"])
    assert len(jobs["report"]) == 1


def test_every_job_asks_slurm_for_more_when_it_is_tried_again(scale):
    config = scale("paper")
    once, twice = (dry_run(config, "slurm", "--attempt", attempt) for attempt in "12")
    assert once.keys() == twice.keys()
    day = 24 * 60
    for rule in once.keys() - {"all"}:
        for first, second in zip(once[rule], twice[rule], strict=True):
            assert resource(second, "mem_mb") == 2 * resource(first, "mem_mb"), rule
            minutes = resource(first, "runtime")
            assert minutes < resource(second, "runtime") <= day or minutes == resource(second, "runtime") == day, rule
    assert resource(once["introvae"][0], "mem_mb") > 10 * 1024  # CelebA takes 10 GiB to read (docs/paper-scale.md)
    assert resource(once["introvae"][0], "runtime") == day


@pytest.mark.parametrize(
    ("gpus", "start"),
    [
        (0, "python -m experiments.introvae "),
        (1, "python -m experiments.introvae "),
        (3, "torchrun --standalone --nproc-per-node 3 -m experiments.introvae "),
    ],
)
def test_introvae_asks_for_the_gpus_of_its_config(gpus, start, scale):
    jobs = dry_run(scale("paper", gpus=gpus), "slurm")
    for block in jobs["introvae"]:
        assert resource(block, "gpu") == gpus
        assert start in block
        assert resource(block, "nodes") == 1
    autoencoders = [
        block for rule, blocks in jobs.items() if rule.startswith("sparse_autoencoder_") for block in blocks
    ]
    assert autoencoders
    assert all("gpu=" not in block for block in autoencoders)
    assert resource(jobs["step_cost"][0], "gpu") == min(1, gpus)  # it times the same networks


def test_step_cost_runs_alone(scale):
    config = scale("smoke")
    assert "threads: 4" in dry_run(config, "default", "--cores", "4")["step_cost"][0]
    (on_cluster,) = dry_run(config, "slurm")["step_cost"]
    assert "slurm_extra=--exclusive" in on_cluster
    assert "threads:" not in on_cluster  # one, as every other job


def test_gpus_must_be_a_count(scale):
    config = scale("smoke", gpus=-1)
    result = forked.snakemake("--dry-run", "--nolock", "--cores", "1", "--configfile", str(config))
    assert result.returncode == 2
    assert "gpus: Input should be greater than or equal to 0, got -1" in result.stderr


def test_a_wrong_rule_is_found_again_and_what_passed_is_remembered(scale, tmp_path):
    """The marker of a check that passed says nothing of a config that was changed since."""
    values = read("config/smoke.yaml")
    assert dry_run(scale("smoke"), "default", "--cores", "1")
    values["introvae"]["methods"]["softadapt"]["encoder"]["betta"] = 1
    for _ in range(2):
        config = scale("smoke", introvae=values["introvae"])
        result = forked.snakemake("--dry-run", "--nolock", "--cores", "1", "--configfile", str(config))
        assert result.returncode == 2
        assert "betta: unknown key" in result.stderr


def test_the_executor_is_pinned():
    lines = Path("profiles/slurm/requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(pins) == {"snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep"}


@pytest.fixture
def two_clones(tmp_path):
    """What one_node_slurm.sh leaves, in small."""
    for clone in ("cluster", "local"):
        for name, text in {
            "runs/introvae/fixed/seed-0/metrics.json": "{}",
            "runs/step_cost/default/seed-0/metrics.json": f'"{clone}"',
            "tables/introvae.csv": f"method,psnr,train_seconds\nfixed,20.5,{len(clone)}\n",
            "specifications.csv": f"id,measured\nsae-pcc-last,0.5\nsae-cost,{len(clone)}\n",
            "logs/introvae/fixed-0.log": "results/smoke/run: going on from its checkpoint, after 2 s\n",
        }.items():
            path = tmp_path / clone / compare.RESULTS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "jobs.txt").write_text("JobId=1 JobState=COMPLETED\nJobId=2 JobState=CANCELLED\n")
    (tmp_path / "cluster.log").write_text("Trying to restart job 3.\n")
    return tmp_path


def test_the_comparison_passes_over_times_alone(two_clones, capsys):
    assert compare.main([str(two_clones), "--killed", "1"]) == 0
    assert re.search(r"^files compared +3 \(1 metrics.json, 2 tables\)", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda clone: (clone / "runs/introvae/fixed/seed-0/metrics.json").write_text("[]"),
        lambda clone: (clone / "runs/introvae/fixed/seed-0/metrics.json").unlink(),
        lambda clone: (clone / "tables/introvae.csv").write_text("method,psnr,train_seconds\nfixed,20.4,5\n"),
        lambda clone: (clone / "specifications.csv").write_text("id,measured\nsae-pcc-last,0.4\nsae-cost,5\n"),
    ],
)
def test_the_comparison_finds_a_difference(two_clones, damage):
    damage(two_clones / "local" / compare.RESULTS)
    assert compare.main([str(two_clones), "--killed", "1"]) == 1


def test_the_jobs_that_the_cluster_test_ends_are_some_of_the_smoke_scale():
    script = Path("tests/cluster/one_node_slurm.sh").read_text(encoding="utf-8")
    section = load("config/smoke.yaml").introvae
    assert int(re.search(r"^SEED=(\d+)", script, re.MULTILINE)[1]) in section.seeds
    ended = re.findall(r"^(?:cancel|lose) (\S+) &", script, re.MULTILINE)
    assert len(ended) == 2
    assert set(ended) <= set(section.methods)


def test_the_comparison_leaves_out_the_claims_on_costs_and_no_others():
    costs = {claim.id for claim in load_ledger().claims if claim.room == "step_cost"}
    assert costs == {claim.id for claim in load_ledger().claims if claim.id.endswith("-cost")} != set()


def test_the_comparison_wants_the_killed_job_retried(two_clones):
    assert compare.main([str(two_clones), "--killed", "2"]) == 1
