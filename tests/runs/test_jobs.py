"""What jobs ask a scheduler for, and what makes them stale."""

from types import SimpleNamespace

import pytest

from experiments.runs.jobs import LONGEST, Jobs, captions
from experiments.scale import ROOMS, Settings, load, read

LONGEST_AT_LAPTOP = {
    "gradient_descent": 322,
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
    scales = [jobs(name) for name in ("smoke", "laptop", "full", "paper")]
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
    assert [name for name in before if before[name] != after[name]] == ["softadapt"]


def test_a_new_seed_or_method_makes_no_other_run_stale():
    values = read("config/smoke.yaml")
    before = identities("introvae", values)
    values["introvae"]["seeds"] = [7, 8]
    values["introvae"]["methods"]["new"] = values["introvae"]["methods"]["fixed"]
    after = identities("introvae", values)
    assert {name: after[name] for name in before} == before


def test_a_run_depends_on_the_files_of_its_own_rules():
    code = jobs("smoke").code("sparse_autoencoder")
    files = code(SimpleNamespace(method="relobralo"))
    assert "experiments/weightings/relobralo.py" in files
    assert "experiments/weightings/gradnorm.py" not in files
    assert "experiments/sparse_autoencoder/run.py" in files


def test_only_rooms_that_count_their_minutes_state_them():
    stated = jobs("laptop").stated_minutes()
    assert {"gradient_descent", "introvae", "sparse_autoencoder"} <= stated.keys()
    assert "namesakes" not in stated


def test_captions_are_the_list_of_tables():
    assert captions("introvae", "tables") == ["introvae_held_out", "introvae_methods", "introvae_train"]
    assert captions("digit_classifier", "tables") == []
