"""What jobs ask a scheduler for, and what makes them stale."""

from types import SimpleNamespace

import pytest

from experiments.runs.jobs import LONGEST, Jobs, captions, drawn
from experiments.runs.room import Section
from experiments.scale import ROOMS, Settings, load, read

LONGEST_AT_LAPTOP = {
    "gradient_descent": 102,  # a quarter of the full scale's, which has four times the starts
    "digit_classifier": 38,
    "sparse_autoencoder": 76,
    "introvae": 168,
    "step_cost": 30,
}
"""Seconds of each room's longest job in the reference run of the laptop scale, two at a time on two cores."""


def jobs(name):
    return Jobs(load(f"config/{name}.yaml"))


def minutes(scale, room, attempt=1):
    return scale.minutes(room)(None, attempt)


@pytest.mark.parametrize(("room", "seconds"), LONGEST_AT_LAPTOP.items())
def test_the_laptop_scale_has_room_to_spare(room, seconds):
    laptop = jobs("laptop")
    assert 4 * seconds / 60 < minutes(laptop, room) <= 60
    assert laptop.megabytes(room)(None, 1) == 2500


@pytest.mark.parametrize("room", ROOMS)
def test_no_scale_asks_for_less_than_a_smaller_one_nor_for_more_than_a_day(room):
    for larger in ("full", "paper"):  # two ways to be large; full leaves rooms out
        scales = [jobs(name) for name in ("smoke", "laptop", larger)]
        scales = [each for each in scales if room in each.scale.rooms]
        limits = [minutes(scale, room) for scale in scales]
        assert limits == sorted(limits)
        assert all(minutes(scale, room, 1000) == LONGEST for scale in scales)


def test_another_attempt_asks_for_more():
    laptop = jobs("laptop")
    assert minutes(laptop, "introvae", 2) > minutes(laptop, "introvae")
    assert laptop.megabytes("introvae")(None, 2) == 2 * laptop.megabytes("introvae")(None, 1)


def test_more_gpus_take_less_time_and_more_memory():
    one = load("config/celeba-10k.yaml").model_copy(update={"gpus": 1})
    two = one.model_copy(update={"gpus": 2})
    assert minutes(Jobs(two), "introvae") < minutes(Jobs(one), "introvae")
    assert Jobs(two).megabytes("introvae")(None, 1) == 2 * Jobs(one).megabytes("introvae")(None, 1)


def on_images(data_dir, **section):
    """The smoke scale on other images."""
    values = read("config/smoke.yaml")
    values["introvae"] |= section
    return Settings(**values | {"data_dir": str(data_dir)})


def test_images_of_a_folder_are_counted_for_time_and_memory(tmp_path):
    """Wherever they lie in it; where there is none yet, the whole of CelebA, or 10,000."""
    for place, count in (("celeba/img_align_celeba", 30), ("mine/a", 25), ("mine/b", 15)):
        (tmp_path / place).mkdir(parents=True)
        for index in range(count):
            (tmp_path / place / f"{index}.jpg").touch()
    smoke = on_images("none")
    one = smoke.introvae.minutes(smoke) / 400
    for section, there, elsewhere in (
        ({"dataset": "celeba"}, 30, 202_599),
        ({"dataset": "folder", "folder": {"path": "mine"}}, 40, 10_000),
        ({"dataset": "folder", "folder": {"path": str(tmp_path / "mine")}}, 40, 40),
    ):
        for data_dir, count in ((tmp_path, there), (tmp_path / "none", elsewhere)):
            scale = on_images(data_dir, **section)
            assert scale.introvae.minutes(scale) == pytest.approx(count * one)
            assert scale.introvae.megabytes(scale) == int(2500 + 1.35e-6 * count * 3 * 16 * 16)


def test_memory_holds_the_images_of_the_papers_scale():
    images = 202_599 * 3 * 128 * 128 / 1e6
    assert 1.2 * images < jobs("paper").megabytes("introvae")(None, 1) < 2 * images


def test_what_is_converted_before_the_runs():
    assert on_images("none").introvae.fetch_options() == []
    celeba = on_images("none", dataset="celeba")
    assert celeba.introvae.fetch_options() == ["--image-size=16"]
    folder = {"path": "my faces", "parts": "parts.txt"}
    mine = on_images("none", dataset="folder", folder=folder, crop=64).introvae.fetch_options()
    assert mine == ["--path=my faces", "--parts=parts.txt", "--image-size=16", "--crop=64"]


def test_a_part_of_the_images_is_written_as_it_was_given():
    """People without a point, and a share with it."""
    section = on_images("none", validation=2, held_out=0.1).introvae
    identity = section.identity({"method": "fixed"}, None)["settings"]
    assert (repr(identity["validation"]), repr(identity["held_out"])) == ("2", "0.1")
    assert repr(section.validation) == "2"


def identities(room, values):
    """Run -> what the run depends on besides code."""
    scale = Settings(**values)
    choices = scale.section(room).choices()
    of = Jobs(scale).identity(room)
    return {method: of(SimpleNamespace(method=method)) for method in choices["method"]}


@pytest.mark.parametrize("room", ["sparse_autoencoder", "introvae"])
def test_a_change_of_one_method_makes_its_own_runs_stale(room):
    values = read("config/smoke.yaml")
    before = identities(room, values)
    method = values[room]["methods"]["softadapt"]
    method["weighting" if room == "sparse_autoencoder" else "encoder"] = {"rule": "softadapt", "beta": 0.7}
    after = identities(room, values)
    own = [name for name in before if name.rpartition(".")[2] == "softadapt"]  # variants train it too
    assert own[0] == "softadapt"
    assert [name for name in before if before[name] != after[name]] == own


def test_a_new_seed_or_method_makes_no_other_run_stale():
    values = read("config/smoke.yaml")
    before = identities("introvae", values)
    values["introvae"]["seeds"] = [7, 8]
    values["introvae"]["methods"]["new"] = values["introvae"]["methods"]["fixed"]
    after = identities("introvae", values)
    assert {name: after[name] for name in before} == before


def test_a_run_depends_on_the_files_of_its_own_rules():
    code = jobs("full").code("sparse_autoencoder")
    files = code(SimpleNamespace(method="relobralo"))
    assert "experiments/weightings/relobralo.py" in files
    assert "experiments/weightings/gradnorm.py" not in files
    assert "experiments/sparse_autoencoder/run.py" in files


def test_only_rooms_that_count_their_minutes_state_them():
    rules = ["gradient_descent", "introvae", "sparse_autoencoder_5", "sparse_autoencoder_10", "namesakes", "claims"]
    stated = jobs("laptop").stated_minutes(rules)
    assert stated.keys() == {*rules[:4]}
    assert stated["sparse_autoencoder_5"] == stated["sparse_autoencoder_10"] == 5 * 30 * 16000 / 5e5
    assert jobs("laptop").stated_minutes([]) == {}


def test_captions_are_the_list_of_tables():
    assert captions("introvae", "tables") == ["introvae_held_out", "introvae_methods", "introvae_train"]
    assert captions("digit_classifier", "tables") == []


# --- files of the runs of a room -----------------------------------------------------------------------------------


def folders(files):
    """The names and seeds of the runs that files belong to, in their order."""
    return list(dict.fromkeys(tuple(file.split("/")[-3:-1]) for file in files))


def test_the_files_of_a_room_are_those_of_every_name_and_its_own_seeds():
    smoke = jobs("smoke")
    section = smoke.scale.sparse_autoencoder
    files = smoke.files("sparse_autoencoder")
    assert len(files) == len(set(files))
    assert folders(files) == [(name, f"seed-{seed}") for name in section.names() for seed in section.seeds_of(name)]
    assert {file.split("/")[-1] for file in files} == {
        *("config.yaml", "history.csv", "metrics.json", "provenance.json"),
        *("samples.npz", "weights.pt"),
    }
    assert all(file.startswith("results/smoke/runs/sparse_autoencoder/") for file in files)


def test_the_files_of_some_names_are_theirs_alone():
    files = jobs("smoke").files("sparse_autoencoder", "softadapt", "softadapt-beta-0")
    expected = [("softadapt", "seed-10"), ("softadapt", "seed-11"), ("softadapt-beta-0", "seed-10")]
    assert folders(files) == expected


def test_a_name_may_hold_wildcards():
    assert jobs("smoke").outputs("introvae", "{method}", "{seed}")[0] == (
        "results/smoke/runs/introvae/{method}/seed-{seed}/config.yaml"
    )


def test_the_seeds_of_a_room_without_groups_are_all_of_them():
    smoke = jobs("smoke")
    section = smoke.scale.introvae
    expected = [(name, f"seed-{seed}") for name in section.methods for seed in (10, 11)]
    assert folders(smoke.files("introvae")) == expected
    assert folders(smoke.files("digit_classifier")) == [("default", "seed-0")]


@pytest.mark.parametrize("room", ROOMS)
def test_a_run_leaves_what_every_run_leaves_and_what_its_room_says(room):
    smoke = jobs("smoke")
    leaves = type(smoke.scale.section(room)).leaves
    names = [file.split("/")[-1] for file in smoke.outputs(room, "a", 1)]
    assert names == ["config.yaml", "history.csv", "metrics.json", "provenance.json", *leaves]
    assert not [name for name in names if name.startswith("checkpoint")]  # deleted with the outputs of a failed job


def test_before_a_method_come_all_runs_of_the_one_that_it_replays():
    smoke = jobs("smoke")
    before = smoke.before("sparse_autoencoder")
    assert before(SimpleNamespace(method="softadapt")) == []
    assert before(SimpleNamespace(method="lambda-0.001")) == []
    assert before(SimpleNamespace(method="softadapt-yoked")) == smoke.files("sparse_autoencoder", "softadapt")
    assert folders(before(SimpleNamespace(method="softadapt-yoked"))) == [
        ("softadapt", "seed-10"),
        ("softadapt", "seed-11"),
    ]
    assert smoke.before("introvae")(SimpleNamespace(method="softadapt")) == []


def test_a_room_follows_nothing_unless_it_says_so():
    section = Section()
    assert section.follows("default") == []
    assert section.not_drawn() == set()


@pytest.mark.parametrize("few", [1, 2, 3])
def test_every_method_is_in_one_group_of_seeds(few):
    values = read("config/smoke.yaml")
    values["sparse_autoencoder"] |= {"seeds": [10, 11, 12], "few_seeds": few}
    section = Settings(**values).sparse_autoencoder
    groups = section.by_seeds()
    assert sorted(name for names in groups.values() for name in names) == sorted(section.names())
    assert groups.keys() == {(10, 11, 12), (10, 11, 12)[:few]}
    thorough = groups[10, 11, 12]
    assert {"softadapt", "softadapt-yoked", "lambda-0.001", "warm-up-2.lambda-0.001"} <= set(thorough)
    assert ("softadapt-beta-0" in thorough) == ("unit-norm.softadapt" in thorough) == (few == 3)
    assert len({len(seeds) for seeds in groups}) == len(groups)  # the number of seeds names the rule


def test_only_figures_whose_runs_a_scale_has_are_drawn():
    values = read("config/smoke.yaml")
    every = captions("sparse_autoencoder", "figures")
    assert drawn(Settings(**values), "sparse_autoencoder") == every
    values["sparse_autoencoder"]["unit_factors"] = []
    assert set(every) - set(drawn(Settings(**values), "sparse_autoencoder")) == {"where_it_lands"}
    values["sparse_autoencoder"]["plane"]["rates"] = []
    assert set(every) - set(drawn(Settings(**values), "sparse_autoencoder")) == {"where_it_lands", "autoencoder_plane"}
    assert drawn(Settings(**values), "gradient_descent") == captions("gradient_descent", "figures")
