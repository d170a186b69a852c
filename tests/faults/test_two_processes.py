"""Two processes on one run folder: one runs, the other says so in one line and changes nothing."""

import signal

import pytest
from processes import one_line
from scenes import differences, leftovers

pytestmark = pytest.mark.whole


@pytest.mark.parametrize(
    "what", ["digit classifier", "autoencoder, GradNorm", "IntroVAE, SoftAdapt", "gradient descent"]
)
def test_of_two_that_start_together_one_runs_and_the_other_says_so(
    place, tmp_path, number_of_trials, only_some, trials, what
):
    only_some(what, "autoencoder, GradNorm")
    for trial in range(number_of_trials):
        folder = tmp_path / str(trial)
        processes = [place.start(what, folder) for _ in range(2)]
        codes = sorted(process.wait() for process in processes)
        if codes == [0, 0]:  # the other began when the first had ended
            assert any("is complete" in process.printed for process in processes)
            trials["one after the other"] += 1
        else:
            assert codes == [0, 2], [process.printed for process in processes]
            loser = next(process for process in processes if process.wait() == 2)
            one_line(loser, str(folder), "another process")
            trials["at once"] += 1
        assert differences(folder, place.undisturbed(what)) == []
        assert leftovers(folder) == []


def test_a_second_process_in_the_middle_of_training_is_refused(place, tmp_path):
    folder = tmp_path / "run"
    first = place.start_training(folder)
    first.send(signal.SIGSTOP)  # else a busy machine may let it end before the second one has begun
    one_line(place.start("digit classifier", folder), str(folder), "another process")
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert differences(folder, place.undisturbed("digit classifier")) == []


def test_a_killed_process_leaves_no_lock(place, tmp_path):
    folder = tmp_path / "run"
    first = place.start_training(folder)
    first.send(9)
    first.wait()
    second = place.start("digit classifier", folder)
    assert second.wait() == 0, second.printed
