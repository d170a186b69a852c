"""Any way of saving and loading restores the state, or says why it cannot."""

import copy
import itertools
import pickle
import warnings
from unittest import mock

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint

import softadapt.module
from softadapt import SoftAdapt

OPTIONS = {"history": 4, "update_every": 2, "beta": 3.0, "prior": [1, 2], "missing": "hold"}
ROWS = torch.rand(14, 2, generator=torch.Generator().manual_seed(0)) + 0.1


def made(names, **options):
    return SoftAdapt(names, **OPTIONS | options)


def call(balance, row):
    return balance(dict(zip("ab", row, strict=True)))


def trained(names, calls=7):
    balance = made(names)
    for row in ROWS[:calls]:
        call(balance, row)
    balance({"a": None, "b": 1.0})
    balance({"a": 1.0, "b": float("inf")})
    balance({"a": -1.0, "b": 1.0})
    return balance


def by_state_dict(balance, names, folder):
    torch.save(balance.state_dict(), folder / "state.pt")
    fresh = made(names)
    fresh.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    return fresh


def by_distributed_checkpoint(balance, names, folder):
    checkpoint.save({"balance": balance.state_dict()}, checkpoint_id=folder)
    fresh = made(names)
    state = {"balance": fresh.state_dict()}
    checkpoint.load(state, checkpoint_id=folder)
    fresh.load_state_dict(state["balance"])
    return fresh


def by_meta_device(balance, names, folder):
    with torch.device("meta"):
        fresh = made(names)
    fresh = fresh.to_empty(device="cpu")
    fresh.reset_parameters()
    fresh.load_state_dict(balance.state_dict())
    return fresh


def by_assigning_to_the_meta_device(balance, names, folder):
    with torch.device("meta"):
        fresh = made(names)
    fresh.load_state_dict(copy.deepcopy(balance.state_dict()), assign=True)  # would share the tensors
    return fresh


def by_copy(balance, names, folder):
    return copy.deepcopy(balance)


def by_pickle(balance, names, folder):
    return pickle.loads(pickle.dumps(balance))


WAYS = [
    by_state_dict,
    by_distributed_checkpoint,
    by_meta_device,
    by_assigning_to_the_meta_device,
    by_copy,
    by_pickle,
]


@pytest.mark.filterwarnings("ignore:SoftAdapt. the loss:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized:UserWarning")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(("before", "after"), list(itertools.product([2, ["a", "b"]], repeat=2)))
@pytest.mark.parametrize("host_limit", [0, 128])
def test_a_fresh_module_goes_on_as_the_saved_one(tmp_path, way, before, after, host_limit):
    saved = trained(before)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "SoftAdapt: the loaded state")
        restored = way(saved, after, tmp_path)
    assert restored.names == ("a", "b")
    with mock.patch.object(softadapt.module, "_HOST_LIMIT", host_limit):
        for row in ROWS[7:]:
            assert torch.equal(call(restored, row), call(saved, row))
            assert torch.equal(restored.weights, saved.weights)
    assert restored.state_dict().keys() == saved.state_dict().keys()
    for key, value in saved.state_dict().items():
        assert torch.equal(restored.state_dict()[key], value), key
    counts = [restored.nonfinite_count, restored.negative_count, restored.observations]
    assert [count.item() for count in counts] == [1, 1, 8]


def test_everything_in_the_state_has_a_size_that_depends_on_the_number_of_losses_alone():
    plain = SoftAdapt(2).state_dict()
    full = SoftAdapt(["x" * 64, "y"], missing="hold", prior=[1, 2], update_every=7).state_dict()
    assert {key: value.shape for key, value in plain.items()} == {key: value.shape for key, value in full.items()}
    assert all(isinstance(value, torch.Tensor) for value in full.values())


def test_meta_initialisation_is_that_of_a_new_module():
    with torch.device("meta"):
        balance = SoftAdapt(3, prior=[1, 2, 5], total=3.0)
    balance.to_empty(device="cpu").reset_parameters()
    new = SoftAdapt(3, prior=[1, 2, 5], total=3.0)
    for key, value in new.state_dict().items():
        assert torch.equal(balance.state_dict()[key], value), key


def test_a_state_that_nothing_filled_is_refused():
    """As where a framework makes the model on the meta device and then allocates buffers that its checkpoint lacks."""
    with torch.device("meta"):
        balance = SoftAdapt(2)
    balance.to_empty(device="cpu")
    for use in (balance, balance.observe, balance.weigh, balance.eval()):
        with pytest.raises(ValueError, match="nor loaded whole; call its reset_parameters"):
            use([1.0, 2.0])
    with pytest.raises(ValueError, match="nor loaded whole"):
        balance.named_weights()
    copy.deepcopy(balance).load_state_dict(SoftAdapt(2).state_dict())
    other = SoftAdapt(2)
    other.load_state_dict(balance.state_dict())  # and so is a copy of it
    with pytest.raises(ValueError, match="nor loaded whole"):
        other([1.0, 2.0])
    with pytest.raises(ValueError, match="neither initialised nor loaded whole"):
        balance([1.0, 2.0])
    balance.reset_parameters()
    assert balance([1.0, 2.0]).item() == 1.5


def test_resetting_forgets_all_but_the_names():
    balance = made(["a", "b"])
    for row in ROWS:
        call(balance, row)
    balance.reset_parameters()
    for key, value in made(["a", "b"]).state_dict().items():
        assert torch.equal(balance.state_dict()[key], value), key


def _record_elsewhere(balance):
    torch.set_num_threads(1)
    for row in ROWS[:6]:
        call(balance, row)


def test_shared_memory_holds_all_of_the_state():
    balance = made(["a", "b"]).share_memory()
    assert all(buffer.is_shared() for buffer in balance.buffers())
    process = torch.multiprocessing.get_context("spawn").Process(target=_record_elsewhere, args=(balance,))
    process.start()
    process.join()
    assert process.exitcode == 0
    expected = made(["a", "b"])
    _record_elsewhere(expected)
    for name, buffer in expected.named_buffers():
        assert torch.equal(balance.get_buffer(name), buffer), name


def test_names_of_the_constructor_are_defended_where_a_framework_sets_the_extra_state_alone():
    balance = SoftAdapt(["c", "d"])
    with pytest.raises(ValueError, match="saved for losses named a, b; this SoftAdapt has c, d"):
        balance.set_extra_state(SoftAdapt(["a", "b"]).get_extra_state())
    assert balance.names == ("c", "d")


CHANGED = {
    "variant": ("original", "'original' (here 'loss_weighted')"),
    "beta": (0.5, "0.5 (here 0.1)"),
    "normalize": (True, "True (here False)"),
    "rate": ("relative", "'relative' (here 'difference')"),
    "order": (1, "1 (here None)"),
    "method": ("least_squares", "'least_squares' (here 'finite_difference')"),
    "update_every": (3, "3 (here 1)"),
    "refresh_every": (5, "5 (here 1)"),
    "prior": ([1.0, 3.0], "[1.0, 3.0] (here None)"),
    "total": (2.0, "2.0 (here 1.0)"),
    "mean_over_history": (True, "True (here False)"),
    "missing": ("hold", "'hold' (here 'error')"),
}


@pytest.mark.parametrize("option", CHANGED)
def test_loading_a_state_of_another_option_warns_once_and_names_it(option):
    value, told = CHANGED[option]
    saved, fresh = SoftAdapt(2, **{option: value}), SoftAdapt(2)
    with pytest.warns(UserWarning, match="saved with other options") as caught:
        nn.Sequential(fresh).load_state_dict({f"0.{key}": part for key, part in saved.state_dict().items()})
    assert len(caught) == 1
    assert f"other options: {option}={told};" in str(caught[0].message)
    assert getattr(fresh, option) == getattr(SoftAdapt(2), option)


def test_a_history_of_another_length_is_not_made_up():
    """As with a framework's option to ignore sizes that do not match: the history is then memory that nothing wrote."""
    balance = SoftAdapt(2)
    with pytest.raises(RuntimeError, match="size mismatch for history"), pytest.warns(UserWarning, match="history=5"):
        balance.load_state_dict(SoftAdapt(2, history=5).state_dict())
    with pytest.raises(ValueError, match="nor loaded whole"):
        balance([1.0, 2.0])


def test_several_options_are_one_warning():
    with pytest.warns(UserWarning, match=r"beta=1.0 \(here 0.1\), total=2.0 \(here 1.0\)") as caught:
        SoftAdapt(2).load_state_dict(SoftAdapt(2, beta=1.0, total=2.0).state_dict())
    assert len(caught) == 1


@pytest.mark.parametrize("other", [lambda: SoftAdapt(3).state_dict(), lambda: {"_extra_state": torch.ones(5).byte()}])
def test_the_state_of_another_number_of_losses_or_version_is_refused(other):
    balance = SoftAdapt(2)
    with pytest.raises(ValueError, match="not one of 2 losses, or another version"):
        balance.load_state_dict(other(), strict=False)
    assert balance.finite_calls.item() == 0


def test_a_process_group_is_shared_by_copies_and_left_out_of_pickles():
    group = object()
    balance = SoftAdapt(2, process_group=group)
    assert balance.process_group is group
    assert copy.deepcopy(balance).process_group is group
    assert pickle.loads(pickle.dumps(balance)).process_group is None
