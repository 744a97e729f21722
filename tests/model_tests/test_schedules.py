"""Learning-rate schedules by their definitions."""

import math

import pytest
import torch

from trainables.config import SCHEDULES, ConstantDecay, Cosine, OneCycle, WarmupCosine


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 7), (3, 1), (50, 20)])
def test_multipliers_are_usable_everywhere(name, epochs, steps):
    schedule = SCHEDULES[name]().multiplier(epochs, steps)
    values = [schedule(step) for step in range(epochs * steps)]
    assert all(0 <= value <= 1 + 1e-12 and math.isfinite(value) for value in values)
    assert max(values) > 0
    # No state: any order gives the same values.
    assert [schedule(step) for step in reversed(range(epochs * steps))] == values[::-1]


def test_constant_decay_is_five_percent_an_epoch_from_the_base():
    schedule = ConstantDecay().multiplier(50, 10)
    assert {schedule(step) for step in range(300)} == {1.0}
    assert schedule(300) == schedule(309) == pytest.approx(0.95)
    assert schedule(310) == pytest.approx(0.95**2)
    assert schedule(499) == pytest.approx(0.95**20)
    assert schedule(499) == pytest.approx(0.358, abs=1e-3)


def test_compounding_decay_is_that_of_the_release():
    schedule = ConstantDecay(compounding=True).multiplier(50, 1)
    lr = 1.0
    for epoch in range(1, 51):
        if epoch > 30:
            lr *= 0.95 ** (epoch - 30)
        assert schedule(epoch - 1) == pytest.approx(lr)
    assert lr == pytest.approx(2.1e-5, rel=0.01)


def test_cosine():
    schedule = Cosine(final_fraction=0.1).multiplier(2, 51)
    assert schedule(0) == 1.0
    assert schedule(50.5) == pytest.approx(0.55)
    assert schedule(101) == pytest.approx(0.1)
    assert schedule(500) == pytest.approx(0.1)


def test_one_cycle_equals_torch():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=1.0,
        total_steps=101,
        pct_start=0.31,
        div_factor=25,
        final_div_factor=400,
        cycle_momentum=False,
    )
    # Theirs peaks at 0.31 * 101 - 1 = 30.31, ours at a fraction of the last step.
    ours = OneCycle(rise_fraction=0.3031, initial_fraction=0.04, final_fraction=1e-4).multiplier(1, 101)
    for step in range(101):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        if step < 100:
            theirs.step()


def test_warmup_cosine():
    schedule = WarmupCosine(warmup_fraction=0.1, final_fraction=0.2).multiplier(10, 10)
    assert [schedule(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    values = [schedule(step) for step in range(9, 100)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.2)
