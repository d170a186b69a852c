"""A SoftAdapt beside the model in accelerate's own checkpoints."""

import pytest
import torch
from torch import nn

from softadapt import SoftAdapt

pytestmark = pytest.mark.whole

accelerate = pytest.importorskip(
    "accelerate", reason="needs tests/integrations/requirements.lock: make integrations-test"
)


def test_a_registered_module_is_restored_in_every_bit(tmp_path):
    def prepared():
        torch.manual_seed(0)
        accelerator = accelerate.Accelerator(cpu=True)
        balance = SoftAdapt(["mse", "l1"], beta=5.0, history=3).to(accelerator.device)
        model = accelerator.prepare(nn.Linear(2, 2))
        accelerator.register_for_checkpointing(balance)
        return accelerator, model, balance

    accelerator, _, balance = prepared()
    losses = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    for row in losses[:5]:
        balance(row)
    accelerator.save_state(str(tmp_path))
    resumed_accelerator, _, resumed = prepared()
    assert resumed.observations == 0
    resumed_accelerator.load_state(str(tmp_path))
    assert resumed.names == ("mse", "l1")
    for row in losses[5:]:
        assert torch.equal(resumed(row), balance(row))
        assert torch.equal(resumed.history, balance.history)
    assert resumed.observations == 8


def test_a_module_inside_a_prepared_model_is_restored_with_it(tmp_path):
    def prepared():
        accelerator = accelerate.Accelerator(cpu=True)
        model = accelerator.prepare(
            nn.ModuleDict({"net": nn.Linear(2, 2), "balance": SoftAdapt(["mse", "l1"], beta=5.0)})
        )
        return accelerator, model["balance"]

    accelerator, balance = prepared()
    losses = torch.rand(8, 2, generator=torch.Generator().manual_seed(0))
    for row in losses[:5]:
        balance(row)
    accelerator.save_state(str(tmp_path))
    resumed_accelerator, resumed = prepared()
    resumed_accelerator.load_state(str(tmp_path))
    assert resumed.names == ("mse", "l1")
    assert [torch.equal(resumed(row), balance(row)) for row in losses[5:]] == [True] * 3
    assert resumed.observations == 8
