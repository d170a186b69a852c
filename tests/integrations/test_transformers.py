"""`SoftAdaptTrainerMixin` and `SoftAdaptCallback` in a real Trainer; a SoftAdapt inside a PreTrainedModel."""

import shutil
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from softadapt import SoftAdapt, module

pytest.importorskip("transformers", reason="needs tests/integrations/requirements.lock: make integrations-test")
pytest.importorskip("accelerate", reason="needs tests/integrations/requirements.lock: make integrations-test")

import transformers
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from softadapt.integrations.transformers import SoftAdaptCallback, SoftAdaptTrainerMixin

pytestmark = pytest.mark.whole

BATCH = 2
STEPS = 8
transformers.utils.logging.disable_progress_bar()


class Config(PretrainedConfig):
    model_type = "softadapt-test"

    def __init__(self, names=None, **kwargs):
        super().__init__(**kwargs)
        self.names = names


class Plain(PreTrainedModel):
    """A model whose forward takes any keyword, from which the Trainer concludes that it divides its loss itself."""

    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.net = nn.Linear(3, 2)
        self.post_init()

    def forward(self, x, labels, **kwargs):
        return {"predictions": self.net(x)}


class WithBalance(PreTrainedModel):
    """A model that holds its SoftAdapt and weighs its own losses."""

    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.net = nn.Linear(3, 2)
        self.balance = SoftAdapt(config.names or 2, beta=5.0, history=4, prior=[2.0, 1.0])
        self.post_init()

    def forward(self, x, labels):
        losses = losses_of(self.net(x), labels)
        return {"loss": self.balance(losses if self.config.names else list(losses.values()))}


def losses_of(predictions, labels):
    return {"mse": functional.mse_loss(predictions, labels), "l1": functional.l1_loss(predictions, labels)}


class Weighted(SoftAdaptTrainerMixin, Trainer):
    def loss_components(self, model, inputs):
        outputs = model(**inputs)
        return losses_of(outputs["predictions"], inputs["labels"]), outputs


class Remember(TrainerCallback):
    """The state after each optimiser step."""

    def __init__(self, balance):
        self.balance, self.weights, self.histories = balance, [], []

    def on_step_end(self, args, state, control, **kwargs):
        self.weights.append(self.balance.weights.clone())
        self.histories.append(self.balance.history.clone())


def fresh(**options):
    return SoftAdapt(["mse", "l1"], **({"beta": 5.0, "history": 3} | options))


def plain():
    torch.manual_seed(0)
    return Plain(Config())


def rows(count=BATCH * STEPS):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return [{"x": row, "labels": row[:2] * 2} for row in x]


def arguments(folder, **options):
    options = {"save_strategy": "no", "logging_steps": 1, "max_steps": STEPS} | options
    return TrainingArguments(
        str(folder),
        per_device_train_batch_size=BATCH,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        optim="sgd",
        learning_rate=0.1,
        **options,
    )


def trainer_of(folder, balance=None, model=None, trainer_class=Weighted, callbacks=(), **options):
    balance = balance or fresh()
    return trainer_class(
        model=model or plain(),
        args=arguments(folder, **options),
        train_dataset=rows(),
        eval_dataset=rows(),
        balance=balance,
        callbacks=[Remember(balance), *callbacks],
    )


def remembered(trainer):
    return next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, Remember))


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def trained_in_two_parts(folder, **options):
    """Trained to the fourth step with a checkpoint, and from it to the end in a new Trainer."""
    first = trainer_of(folder, save_strategy="steps", save_steps=4, **options)
    first.train()
    second = trainer_of(folder, save_strategy="steps", save_steps=4, **options)
    second.train(resume_from_checkpoint=str(folder / "checkpoint-4"))
    return first, second


def test_resumed_training_equals_an_uninterrupted_one_in_every_bit(tmp_path):
    whole, resumed = trained_in_two_parts(tmp_path)
    ours, theirs = remembered(whole), remembered(resumed)
    assert same(ours.weights[4:], theirs.weights)
    assert same(ours.histories[4:], theirs.histories)
    assert same(whole.balance.buffers(), resumed.balance.buffers())
    assert same(whole.model.parameters(), resumed.model.parameters())
    assert resumed.balance.observations == STEPS
    assert not same(ours.weights[:4], ours.weights[4:])


def test_resumes_from_the_newest_checkpoint(tmp_path):
    whole = trainer_of(tmp_path, save_strategy="steps", save_steps=3)
    whole.train()
    shutil.rmtree(tmp_path / f"checkpoint-{STEPS}", ignore_errors=True)
    resumed = trainer_of(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert same(remembered(whole).weights[6:], remembered(resumed).weights)


def test_resumes_from_another_folder_than_its_own(tmp_path):
    first = trainer_of(tmp_path / "first", save_strategy="steps", save_steps=4)
    first.train()
    trainer_of(tmp_path / "second", fresh(beta=-5.0), save_strategy="steps", save_steps=4).train()
    resumed = trainer_of(tmp_path / "second")
    resumed.train(resume_from_checkpoint=str(tmp_path / "first/checkpoint-4"))
    assert same(remembered(first).weights[4:], remembered(resumed).weights)


def test_a_checkpoint_without_the_state_is_refused(tmp_path):
    trainer_of(tmp_path, save_strategy="steps", save_steps=4).train()
    state = tmp_path / "checkpoint-4/softadapt.pt"
    state.unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoint-4/softadapt\.pt: no such file.*resume_from"):
        trainer_of(tmp_path).train(resume_from_checkpoint=str(state.parent))


def test_evaluation_leaves_the_state_alone(tmp_path):
    without = trainer_of(tmp_path)
    without.train()
    evaluated = trainer_of(tmp_path, eval_strategy="steps", eval_steps=2)
    evaluated.train()
    evaluated.evaluate()
    evaluated.predict(rows())
    assert evaluated.balance.observations == STEPS
    assert same(without.balance.buffers(), evaluated.balance.buffers())
    assert same(remembered(without).weights, remembered(evaluated).weights)


def test_the_evaluation_loss_is_the_sum_with_the_current_weights(tmp_path):
    trainer = trainer_of(tmp_path, per_device_eval_batch_size=BATCH * STEPS)
    trainer.train()
    x, y = (torch.stack([row[key] for row in rows()]) for key in ("x", "labels"))
    losses = losses_of(trainer.model.net(x), y)
    weights = trainer.balance.weights
    expected = weights[0] * losses["mse"] + weights[1] * losses["l1"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item())
    assert trainer.predict(rows()).predictions.shape == (BATCH * STEPS, 2)


def test_the_mean_over_accumulated_batches_is_what_is_minimised(tmp_path):
    """One optimiser step over all rows, so that their order does not matter, at equal weights."""
    model, reference = plain(), plain()
    options = {"gradient_accumulation_steps": STEPS, "max_steps": 1, "max_grad_norm": 0.0}
    trainer_of(tmp_path, fresh(update_every=STEPS), model, **options).train()
    x, y = (torch.stack([row[key] for row in rows()]) for key in ("x", "labels"))
    sum(losses_of(reference.net(x), y).values()).mul(0.5).backward()
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    for trained, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(trained, expected)


def test_passes_all_losses_to_the_mean_of_a_window(tmp_path):
    balance = fresh(update_every=2)
    seen = []

    class Seen(Weighted):
        def loss_components(self, model, inputs):
            losses, outputs = super().loss_components(model, inputs)
            seen.append(torch.stack(list(losses.values())).detach())
            return losses, outputs

    trainer_of(tmp_path, balance, trainer_class=Seen, gradient_accumulation_steps=2, max_steps=4).train()
    assert len(seen) == 8
    torch.testing.assert_close(balance.history[-1], (seen[-2] + seen[-1]) / 2)
    assert balance.observations == 4


def accumulation_warnings(trainer):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    return [str(warning.message) for warning in caught if "SoftAdapt" in str(warning.message)]


def test_warns_once_of_weights_that_change_within_an_optimiser_step(tmp_path):
    (message,) = accumulation_warnings(trainer_of(tmp_path, gradient_accumulation_steps=2))
    assert "update_every=1 is no multiple of gradient_accumulation_steps=2" in message
    assert "take update_every=2" in message


@pytest.mark.parametrize(("update_every", "accumulate"), [(1, 1), (4, 2)])
def test_does_not_warn_of_whole_windows(tmp_path, update_every, accumulate):
    trainer = trainer_of(tmp_path, fresh(update_every=update_every), gradient_accumulation_steps=accumulate)
    assert accumulation_warnings(trainer) == []


def test_warns_if_the_best_model_is_chosen_by_a_sum_whose_weights_change(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "steps", "eval_steps": 4}
    (message,) = accumulation_warnings(trainer_of(tmp_path, load_best_model_at_end=True, **options))
    assert "the best model is chosen by the evaluation loss" in message


def test_logs_the_weights_with_the_training_loss(tmp_path):
    class Reporter(TrainerCallback):
        rows = []

        def on_log(self, args, state, control, logs, **kwargs):
            self.rows.append(dict(logs))

    trainer = trainer_of(tmp_path, callbacks=[Reporter()], eval_strategy="steps", eval_steps=4)
    trainer.train()
    for seen in (Reporter.rows, trainer.state.log_history):
        logged = [row for row in seen if "loss" in row]
        assert len(logged) == STEPS
        for row, weights in zip(logged, remembered(trainer).weights, strict=True):
            assert (row["loss_weight/mse"], row["loss_weight/l1"]) == tuple(weights.tolist())
        assert not any("loss_weight/mse" in row for row in seen if "eval_loss" in row)


def test_the_callback_alone_serves_a_loss_of_ones_own(tmp_path):
    class Own(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            outputs = model(**inputs)
            loss = balance(losses_of(outputs["predictions"], inputs["labels"]))
            return (loss, outputs) if return_outputs else loss

    def train(resume=None):
        callbacks = [SoftAdaptCallback(balance, "weights.pt"), Remember(balance)]
        options = arguments(tmp_path, save_strategy="steps", save_steps=4)
        trainer = Own(plain(), options, train_dataset=rows(), callbacks=callbacks)
        trainer.train(resume_from_checkpoint=resume)
        assert {"loss_weight/mse", "loss_weight/l1"} <= trainer.state.log_history[0].keys()
        return remembered(trainer)

    balance = fresh()
    whole = train()
    assert (tmp_path / "checkpoint-4/weights.pt").is_file()
    balance = fresh()
    assert same(whole.weights[4:], train(str(tmp_path / "checkpoint-4")).weights)


def test_without_components_the_mixin_says_what_to_define(tmp_path):
    class Nothing(SoftAdaptTrainerMixin, Trainer):
        pass

    with pytest.raises(NotImplementedError, match="Nothing must define loss_components"):
        trainer_of(tmp_path, trainer_class=Nothing).train()


def test_a_hyperparameter_search_is_refused(tmp_path):
    trainer = trainer_of(tmp_path)
    trainer.state.is_hyper_param_search = True
    with pytest.raises(ValueError, match="does not support hyperparameter_search"):
        SoftAdaptCallback(fresh()).on_train_begin(trainer.args, trainer.state, trainer.control)


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    return tmp_path / "checkpoint-3/softadapt.pt"


def save(callback, folder, should_save=True):
    callback.on_save(
        SimpleNamespace(should_save=should_save, output_dir=str(folder)), SimpleNamespace(global_step=3), None
    )


def test_the_file_is_whole_or_not_there(monkeypatch, tmp_path, checkpoint):
    balance = fresh()
    callback = SoftAdaptCallback(balance)
    save(callback, tmp_path)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["softadapt.pt"]
    before = checkpoint.read_bytes()
    assert torch.load(checkpoint, weights_only=True)["weights"].tolist() == [0.5, 0.5]

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(callback, tmp_path)
    assert checkpoint.read_bytes() == before


def test_one_process_alone_writes(tmp_path, checkpoint):
    save(SoftAdaptCallback(fresh()), tmp_path, should_save=False)
    assert not checkpoint.exists()


class InModel(Trainer):
    def __init__(self, *args, balance, **kwargs):
        super().__init__(*args, **kwargs)


def test_a_module_inside_the_model_needs_no_callback(tmp_path):
    def trainer(**options):
        torch.manual_seed(0)
        model = WithBalance(Config(names=["mse", "l1"]))
        return trainer_of(tmp_path, model.balance, model, InModel, **options)

    options = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "steps", "eval_steps": 3}
    whole = trainer(**options)
    whole.train()
    resumed = trainer(**options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert whole.model.balance.observations == resumed.model.balance.observations == STEPS
    assert same(remembered(whole).weights[4:], remembered(resumed).weights)
    assert same(remembered(whole).histories[4:], remembered(resumed).histories)


@pytest.mark.parametrize("limit", [128, 0], ids=["host", "tensors"])
@pytest.mark.parametrize("names", [None, ["mse", "l1"]], ids=["unnamed", "named"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained", [torch.float32, torch.bfloat16])
def test_from_pretrained_restores_the_state(monkeypatch, tmp_path, limit, names, dtype, trained):
    monkeypatch.setattr(module, "_HOST_LIMIT", limit)
    torch.manual_seed(0)
    model = WithBalance(Config(names=names)).to(trained).train()
    for _ in range(6):
        model(torch.randn(4, 3, dtype=trained), torch.randn(4, 2, dtype=trained))
    model.save_pretrained(tmp_path)
    loaded = WithBalance.from_pretrained(tmp_path, dtype=dtype).train()
    assert loaded.net.weight.dtype == dtype
    assert loaded.balance.names == model.balance.names
    assert loaded.balance.history.dtype == loaded.balance.weights.dtype == torch.float32
    for losses in torch.rand(5, 2):
        assert same(model.balance.buffers(), loaded.balance.buffers())
        assert torch.equal(model.balance(losses), loaded.balance(losses))
    assert loaded.balance.observations == 11
    assert not torch.equal(loaded.balance.weights, fresh(prior=[2.0, 1.0]).weights)


def test_from_pretrained_refuses_the_state_of_other_components(tmp_path):
    WithBalance(Config(names=["mse", "l1"])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="saved for losses named mse, l1; this SoftAdapt has mse, kl"):
        WithBalance.from_pretrained(tmp_path, config=Config(names=["mse", "kl"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_that_lacks_the_state_needs_a_reset(tmp_path, dtype):
    """What fine-tuning does; transformers leaves the buffers that it does not find uninitialised."""
    plain().save_pretrained(tmp_path)
    loaded = WithBalance.from_pretrained(tmp_path, dtype=dtype)
    with pytest.raises(ValueError, match="nor loaded whole; call its reset_parameters"):
        loaded.balance(torch.rand(2))
    loaded.balance.reset_parameters()
    assert same(loaded.balance.buffers(), WithBalance(Config()).balance.buffers())
    assert loaded.balance.weights.tolist() == pytest.approx([2 / 3, 1 / 3])
