"""The workflow as a user meets it: every scale plans, and a mistake is one line."""

import re
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml

from experiments.runs.jobs import captions, drawn
from experiments.scale import ROOMS, load, read

pytestmark = pytest.mark.whole

PLANNING = ["--cores", "1", "--dry-run", "--quiet", "rules", "--nolock"]


def plan(config):
    return forked.snakemake(*PLANNING, "--configfile", str(config))


def planned_under_another_name(tmp_path, scale):
    """Path of the config of a scale under another name, so that finished runs in this checkout do not matter."""
    values = read(f"config/{scale}.yaml") | {"scale": f"planned-{scale}", "data_dir": str(tmp_path)}
    config = tmp_path / "planned.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    return config


def planned_jobs(result):
    """Rule -> number of its jobs, from the plan's table."""
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


@pytest.mark.parametrize("scale", ["smoke", "laptop", "full", "paper"])
def test_every_scale_plans(scale, tmp_path):
    config = planned_under_another_name(tmp_path, scale)
    counts = planned_jobs(plan(config))
    settings = load(config)
    section = settings.sparse_autoencoder
    groups = {len(seeds): len(methods) for seeds, methods in section.by_seeds().items()}
    assert {rule: count for rule, count in counts.items() if rule.startswith("sparse_autoencoder")} == {
        f"sparse_autoencoder_{seeds}": count for seeds, count in groups.items()
    }  # all seeds of a method are one job
    assert sum(groups.values()) == len(section.names())
    assert counts["gradient_descent"] == 6  # two functions with three step rules
    assert {"claims", "digit_classifier"} <= counts.keys()
    if settings.complete:
        methods = settings.introvae.methods
        assert counts["introvae"] == len(methods) * len(settings.introvae.seeds)
        assert {"paper", "report"} <= counts.keys()
    else:
        assert not {"introvae", "paper", "report"} & counts.keys()


def planned_blocks(config):
    """Every job of a whole plan as Snakemake prints it, in its order: rule and text."""
    words = ["--cores", "1", "--dry-run", "--nolock", "--forceall", "--printshellcmds", "--quiet", "reason"]
    result = forked.snakemake(*words, "--configfile", str(config))
    assert result.returncode == 0, result.stderr
    blocks = re.split(r"^(?= *(?:local)?rule \w+:$)", result.stdout, flags=re.MULTILINE)[1:]
    return [(re.match(r" *(?:local)?rule (\w+):", block)[1], block) for block in blocks]


def files_in(block, kind):
    """The input or output of a job."""
    found = re.search(rf"^ +{kind}: (.*)$", block, re.MULTILINE)
    return found[1].split(", ") if found else []


def test_each_method_of_the_autoencoder_is_one_job_with_its_seeds_and_follows_what_it_reads(tmp_path):
    config = planned_under_another_name(tmp_path, "smoke")
    section = load(config).sparse_autoencoder
    jobs = {}
    for number, (rule, block) in enumerate(planned_blocks(config)):
        if rule.startswith("sparse_autoencoder"):
            name, seeds = re.search(r"--method (\S+) --seed ((?:\d+ )+)--overwrite", block).groups()
            assert name not in jobs
            jobs[name] = number, rule, seeds.split(), block
    assert jobs.keys() == set(section.names())
    assert {rule for _, rule, _, _ in jobs.values()} == {"sparse_autoencoder_1", "sparse_autoencoder_2"}
    for name, (_, rule, seeds, block) in jobs.items():
        folder = f"results/planned-smoke/runs/sparse_autoencoder/{name}"
        assert [int(seed) for seed in seeds] == section.seeds_of(name)
        assert rule == f"sparse_autoencoder_{len(seeds)}"
        made = {Path(file) for file in files_in(block, "output")}
        assert {path.parent for path in made} == {Path(folder, f"seed-{seed}") for seed in seeds}
        assert {path.name for path in made} >= {"metrics.json", "history.csv", "samples.npz", "weights.pt"}
    assert jobs["softadapt"][2] == jobs["softadapt-yoked"][2] == ["10", "11"]
    assert jobs["softadapt-beta-0"][2] == ["10"]
    read_by_yoked, read_by_softadapt = (files_in(jobs[name][3], "input") for name in ("softadapt-yoked", "softadapt"))
    assert set(files_in(jobs["softadapt"][3], "output")) <= set(read_by_yoked)
    assert not [file for file in read_by_softadapt if "/runs/sparse_autoencoder/" in file]
    assert jobs["softadapt"][0] < jobs["softadapt-yoked"][0]


def test_figures_without_their_runs_are_not_planned(tmp_path):
    """Smoke trains SoftAdapt in other units and on the plane, laptop does neither."""
    optional = {"where_it_lands", "autoencoder_plane"}
    for scale, expected in (("smoke", optional), ("laptop", set())):
        config = planned_under_another_name(tmp_path, scale)
        assert optional & set(drawn(load(config), "sparse_autoencoder")) == expected
        [block] = [block for rule, block in planned_blocks(config) if rule == "figures_sparse_autoencoder"]
        made = {Path(file).stem for file in files_in(block, "output")}
        assert made == set(drawn(load(config), "sparse_autoencoder"))
        assert optional & made == expected
        assert {"figure_6_digits", "sparsity_frontier", "autoencoder_specifications"} <= made


def test_the_claims_come_with_their_specifications(tmp_path):
    config = planned_under_another_name(tmp_path, "smoke")
    [block] = [block for rule, block in planned_blocks(config) if rule == "claims"]
    made = [
        f"results/planned-smoke/{name}.{form}" for name in ("claims", "specifications") for form in ("csv", "md", "tex")
    ]
    assert sorted(files_in(block, "output")) == sorted(made)


def test_a_scale_plans_only_what_it_has(faces_config):
    counts = planned_jobs(plan(faces_config))
    introvae = yaml.safe_load(faces_config.read_text())["introvae"]
    runs = len(introvae["methods"]) * len(introvae["seeds"])
    once = dict.fromkeys(["fetch", "rows", "tables_introvae", "figures_introvae", "claims", "all"], 1)
    assert counts == once | {"introvae": runs, "total": runs + len(once)}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda v: v["introvae"].update(epohcs=3), "introvae.epohcs: unknown key, did you mean epochs?"),
        (
            lambda v: v["introvae"]["methods"]["softadapt"]["encoder"].update(betta=3),
            "introvae.methods.softadapt.encoder: betta: unknown key, did you mean beta?",
        ),
        (
            lambda v: v["introvae"]["methods"]["fixed"]["generator"]["weights"].pop("kl_fake"),
            "introvae.methods.fixed.generator: weights must name kl_fake, reconstruction, got reconstruction",
        ),
    ],
)
def test_a_mistake_in_the_config_is_one_line_before_anything_runs(tmp_path, break_it, message):
    values = read("config/smoke.yaml")
    break_it(values)
    config = tmp_path / "bad.yaml"
    config.write_text(yaml.safe_dump(values))
    result = plan(config)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if "rror" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(message)
    assert "Traceback" not in result.stderr


def test_without_a_config_the_laptop_scale_is_planned():
    plan = forked.snakemake(*PLANNING, "-p", "--forceall", "--quiet", "host")
    assert plan.returncode == 0, plan.stderr
    assert "python -m experiments.evidence.claims --config=config/laptop.yaml " in plan.stdout


def test_every_table_and_figure_of_a_room_has_its_caption_in_the_report():
    """The rules find tables and figures by their captions."""
    for kind in ("tables", "figures"):
        for room in ROOMS:
            names = captions(room, kind)
            assert bool(names) == (room != "digit_classifier"), room  # which is a judge, not a finding
            for name in names:
                text = Path("experiments", room, "captions", kind, f"{name}.rst").read_text(encoding="utf-8")
                assert len(text.split()) > 3
                assert "``" not in text, f"{name}: a path in a caption breaks when a file moves"


TOY = """
import sys
sys.path.insert(0, {root!r})
from experiments.runs import job_lines
from snakemake.logging import logger

onstart:
    job_lines.follow(logger, workflow.dag.stats()[1], {{"slow": 0.1}})

onsuccess:
    print(*job_lines.there({{"claims": "1.txt", "paper": "absent.pdf"}}), sep="\\n", file=sys.stderr)

rule all:
    input: expand("{{n}}.txt", n=[1, 2]), {more}

rule slow:
    output: "{{n}}.txt"
    shell: "touch {{output}}"

rule broken:
    output: "broken.txt"
    log: "broken.log"
    shell: "echo that was a mistake > {{log}}; exit 3"
"""


def toy(folder, more="[]"):
    (folder / "Snakefile").write_text(TOY.format(root=str(Path.cwd()), more=more), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "host", "--keep-going"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_job_is_one_line_and_the_end_names_what_is_there(tmp_path):
    done = toy(tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [re.sub(r"^\S+ +", "", line) for line in lines if "slow" in line and "1 of 3" in line]
    assert re.search(r"1 of 3  slow [12] +0 s  about \d+ s left$", lines[0])
    assert re.search(r"3 of 3  all +0 s$", lines[2])
    assert len(lines) == 3
    assert "claims    1.txt" in done.stderr
    assert "absent.pdf" not in done.stderr
    for noise in ("jobid", "Select jobs", "resources:", "\x1b", "\r"):
        assert noise not in done.stderr


def test_a_job_that_fails_shows_its_log(tmp_path):
    done = toy(tmp_path, '"broken.txt"')
    assert done.returncode == 1
    assert re.search(r"failed: broken\n  broken.log:\n    that was a mistake\n", done.stderr)
    assert done.stderr.splitlines().count("    that was a mistake") == 1
    assert len(re.findall(r" of 4  slow [12] ", done.stderr)) == 2
