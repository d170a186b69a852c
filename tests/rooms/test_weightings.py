"""Weighting rules: one contract for all of them."""

import copy
import math

import pytest
import torch

import softadapt.module
from experiments.runs.errors import UserError
from experiments.runs.room import WEIGHTINGS_FOLDER, rules_of
from experiments.runs.sources import run_files
from experiments.weightings import build
from softadapt import SoftAdapt

NAMES = ("a", "b")
SPECS = {"fixed": {"weights": {"a": 2.0, "b": 0.5}}, "softadapt": {"beta": 0.5}, "softadapt_swapped": {"beta": 0.5}}
SPECS |= {"warm_up": {"weights": {"a": 2.0, "b": 0.5}, "warmed": "b", "epochs": 4}, "size_and_rate": {"rate": 0.5}}
SCHEDULE = torch.tensor([[0.5, 0.5], [0.1, 0.9], [2.0, 0.0], [0.3, 0.4], [0.7, 0.6], [0.25, 1.5], [0.2, 0.8]])
RULES = sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py"))


class Problem:
    """Two losses a, b of the parameters x: a shifted quadratic each, so that a rule may look at gradients."""

    def __init__(self, rule, options=None):
        torch.manual_seed(0)
        self.x = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
        spec = {"rule": rule, **SPECS.get(rule, {}), **(options or {})}
        self.balance = build(spec, NAMES, "w", 2, [self.x], SCHEDULE if rule == "replayed" else None)
        self.optimizer = torch.optim.Adam([self.x, *self.balance.parameters()], 0.1)

    def losses(self):
        return {"a": (self.x - 1).square().sum(), "b": 3 * (self.x + 1).square().sum()}

    def step(self):
        loss = self.balance(self.losses())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @property
    def weights(self):
        return self.balance.get_buffer("weights")

    def state(self):
        return copy.deepcopy((self.x.detach(), self.balance.state_dict(), self.optimizer.state_dict()))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_module_whose_gradient_is_the_weighted_one(rule):
    problem = Problem(rule)
    for _ in range(6):
        losses = problem.losses()
        gradients = [torch.autograd.grad(loss, problem.x, retain_graph=True)[0] for loss in losses.values()]
        problem.optimizer.zero_grad()
        problem.balance(losses).backward()
        a, b = problem.weights
        torch.testing.assert_close(problem.x.grad, a * gradients[0] + b * gradients[1])
        assert not problem.weights.requires_grad
        assert (problem.weights >= 0).all()
        problem.optimizer.step()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_goes_on_from_its_saved_state_as_if_nothing_happened(rule):
    problem, twin = Problem(rule), Problem(rule)
    for _ in range(5):
        problem.step()
    x, balance, optimizer = problem.state()
    torch.manual_seed(99)
    twin.x.data.copy_(x)
    twin.balance.load_state_dict(balance)
    twin.optimizer.load_state_dict(optimizer)
    for _ in range(5):
        problem.step()
        twin.step()
    assert torch.equal(problem.x, twin.x)
    assert torch.equal(problem.weights, twin.weights)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_leaves_the_order_of_the_data_alone(rule):
    problem = Problem(rule)
    before = torch.get_rng_state()
    for _ in range(3):
        problem.step()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "fixed"])
def test_every_rule_stands_a_component_that_vanishes(rule):
    balance = build({"rule": rule, **SPECS.get(rule, {})}, NAMES, "w", 2, [x := torch.ones(2, requires_grad=True)])
    for _ in range(6):
        loss = balance({"a": x.square().sum(), "b": torch.relu(x - 2).sum()})
        loss.backward()
        assert torch.isfinite(balance.get_buffer("weights")).all()


BETAS = pytest.mark.parametrize("beta", [-1.0, 0.0, 0.1, 3.0])


@BETAS
@pytest.mark.parametrize(("size", "variant"), [(1.0, "loss_weighted"), (0.0, "original")])
@pytest.mark.parametrize("seed", range(5))
def test_size_and_rate_holds_both_equations_of_the_paper(seed, size, variant, beta):
    """Exponent 1 is equation 4 and 0 is equation 3, over random losses of three components and of any size.

    The weights of the first step are thirds in single precision.
    """
    names = ("a", "b", "c")
    ours = build({"rule": "size_and_rate", "size": size, "rate": beta}, names).double()
    theirs = SoftAdapt(names, variant=variant, beta=beta, dtype=torch.float64)
    rows = torch.rand(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1e-3
    for row in rows * torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64):
        losses = dict(zip(names, row, strict=True))
        torch.testing.assert_close(ours(losses), theirs(losses), rtol=1e-7, atol=0)
        torch.testing.assert_close(ours.get_buffer("weights"), theirs.weights, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("size", "rate"), [(0.5, 0.0), (-1.0, 0.3), (2.0, -1.0)])
def test_size_and_rate_follows_its_equation(size, rate):
    powers = [4.0**size * math.exp(rate * (4 - 1)), 2.0**size * math.exp(rate * (2 - 3))]
    expected = [power / sum(powers) for power in powers]
    losses = [(9.0, 0.1), (1.0, 3.0), (4.0, 2.0)]
    assert weights_after("size_and_rate", losses, size=size, rate=rate) == pytest.approx(expected)
    assert weights_after("size_and_rate", losses[:1], size=size, rate=rate) == [0.5, 0.5]


def test_size_and_rate_defaults_to_equation_4_at_the_paper_s_beta():
    losses = [(1.0, 3.0), (4.0, 2.0)]
    expected = weights_after("size_and_rate", losses, size=1.0, rate=0.1)
    assert weights_after("size_and_rate", losses) == expected
    assert expected == pytest.approx(weights_after("softadapt", losses))


@pytest.mark.parametrize("size", [-1.0, 0.0])
def test_size_and_rate_of_a_loss_of_zero(size):
    """With a negative exponent the weights are undefined and stay as they were; without an exponent no logarithm is taken."""
    losses = [(1.0, 2.0), (2.0, 1.0)]
    before = weights_after("size_and_rate", losses, size=size, rate=0.5)
    after = weights_after("size_and_rate", [*losses, (0.0, 0.0)], size=size, rate=0.5)
    powers = [math.exp(-1.0), math.exp(-0.5)]
    expected = before if size else [power / sum(powers) for power in powers]
    assert after == pytest.approx(expected)


def test_a_warm_up_rises_by_the_same_amount_a_step_to_the_exact_value():
    """Over 2 epochs of 5 steps; the other weight is constant, and the order of the names is the context's."""
    options = {"weights": {"b": 0.3, "a": 2.0}, "warmed": "b", "epochs": 2}
    balance = build({"rule": "warm_up", **options}, NAMES, steps_per_epoch=5)
    for step in range(1, 14):
        total = balance({"a": torch.tensor(1.0), "b": torch.tensor(10.0)})
        first, second = balance.get_buffer("weights").tolist()
        assert first == 2.0
        assert second == pytest.approx(0.3 * min(1.0, step / 10), rel=1e-6)
        assert total.item() == pytest.approx(2 + 10 * second, rel=1e-6)
        assert (second == torch.tensor(0.3).item()) == (step >= 10)


def test_a_replay_uses_row_by_row_and_stays_at_the_last_one():
    schedule = SCHEDULE.clone()
    balance = build({"rule": "replayed"}, NAMES, schedule=schedule)
    schedule.zero_()  # the rule has its own
    for step in range(10):
        total = balance({"a": torch.tensor(1.0 + step), "b": torch.tensor(7.0)})
        row = SCHEDULE[min(step, 6)]
        assert torch.equal(balance.get_buffer("weights"), row)
        assert total.item() == pytest.approx((row[0] * (1 + step) + row[1] * 7).item())


def test_a_replay_without_a_schedule_weighs_all_alike():
    """As where a rule is only checked."""
    balance = build({"rule": "replayed"}, ("a", "b", "c", "d"))
    for _ in range(3):
        assert balance(dict.fromkeys("abcd", torch.tensor(2.0))).item() == 2
        assert balance.get_buffer("weights").tolist() == [0.25] * 4


def weights_after(rule, losses, **options):
    balance = build({"rule": rule, **options}, NAMES, steps_per_epoch=2)
    for a, b in losses:
        balance({"a": torch.tensor(a), "b": torch.tensor(b)})
    return balance.get_buffer("weights").tolist()


def test_dynamic_weight_average_follows_its_equation():
    losses = [(1.0, 5.0), (3.0, 7.0), (0.0, 5.0), (2.0, 4.0), (9.0, 9.0)]
    assert weights_after("dynamic_weight_average", losses[:4]) == [1, 1]
    ratios = [(0 + 2) / (1 + 3), (5 + 4) / (5 + 7)]
    expected = [2 * math.exp(r / 2) / sum(math.exp(q / 2) for q in ratios) for r in ratios]
    assert weights_after("dynamic_weight_average", losses) == pytest.approx(expected)


def test_relobralo_follows_its_equation_where_nothing_is_drawn():
    """With lookback 0 the remembered weights are those relative to the first losses."""
    losses = [(2.0, 1.0), (1.0, 1.0), (0.5, 0.9)]

    def balanced(values, reference):
        powers = [math.exp(value / (0.5 * other)) for value, other in zip(values, reference, strict=True)]
        return [2 * power / sum(powers) for power in powers]

    expected = [
        0.7 * first + 0.3 * last
        for first, last in zip(balanced(losses[2], losses[0]), balanced(losses[2], losses[1]), strict=True)
    ]
    options = {"temperature": 0.5, "decay": 0.7, "lookback": 0.0}
    assert weights_after("relobralo", losses, **options) == pytest.approx(expected)
    expected = weights_after("relobralo", losses[:2], temperature=0.5, decay=0.7, lookback=1.0)
    expected = [0.7 * old + 0.3 * last for old, last in zip(expected, balanced(losses[2], losses[1]), strict=True)]
    assert weights_after("relobralo", losses, **options | {"lookback": 1.0}) == pytest.approx(expected)


def test_uncertainty_settles_where_every_weighted_loss_is_one_half():
    balance = build({"rule": "uncertainty"}, NAMES)
    optimizer = torch.optim.Adam(balance.parameters(), 0.02)
    for _ in range(2000):
        loss = balance({"a": torch.tensor(4.0), "b": torch.tensor(0.25)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert balance.get_buffer("weights").tolist() == pytest.approx([1 / 8, 2], rel=1e-3)


def test_gradnorm_evens_the_norms_of_the_gradients():
    problem = Problem("gradnorm", {"asymmetry": 0.0})
    problem.optimizer.param_groups[0]["lr"] = 0.01
    for _ in range(600):
        problem.x.data.copy_(torch.tensor([0.3, -0.2, 0.5]))
        problem.step()
    problem.x.data.copy_(torch.tensor([0.3, -0.2, 0.5]))
    norms = [torch.autograd.grad(loss, problem.x)[0].norm() for loss in problem.losses().values()]
    weighted = [weight * norm for weight, norm in zip(problem.weights, norms, strict=True)]
    assert weighted[0].item() == pytest.approx(weighted[1].item(), rel=0.05)


def test_mgda_takes_the_shortest_vector_of_the_hull_and_upgrad_never_climbs():
    problem = Problem("jacobian_descent", {"aggregator": "mgda"})
    gradients = [torch.autograd.grad(loss, problem.x)[0] for loss in problem.losses().values()]
    problem.balance(problem.losses())
    difference = gradients[1] - gradients[0]
    share = ((difference @ gradients[1]) / (difference @ difference)).clamp(0, 1).item()
    assert problem.weights.tolist() == pytest.approx([share, 1 - share], abs=1e-3)
    problem = Problem("jacobian_descent")
    problem.balance(problem.losses())
    direction = problem.weights[0] * gradients[0] + problem.weights[1] * gradients[1]
    assert all(direction @ gradient >= -1e-5 for gradient in gradients)


def test_random_weights_differ_between_steps_and_networks_and_repeat_with_the_seed():
    def draws(names):
        torch.manual_seed(3)
        balance = build({"rule": "random_weights"}, names)
        for _ in range(2):
            balance({name: torch.tensor(1.0) for name in names})
            yield balance.get_buffer("weights").clone()

    one, two = draws(NAMES)
    assert not torch.equal(one, two)
    assert torch.equal(next(draws(NAMES)), one)
    assert not torch.equal(next(draws(("c", "d"))), one)


def test_a_new_rule_makes_no_run_of_another_stale():
    swapped = {path.name for path in run_files("introvae", ["softadapt_swapped"])}
    assert {"softadapt_swapped.py", "softadapt.py", "functional.py", "introvae.py"} <= swapped
    random = {path.name for path in run_files("introvae", ["random_weights"])}
    assert {"random_weights.py", "_random_stream.py"} <= random
    assert not {"softadapt.py", "functional.py"} & random
    method = {"margin": 1.0, "encoder": {"rule": "fixed"}, "generator": {"rule": "random_weights"}}
    assert rules_of(method) == ["fixed", "random_weights"]


def test_num_losses_as_total():
    balance = build({"rule": "softadapt", "total": "num_losses"}, ("a", "b", "c"))
    assert balance.get_buffer("weights").tolist() == pytest.approx([1, 1, 1])


def test_updates_once_an_epoch_average_its_steps():
    balance = build({"rule": "softadapt", "update_every": "epoch"}, NAMES, steps_per_epoch=3)
    twin = build({"rule": "softadapt", "update_every": 3}, NAMES)
    for step in range(9):
        losses = {"a": torch.tensor(1.0 + step), "b": torch.tensor(2.0)}
        torch.testing.assert_close(balance(losses), twin(losses))
        assert (balance.get_buffer("weights")[0] == 0.5) == (step < 5)


def test_swapped_weights_are_those_of_the_other_component():
    names = ("kl", "hinge", "error")
    right, swapped = (build({"rule": rule}, names) for rule in ("softadapt", "softadapt_swapped"))
    for values in ([1.0, 2.0, 3.0], [3.0, 2.5, 1.0], [2.0, 4.0, 1.5]):
        losses = dict(zip(names, map(torch.tensor, values), strict=True))
        right(losses)
        a, b, c = right.get_buffer("weights").tolist()
        assert swapped(losses).item() == pytest.approx(c * values[0] + b * values[1] + a * values[2])
        assert swapped.get_buffer("weights").tolist() == pytest.approx([c, b, a])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rule": "softadapt", "betta": 1}, "m.weighting: betta: unknown key, did you mean beta?"),
        ({"rule": "softadapt", "history": 1}, "m.weighting: history must be an integer of at least 2, got 1"),
        ({"rule": "softadapt", "variant": "max"}, "m.weighting: variant: "),
        ({"rule": "fixed", "weights": {"a": 1.0}}, "m.weighting: weights must name a, b, got a"),
        ({"rule": "fixed", "weights": {"a": 1.0, "b": -1.0}}, "m.weighting: weights.b: Input should be greater"),
        ({"rule": "warm_up", **SPECS["warm_up"], "warmed": "c"}, "m.weighting: warmed must be one of a, b, got c"),
        ({"rule": "warm_up", **SPECS["warm_up"], "epochs": 0}, "m.weighting: epochs: Input should be greater than 0"),
        ({"rule": "warm_up", **SPECS["warm_up"], "weights": {"b": 1}}, "m.weighting: weights must name a, b, got b"),
        ({"rule": "size_and_rate", "sharpness": 1.0}, "m.weighting: sharpness: unknown key"),
        ({"rule": "size_and_rate", "size": float("nan")}, "m.weighting: size: "),
        ({"rule": "replayed", "method": "softadapt"}, "m.weighting: method: unknown key"),
    ],
)
def test_a_wrong_option_is_one_line(spec, message):
    with pytest.raises(UserError) as error:
        build(spec, NAMES, "m.weighting")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("host_limit", [0, 128])
def test_relative_rates_are_the_rules_that_share_the_name(monkeypatch, host_limit):
    """The library's ``rate="relative"`` against these files, which are written from other projects' formulas."""
    monkeypatch.setattr(softadapt.module, "_HOST_LIMIT", host_limit)
    names = ["a", "b", "c"]
    rules = {1.0: {"rule": "physicsnemo"}, 0.3: {"rule": "neuralpde", "alpha": 0.3}}
    rows = torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    for beta, spec in rules.items():
        ours = SoftAdapt(names, variant="original", rate="relative", beta=beta, total=3.0, dtype=torch.float64)
        theirs = build(spec, names, "w").double()
        for row in rows * torch.tensor([1e-6, 1.0, 1e6], dtype=torch.float64):
            losses = dict(zip(names, row, strict=True))
            torch.testing.assert_close(ours(losses), theirs(losses), rtol=1e-6, atol=0)
            torch.testing.assert_close(ours.weights, theirs.get_buffer("weights"), rtol=1e-6, atol=1e-6)
