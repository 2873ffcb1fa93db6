"""Learning rates are arithmetic, and options that make no run are refused."""

import pytest

from latentcache.core.errors import ConfigError
from latentcache.train import TrainOptions


def test_rate_rises_stays_and_falls_to_nothing() -> None:
    options = TrainOptions(num_steps=100, learning_rate=2.0, warmup_steps=10, decay_from=0.6)
    rates = [options.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:61] == [2.0] * 52
    assert rates[80] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(2.0 / 40)
    assert TrainOptions(num_steps=10).rate_at(9) == TrainOptions().learning_rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"condition_drop": 1.5}, "condition_drop must be from 0 to 1, got 1.5"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be 0 or more"),
        ({"precision": "float16"}, "precision must be float32 or bfloat16"),
    ],
)
def test_options_that_make_no_run_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**options)  # type: ignore[arg-type]
