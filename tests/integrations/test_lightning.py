"""`LossWeightMonitor`, and SoftAdapt itself, in a real Lightning Trainer."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from softadapt import SoftAdapt

pytest.importorskip("lightning", reason="needs tests/integrations/requirements.lock: make integrations-test")

import pytorch_lightning
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

from softadapt.integrations.lightning import LossWeightMonitor

BATCHES = 4
PRECISIONS = ["32-true", "bf16-mixed", "bf16-true"]
pytestmark = [
    pytest.mark.whole,
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]


def step(module, batch):
    x, y = batch
    prediction = module.net(x)
    return {"mse": functional.mse_loss(prediction, y), "l1": functional.l1_loss(prediction, y)}


def remember(module):
    module.weights_of_steps.append(module.balance.weights.clone())
    module.histories_of_steps.append(module.balance.history.clone())


class Model(LightningModule):
    def __init__(self, balance=None, scale=1.0, poison=None):
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.balance = balance or SoftAdapt(["mse", "l1"], beta=5.0, history=3)
        self.scale, self.poison = scale, poison
        self.weights_of_steps, self.histories_of_steps = [], []

    def training_step(self, batch, index):
        losses = {name: loss * self.scale for name, loss in step(self, batch).items()}
        if self.poison is not None and index == 1:
            losses["l1"] = losses["l1"] * 0 + self.poison
        total = self.balance(losses)
        remember(self)
        return total if total.isfinite() else None

    def validation_step(self, batch):
        self.balance({name: 100 * loss for name, loss in step(self, batch).items()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Rows(Logger):
    """A logger that keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.rows = {}

    name, version = "rows", 0

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)

    def log_hyperparams(self, *args, **kwargs):
        pass

    def of(self, prefix):
        """Rows that have keys of this prefix, in the order of the steps."""
        rows = [{key: row[key] for key in row if key.startswith(prefix)} for _, row in sorted(self.rows.items())]
        return [row for row in rows if row]


def batches():
    x = torch.randn(2 * BATCHES, 3, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x[:, :2] * 2), batch_size=2)


def fit(model, epochs, callbacks=(), validate=False, resume=None, trainer_class=Trainer, **options):
    options = {"log_every_n_steps": 1, "logger": False, "enable_checkpointing": False} | options
    trainer = trainer_class(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, batches(), batches() if validate else None, ckpt_path=resume)
    return trainer


def test_logs_the_weights_of_every_step():
    rows, model = Rows(), Model()
    fit(model, 2, [LossWeightMonitor()], logger=rows)
    logged = rows.of("loss_weight/")
    assert len(logged) == 2 * BATCHES
    for row, weights in zip(logged, model.weights_of_steps, strict=True):
        assert row == {"loss_weight/balance/mse": weights[0].item(), "loss_weight/balance/l1": weights[1].item()}
    assert logged[0]["loss_weight/balance/mse"] == 0.5
    assert logged[-1]["loss_weight/balance/mse"] != 0.5


def test_logs_as_often_as_the_trainer_does():
    rows = Rows()
    fit(Model(), 2, [LossWeightMonitor()], logger=rows, log_every_n_steps=4)
    assert len(rows.of("loss_weight/")) == 2


def test_logs_the_weights_at_the_end_of_an_epoch():
    rows, model = Rows(), Model()
    fit(model, 2, [LossWeightMonitor("epoch", prefix="w")], logger=rows)
    ends = [model.weights_of_steps[BATCHES - 1], model.weights_of_steps[-1]]
    assert rows.of("w/") == [{"w/balance/mse": end[0].item(), "w/balance/l1": end[1].item()} for end in ends]


def test_waits_for_no_device_after_a_batch():
    """Operations that read a number or copy to another device would make the CPU wait."""
    called = set()

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.add(func.overloadpacket)
            return func(*args, **(kwargs or {}))

    class Watched(LossWeightMonitor):
        def on_train_batch_end(self, *args):
            with Operations():
                super().on_train_batch_end(*args)

    fit(Model(), 1, [Watched()], logger=Rows(), log_every_n_steps=100)
    assert called
    aten = torch.ops.aten
    assert not called & {aten._local_scalar_dense, aten._to_copy, aten.is_nonzero, aten.equal, aten.nonzero}


def test_finds_every_module_and_numbers_what_has_no_name():
    class Two(Model):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({"head": SoftAdapt(3)})

    trainer = fit(Two(), 1, [LossWeightMonitor()], logger=Rows())
    assert {key for key in trainer.callback_metrics if key.startswith("loss_weight/")} == {
        *("loss_weight/balance/mse", "loss_weight/balance/l1"),
        *("loss_weight/parts.head/0", "loss_weight/parts.head/1", "loss_weight/parts.head/2"),
    }


def test_refuses_a_model_without_softadapt():
    model = Model()
    model.balance = nn.Identity()
    with pytest.raises(ValueError, match=r"Model holds no SoftAdapt.*self\.balance = SoftAdapt"):
        fit(model, 1, [LossWeightMonitor()])


def test_refuses_another_interval():
    with pytest.raises(ValueError, match="logging_interval must be 'step' or 'epoch', got 'batch'"):
        LossWeightMonitor("batch")


def warnings_of(model, epochs=2, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, epochs, [LossWeightMonitor()], **options)
    return [str(warning.message) for warning in caught if str(warning.message).startswith("SoftAdapt balance")]


def test_warns_once_of_weights_that_change_within_an_optimiser_step():
    (message,) = warnings_of(Model(), accumulate_grad_batches=2)
    assert "update_every=1 is no multiple of accumulate_grad_batches=2" in message
    assert "take update_every=2" in message


@pytest.mark.parametrize(("update_every", "accumulate"), [(1, 1), (4, 2)])
def test_does_not_warn_of_whole_windows(update_every, accumulate):
    balance = SoftAdapt(["mse", "l1"], update_every=update_every)
    assert warnings_of(Model(balance), accumulate_grad_batches=accumulate) == []


@pytest.mark.parametrize(
    ("poison", "text"),
    [
        (float("nan"), "calls with a non-finite loss in epoch {}: 1;"),
        (-1.0, "negative losses in epoch {}: 1;"),
    ],
)
def test_warns_at_the_end_of_each_epoch_in_which_a_count_rose(poison, text):
    first, second = warnings_of(Model(poison=poison))
    assert text.format(0) in first
    assert text.format(1) in second


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumed_training_equals_an_uninterrupted_one_in_every_bit(tmp_path, precision):
    seed_everything(0, verbose=False)
    whole = Model()
    first, second = Model(), Model()
    first.load_state_dict(whole.state_dict())
    fit(whole, 4, precision=precision)
    checkpoint = ModelCheckpoint(tmp_path)
    fit(first, 2, [LossWeightMonitor(), checkpoint], enable_checkpointing=True, validate=True, precision=precision)
    assert not [
        key
        for key in torch.load(checkpoint.best_model_path, weights_only=True)["callbacks"]
        if "LossWeightMonitor" in key
    ]
    fit(second, 4, [LossWeightMonitor()], validate=True, resume=checkpoint.best_model_path, precision=precision)
    for name in ("weights_of_steps", "histories_of_steps"):
        resumed = [*getattr(first, name), *getattr(second, name)]
        assert len(resumed) == 4 * BATCHES
        assert all(torch.equal(a, b) for a, b in zip(getattr(whole, name), resumed, strict=True))
    assert not torch.equal(whole.weights_of_steps[2 * BATCHES], torch.full((2,), 0.5))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_validation_and_the_sanity_check_leave_the_state_alone(precision):
    seed_everything(0, verbose=False)
    without, with_validation = Model(), Model()
    with_validation.load_state_dict(without.state_dict())
    fit(without, 2, precision=precision)
    trainer = fit(with_validation, 2, validate=True, precision=precision)
    trainer.validate(with_validation, batches(), verbose=False)
    assert with_validation.balance.observations == 2 * BATCHES
    for a, b in zip(without.balance.buffers(), with_validation.balance.buffers(), strict=True):
        assert torch.equal(a, b)


def test_the_state_is_in_single_precision_when_the_model_is_in_half():
    """Losses above the range of float16, whose differences bfloat16 could not hold."""

    class Exact(Model):
        def training_step(self, batch, index):
            total = super().training_step(batch, index)
            self.balance(torch.tensor([70_000.0 + index, 1.001], dtype=torch.float32))
            return total

    model = Exact()
    fit(model, 1, precision="bf16-true")
    assert model.net.weight.dtype == torch.bfloat16
    assert model.balance.history.dtype == model.balance.weights.dtype == torch.float32
    assert model.balance.history[-1].tolist() == torch.tensor([70_000.0 + BATCHES - 1, 1.001]).tolist()
    assert model.balance.nonfinite_count == 0


def test_serves_a_trainer_of_the_older_import_name():
    class Old(pytorch_lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.balance = nn.Linear(3, 2), SoftAdapt(["mse", "l1"])

        def training_step(self, batch):
            return self.balance(step(self, batch))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = fit(Old(), 1, [LossWeightMonitor()], trainer_class=pytorch_lightning.Trainer)
    assert trainer.callback_metrics["loss_weight/balance/mse"] + trainer.callback_metrics["loss_weight/balance/l1"] == 1
