"""The DiT: any grid, nothing at the start, positions that only count relative to each other."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import latentcache.train.dit
from latentcache.core.errors import ConfigError
from latentcache.train import DiT, DiTConfig
from latentcache.train.dit import rotated, rotations_of

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
PATCHES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3))


def _model(*, is_awake: bool = True, **config: object) -> DiT:
    """Return a tiny model; awake, its zero weights are drawn like the others."""
    torch.manual_seed(0)
    chosen = {"channels": 3, "width": 16, "depth": 2, "num_heads": 2, **config}
    model = DiT(DiTConfig(**chosen))  # type: ignore[arg-type]
    if is_awake:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@settings(max_examples=25)
@given(size=SIZES, patch=PATCHES)
def test_velocity_has_the_shape_of_the_latents(
    size: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    model = _model(patch=patch)
    latents = torch.randn(2, 3, *size)
    velocity = model(latents, torch.tensor([0.1, 0.9]))
    assert velocity.shape == latents.shape
    assert velocity.abs().sum() > 0


@settings(max_examples=25)
@given(grid=SIZES, patch=PATCHES)
def test_cutting_into_patches_loses_nothing(
    grid: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    model = _model(patch=patch)
    size = [n * p for n, p in zip(grid, patch, strict=True)]
    latents = torch.randn(2, 3, *size)
    assert torch.equal(model._cells(model._patches(latents, grid), grid), latents)


def test_an_image_is_a_clip_of_one_frame() -> None:
    model, image, times = _model(), torch.randn(2, 3, 5, 6), torch.tensor([0.3, 0.7])
    assert torch.equal(model(image, times), model(image.unsqueeze(2), times).squeeze(2))


def test_velocity_is_zero_at_the_start() -> None:
    model = _model(is_awake=False, num_classes=4)
    assert not model(torch.randn(2, 3, 4, 4), torch.rand(2), torch.tensor([0, 4])).any()


@pytest.mark.parametrize("told", ["labels", "text", "no text"])
def test_every_parameter_learns(told: str) -> None:
    model = _model(num_classes=4) if told == "labels" else _model(text_dim=5)
    text = (torch.randn(2, 6, 5), torch.tensor([[True] * 6, [False] * 6]))
    condition = {"labels": torch.tensor([1, 2]), "text": text, "no text": None}[told]
    velocity = model(torch.randn(2, 3, 4, 4), torch.rand(2), condition)
    torch.autograd.backward(velocity.square().sum())
    for name, parameter in model.named_parameters():
        # Ranks wait for each other's gradients: there must be one, if only zeros.
        assert parameter.grad is not None, name
        assert parameter.grad.any() or (told == "no text" and name.startswith("text.")), name


@settings(max_examples=25)
@given(size=SIZES, head=st.sampled_from([8, 16, 32]))
def test_attention_sees_positions_only_relative_to_each_other(
    size: tuple[int, int, int], head: int
) -> None:
    torch.manual_seed(0)
    grid = tuple(n + 2 for n in size)
    cos, sin = rotations_of(grid, 0, head, torch.device("cpu"))
    place = torch.arange(len(cos)).reshape(grid)
    query, key = torch.randn(head), torch.randn(head)

    def score(first: tuple[int, ...], second: tuple[int, ...]) -> float:
        at, to = int(place[first]), int(place[second])
        return float((rotated(query, (cos[at], sin[at])) * rotated(key, (cos[to], sin[to]))).sum())

    expected = score((0, 1, 0), (1, 0, 1))
    t, y, x = size
    assert score((t, y + 1, x), (t + 1, y, x + 1)) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    others = [score((0, 0, 0), to) for to in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({round(other, 3) for other in others}) == 4


def test_text_that_is_masked_counts_for_nothing() -> None:
    model, latents, times = _model(text_dim=5), torch.randn(2, 3, 4, 4), torch.rand(2)
    text = torch.randn(2, 4, 5)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    other = torch.where(mask[..., None], text, 9.0)
    expected = model(latents, times, (text, mask))
    torch.testing.assert_close(model(latents, times, (other, mask)), expected)
    torch.testing.assert_close(
        model(latents[:1], times[:1], (text[:1, :2], mask[:1, :2])), expected[:1]
    )
    changed = model(latents, times, (text + 1, mask))
    assert not torch.allclose(changed[0], expected[0])
    assert torch.equal(changed[1], expected[1])


def test_label_and_time_matter() -> None:
    model, latents = _model(num_classes=4), torch.randn(1, 3, 4, 4).expand(4, -1, -1, -1)
    times, labels = torch.tensor([0.5, 0.5, 0.5, 0.6]), torch.tensor([0, 1, 4, 0])
    found = model(latents, times, labels)
    assert all(not torch.allclose(found[0], found[other]) for other in (1, 2, 3))
    torch.testing.assert_close(found[2:3], model(latents[2:3], times[2:3]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_classes": 3, "text_dim": 8}, "num_classes and text_dim must not both be given"),
        ({"width": 20, "num_heads": 4}, "width over num_heads must be even and at least 8"),
        ({"patch": (1, 0, 2)}, "patch must be three whole numbers"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
    ],
)
def test_config_that_makes_no_model_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiTConfig(**{"channels": 3, **config})  # type: ignore[arg-type]


def test_model_fits_on_a_few_pages() -> None:
    text = Path(latentcache.train.dit.__file__).read_text(encoding="utf-8")
    assert sum(1 for line in text.splitlines() if line.strip()) <= 220


def test_a_model_told_places_knows_a_corner_from_the_middle() -> None:
    """Rotations alone tell how far apart tokens are: a plain field stays plain."""
    spread = {}
    for has_position_embedding in (False, True):
        torch.manual_seed(0)
        model = DiT(
            DiTConfig(
                channels=2,
                width=48,
                depth=2,
                num_heads=2,
                has_position_embedding=has_position_embedding,
            )
        )
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            out = model(torch.ones(1, 2, 3, 8, 8), torch.tensor([0.5]))
        cells = out.reshape(2, 3, 4, 2, 4, 2).permute(1, 2, 4, 0, 3, 5).reshape(48, -1)
        spread[has_position_embedding] = float(cells.std(dim=0).max())
    assert spread[False] < 1e-5
    assert spread[True] > 1e-3
