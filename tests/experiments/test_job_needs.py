"""What jobs ask a scheduler for."""

import pytest

from experiments import job_needs
from experiments.scale import load

LONGEST_AT_LAPTOP = {
    "gradient_descent": 322,
    "digit_classifier": 38,
    "sparse_autoencoder": 76,
    "introvae": 168,
    "step_cost": 30,
}
"""Seconds of each experiment's longest job in the reference run of the laptop scale, two at a time on two cores."""


@pytest.mark.parametrize(("experiment", "seconds"), LONGEST_AT_LAPTOP.items())
def test_the_laptop_scale_has_room_to_spare(experiment, seconds):
    minutes = job_needs.minutes(load("config/laptop.yaml"), experiment, 1)
    assert 4 * seconds / 60 < minutes <= 60
    assert job_needs.megabytes(load("config/laptop.yaml"), experiment, 1) == 2500


@pytest.mark.parametrize("experiment", LONGEST_AT_LAPTOP)
def test_no_scale_asks_for_less_than_a_smaller_one_nor_for_more_than_a_day(experiment):
    scales = [load(f"config/{name}.yaml") for name in ("smoke", "laptop", "full", "paper")]
    limits = [job_needs.minutes(settings, experiment, 1) for settings in scales]
    assert limits == sorted(limits)
    assert all(job_needs.minutes(settings, experiment, 1000) == job_needs.LONGEST for settings in scales)


def test_more_gpus_take_less_time_and_more_memory():
    one = load("config/celeba-10k.yaml").model_copy(update={"gpus": 1})
    two = one.model_copy(update={"gpus": 2})
    assert job_needs.minutes(two, "introvae", 1) < job_needs.minutes(one, "introvae", 1)
    assert job_needs.megabytes(two, "introvae", 1) == 2 * job_needs.megabytes(one, "introvae", 1)
