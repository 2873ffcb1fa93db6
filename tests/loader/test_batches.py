import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader.order.batch_sizes import BatchSizes, Ranks, num_tokens

SQUARE, WIDE, CLIP = Bucket(1, 512, 512), Bucket(1, 256, 1024), Bucket(17, 256, 256)
SHAPES = {SQUARE: (4, 1, 64, 64), WIDE: (4, 1, 32, 128), CLIP: (4, 5, 32, 32)}


def test_one_size_serves_all_buckets() -> None:
    sizes = BatchSizes(global_batch_size=256).resolve(SHAPES, Ranks(world_size=8), axes="CTHW")
    assert sizes == dict.fromkeys(SHAPES, 256)


def test_a_batch_that_ranks_cannot_share_names_one_that_they_can() -> None:
    with pytest.raises(ConfigError) as caught:
        BatchSizes(global_batch_size=250).resolve(
            SHAPES, Ranks(world_size=8, micro_batches=4), axes="CTHW"
        )
    assert str(caught.value) == (
        "global batch 250 does not divide by 8 ranks x 4 micro-batches (bucket 1x512x512); use 256"
    )


def test_tokens_give_each_bucket_its_own_size() -> None:
    ranks = Ranks(world_size=2, micro_batches=3)
    sizes = BatchSizes(tokens_per_rank=4096).resolve(SHAPES, ranks, axes="CTHW")
    assert sizes == {SQUARE: 4 * 6, WIDE: 4 * 6, CLIP: 3 * 6}


def test_tokens_count_padded_edges() -> None:
    assert num_tokens((16, 21, 60, 104), (1, 2, 2), axes="CTHW") == 21 * 30 * 52
    assert num_tokens((4, 33, 7), (1, 2, 2), axes="CHW") == 17 * 4


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        pytest.param((256, 32), "NC", 256, id="tokens without a grid"),
        pytest.param((32, 16), "HW", 16 * 8, id="indices of a picture"),
        pytest.param((5, 32, 16), "THW", 5 * 16 * 8, id="indices of a clip"),
        pytest.param((8, 75), "QT", 75, id="codebooks of one moment"),
        pytest.param((8, 25, 16), "CTF", 25, id="sound"),
    ],
)
def test_tokens_are_counted_by_the_letters_of_the_axes(
    shape: tuple[int, ...], axes: str, expected: int
) -> None:
    assert num_tokens(shape, (1, 2, 2), axes=axes) == expected


def test_a_bucket_without_a_size_is_named() -> None:
    sizes = BatchSizes(global_batch_size={"1x512x512": 8, "1x256x1024": 8})
    with pytest.raises(ConfigError, match="got none for 17x256x256"):
        sizes.resolve(SHAPES, Ranks(), axes="CTHW")


def test_tokens_that_hold_no_sample_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 1000 where one of 1x512x512 has 1024; use 1024"):
        BatchSizes(tokens_per_rank=1000).resolve(SHAPES, Ranks(), axes="CTHW")


@pytest.mark.parametrize("given", [{}, {"global_batch_size": 8, "tokens_per_rank": 100}])
def test_one_way_to_give_a_size_is_enough(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        BatchSizes(**given)


@pytest.mark.parametrize("given", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 0}])
def test_a_rank_outside_the_world_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"must be (0 to|a whole number)"):
        Ranks(**given)
