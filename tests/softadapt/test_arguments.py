"""What `SoftAdapt` accepts, and what it refuses with a ValueError that names the value."""

import numpy as np
import pytest
import torch

from softadapt import SoftAdapt


@pytest.mark.parametrize(
    ("options", "offending"),
    [
        ({"losses": 0}, "0"),
        ({"losses": 2.5}, "2.5"),
        ({"variant": "max"}, "max"),
        ({"beta": float("nan")}, "nan"),
        ({"history": 1}, "1"),
        ({"history": 3, "order": 3}, "3"),
        ({"order": 0}, "0"),
        ({"update_every": 0}, "0"),
        ({"total": -1.0}, "-1.0"),
        ({"total": 0}, "0"),
        ({"total": float("inf")}, "inf"),
        ({"total": 1e39}, "1e+39"),
        ({"total": 1e-50}, "1e-50"),
        ({"losses": []}, "0"),
        ({"losses": None}, "None"),
        ({"losses": b"ab"}, "b'ab'"),
        ({"losses": ["a", 1]}, "1"),
        ({"losses": ["a", "a"]}, "a, a"),
        ({"losses": ["a" * 65, "b"]}, "65"),
        ({"losses": ["\N{GREEK SMALL LETTER LAMDA}" * 33, "b"]}, "66"),
        ({"rate": "ratio"}, "'ratio'"),
        ({"rate": None}, "None"),
        ({"refresh_every": 0}, "0"),
        ({"missing": "drop"}, "'drop'"),
        ({"history": 60, "order": 20}, "order 20"),
        ({"history": 100, "order": 48, "dtype": torch.float64}, "order 48"),
        ({"prior": [1.0]}, "[1.0]"),
        ({"prior": [1.0, 0.0]}, "0.0"),
        ({"prior": 2.0}, "2.0"),
        ({"prior": "12"}, "'1'"),
        ({"prior": [1.0, None]}, "None"),
        ({"prior": torch.ones(2, 2)}, "[1., 1.]"),
        ({"prior": [10**400, 1]}, "10000"),
        ({"method": "spline"}, "spline"),
        ({"losses": True}, "True"),
        ({"losses": "2"}, "'2'"),
        ({"order": 1.5}, "1.5"),
        ({"beta": "x"}, "'x'"),
        ({"beta": "1"}, "'1'"),
        ({"beta": True}, "True"),
        ({"beta": 10**400}, "10000"),
        ({"beta": torch.ones(2)}, "[1., 1.]"),
        ({"total": "num_losses"}, "'num_losses'"),
        ({"total": None}, "None"),
        ({"normalize": "false"}, "'false'"),
        ({"normalize": 1}, "1"),
        ({"mean_over_history": None}, "None"),
        ({"average_over_ranks": 2}, "2"),
        ({"dtype": torch.int64}, "int64"),
        ({"dtype": "float32"}, "'float32'"),
    ],
)
def test_constructor_names_the_offending_value(options, offending):
    with pytest.raises(ValueError, match=r".+") as error:
        SoftAdapt(**({"losses": 2} | options))
    assert offending in str(error.value)
    assert any(name in str(error.value) for name in options)


def test_numbers_of_other_libraries_are_numbers():
    balance = SoftAdapt(
        np.int64(2),
        history=np.int32(3),
        order=torch.tensor(2),
        update_every=np.uint8(1),
        beta=np.float32(0.5),
        total=torch.tensor(2.0),
        prior=np.array([1, 3]),
    )
    assert repr(balance) == repr(SoftAdapt(2, history=3, order=2, beta=0.5, total=2.0, prior=[1, 3]))
    assert balance.weights.tolist() == [0.5, 1.5]
    assert balance([np.float64(1.0), 2]).item() == 3.5


@pytest.mark.parametrize(
    ("losses", "offending"),
    [
        ([1.0], "1"),
        (torch.ones(3), "(3,)"),
        (torch.ones(2, dtype=torch.int64), "int64"),
        ([torch.ones(2), torch.ones(2)], "(2,)"),
        (1.0, "1.0"),
        (None, "None"),
        ((loss for loss in (1.0, 2.0)), "generator"),
        ([1.0, "2"], "'2'"),
        ({"a": None, "b": 1.0}, "None"),
        ([1.0, 10**400], "10000"),
    ],
)
def test_call_names_the_offending_value(losses, offending):
    with pytest.raises(ValueError, match=r".+") as error:
        SoftAdapt(2)(losses)
    assert offending in str(error.value)


def test_a_mapping_with_another_name_is_refused():
    balance = SoftAdapt(2)
    balance({"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match="expected losses named a, b, got a, c"):
        balance({"a": 1.0, "c": 2.0})


@pytest.mark.parametrize(
    "refused", [{"x": 1.0, "y": torch.ones(2)}, {"x": 1.0}, {"x": torch.tensor(1), "y": torch.tensor(2)}]
)
def test_a_refused_call_does_not_name_the_components(refused):
    balance = SoftAdapt(2)
    with pytest.raises(ValueError, match=r".+"):
        balance(refused)
    balance({"a": 1.0, "b": 2.0})
    assert balance.names == ("a", "b")
