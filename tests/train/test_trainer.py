"""The training loop: it learns, it resumes to the bit, it says no in one sentence."""

from pathlib import Path

import pytest
import torch

from latentcache.core.errors import ConfigError, RunError, StoreError
from latentcache.loader import LatentLoader, Source
from latentcache.store import Store
from latentcache.testing.synthetic import add_generation
from latentcache.train import DiT, DiTConfig, StepFacts, Trainer, TrainOptions
from tests.train.conftest import CLIPS, IMAGES, tiny_dit, tiny_trainer


def _losses(trainer: Trainer, until_step: int | None = None) -> list[float]:
    found: list[StepFacts] = []
    trainer.run(until_step=until_step, on_step=found.append)
    return [facts.loss for facts in found]


def test_loss_goes_down_where_there_is_something_to_learn(image_store: str) -> None:
    source = Source(store=image_store, filter="label == 0")
    loader = LatentLoader(source, columns=["latents"], global_batch_size=8)
    options = TrainOptions(num_steps=100, learning_rate=1e-2)
    losses = _losses(Trainer(tiny_dit(num_classes=None, width=32), loader, options))
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20])


def test_step_tells_what_happened(image_store: str) -> None:
    found: list[StepFacts] = []
    tiny_trainer(image_store, num_steps=3).run(on_step=found.append, with_samples=True)
    assert [facts.step for facts in found] == [1, 2, 3]
    last = found[-1]
    assert last.samples_per_s > 0
    assert 0 <= last.loader_wait_share <= 1
    assert last.eta_s == 0
    assert last.loss == pytest.approx(sum(one.loss for one in last.samples) / 8, rel=1e-5)
    assert len({one.key for one in last.samples}) == 8
    assert last.line().startswith("step 3/3, loss ")


def test_resumed_run_has_the_same_losses_to_the_bit(image_store: str, tmp_path: Path) -> None:
    straight = tiny_trainer(image_store)
    expected = _losses(straight)
    first = tiny_trainer(image_store)
    before = _losses(first, until_step=5)
    first.save(tmp_path / "run.safetensors")
    second = tiny_trainer(image_store)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.add_(1.0)
    second.load(tmp_path / "run.safetensors")
    assert second.step == 5
    assert before + _losses(second) == expected
    for name, tensor in straight.weights.ema.items():
        assert torch.equal(tensor, second.weights.ema[name])


def test_micro_batches_add_up_to_the_global_batch(image_store: str) -> None:
    whole, parts = tiny_trainer(image_store), tiny_trainer(image_store, micro_batches=4)
    assert _losses(parts) == pytest.approx(_losses(whole), rel=1e-4)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_average_follows_its_formula(image_store: str) -> None:
    trainer = tiny_trainer(image_store, ema_decay=0.3)
    expected = {name: one.detach().clone() for name, one in trainer.model.named_parameters()}
    for step in range(6):
        trainer.run(until_step=step + 1)
        keep = min(0.3, (1 + step) / (10 + step))
        for name, one in trainer.model.named_parameters():
            expected[name] = keep * expected[name] + (1 - keep) * one.detach()
    for name, tensor in trainer.weights.ema.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_clips_and_images_of_several_sources_train_together(clip_store: str) -> None:
    sources = [
        Source(store=clip_store, name="clips", filter="start_s is not None", weight=0.5),
        Source(store=clip_store, name="images", filter="start_s is None", weight=0.5),
    ]
    loader = LatentLoader(sources, columns=["latents", "label"], global_batch_size=4)
    found: list[StepFacts] = []
    trainer = Trainer(tiny_dit(), loader, TrainOptions(num_steps=6), condition="label")
    trainer.run(on_step=found.append)
    assert {facts.bucket for facts in found} == {CLIPS, IMAGES}
    drawn = trainer.sample(torch.tensor([0, 4]), guidance=2.0, num_steps=2, bucket=str(CLIPS))
    assert drawn.shape == (2, 4, 3, 4, 4)


def test_samples_are_in_the_encoders_space_and_the_same_in_any_batch(image_store: str) -> None:
    trainer = tiny_trainer(image_store)
    trainer.run(until_step=2)
    both = trainer.sample(torch.tensor([1, 2]), guidance=3.0, num_steps=3, seed=4)
    one = trainer.sample(torch.tensor([1]), guidance=3.0, num_steps=3, seed=4)
    torch.testing.assert_close(both[:1], one, rtol=1e-4, atol=1e-5)
    # The store's channels have means 0, 1, 2, 3, which only inverting brings back.
    assert float(both[:, 3].mean() - both[:, 0].mean()) > 2


def test_stop_ends_the_run_after_the_step(image_store: str) -> None:
    trainer = tiny_trainer(image_store)
    trainer.run(on_step=lambda facts: trainer.stop() if facts.step == 4 else None)
    assert trainer.step == 5
    trainer.run()
    assert trainer.step == 12


def test_model_without_condition_trains_on_latents_alone(image_store: str) -> None:
    loader = LatentLoader(image_store, global_batch_size=8)
    trainer = Trainer(tiny_dit(num_classes=None), loader, TrainOptions(num_steps=2))
    trainer.run()
    assert trainer.sample(None, num_samples=3, num_steps=2).shape[0] == 3


def test_bfloat16_trains(image_store: str) -> None:
    losses = _losses(tiny_trainer(image_store, precision="bfloat16", num_steps=3))
    expected = _losses(tiny_trainer(image_store, num_steps=3))
    assert losses == pytest.approx(expected, rel=0.02)


def test_loss_that_is_not_finite_stops_before_any_weight_sees_it(image_store: str) -> None:
    class Broken(DiT):
        def forward(self, latents, times, condition=None):  # type: ignore[no-untyped-def]
            velocity = super().forward(latents, times, condition)
            return velocity / 0.0 if calls.pop() else velocity

    calls = [True, False, False]
    loader = LatentLoader(image_store, columns=["latents", "label"], global_batch_size=8)
    model = Broken(DiTConfig(channels=4, width=16, depth=1, num_heads=2, num_classes=4))
    trainer = Trainer(model, loader, TrainOptions(num_steps=9), condition="label")
    trainer.run(until_step=2)
    before = [one.detach().clone() for one in model.parameters()]
    with pytest.raises(
        RunError, match=r"must be finite, got (nan|inf).*\(step 2, samples [0-9a-f]"
    ):
        trainer.run()
    assert trainer.step == 2
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("columns", "condition", "num_classes", "message"),
    [
        (["latents"], "label", 4, "condition must be a column that the loader reads, got 'label'"),
        (["latents", "label"], "label", 3, r"label must be from 0 to 2, got 3 \(sample [0-9a-f]"),
        (["latents", "crop"], "crop", 4, r"crop must be one whole number a sample, got .*\(8, 2\)"),
    ],
)
def test_condition_that_does_not_fit_is_refused(
    image_store: str, columns: list[str], condition: str, num_classes: int, message: str
) -> None:
    loader = LatentLoader(image_store, columns=columns, global_batch_size=8)
    model = tiny_dit(num_classes=num_classes)
    with pytest.raises(ConfigError, match=message):
        Trainer(model, loader, TrainOptions(num_steps=9), condition=condition).run()


def test_samples_without_a_label_are_trained_without_condition(image_store: str) -> None:
    loader = LatentLoader(image_store, columns=["latents", "some_label"], global_batch_size=8)
    trainer = Trainer(tiny_dit(), loader, TrainOptions(num_steps=5), condition="some_label")
    trainer.run()
    assert trainer.step == 5


def test_store_without_a_snapshot_is_refused(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "planned")
    add_generation(store, [(IMAGES, 4, 4)])
    with pytest.raises(StoreError, match=r"^[^\n]*snapshot[^\n]*$"):
        tiny_trainer(str(tmp_path / "planned"))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ({"channels": 7}, {}, "channels of the model must be 4, got 7"),
        ({"num_classes": None}, {"condition": "label"}, "condition must be left out for a model"),
        ({}, {"device": "cuda:77"}, "device must be one of this machine, got cuda:77"),
        ({}, {"device": "abacus"}, "device must be one of this machine, got abacus"),
    ],
)
def test_model_loader_and_device_must_fit(
    image_store: str, model: dict[str, int], options: dict[str, str], message: str
) -> None:
    loader = LatentLoader(image_store, columns=["latents", "label"], global_batch_size=8)
    with pytest.raises(ConfigError, match=message):
        Trainer(tiny_dit(**model), loader, TrainOptions(), **options)  # type: ignore[arg-type]
