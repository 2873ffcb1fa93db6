import pytest

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.plan.plan_options import PlanOptions


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution_px": 0}, "resolution must be at least 16, got 0"),
        ({"resolution_px": 500}, "resolution must be a multiple of step = 32, got 500.*480"),
        ({"resolution_px": 500, "step_px": 64}, "use 448 or give step"),
        ({"max_aspect": 0.5}, r"max_aspect must be at least 1.0, got 0.5"),
        ({"max_aspect": float("nan")}, "max_aspect must be"),
        ({"max_upscale": 0.9}, "max_upscale must be at least 1.0"),
        ({"max_crop": 1.0}, "max_crop must be at least 0 and below 1, got 1.0"),
        ({"min_bucket": 0}, "min_bucket must be at least 1"),
        ({"rows_per_shard": 100}, "rows_per_shard must be a power of two, got 100.*64 or 128"),
        ({"rows_per_shard": -1}, "rows_per_shard must be at least 0"),
        (
            {"clips": "whol"},
            "frames must be given where fps, clips or skip_still are, got fps 0, clips 'whol'",
        ),
        ({"fps": 16.0}, "frames must be given where fps, clips or skip_still are, got fps 16"),
        ({"frames": "8k+1"}, "frames must be counts where clips are not whole"),
        ({"frames": "8k-1", "clips": "whole"}, "frames must be a rule like 8k[+]1 or 4k"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PlanOptions(**options)  # type: ignore[arg-type]  # wrong on purpose


def test_options_come_from_a_recipe() -> None:
    options = config_from_mapping(PlanOptions, {"resolution": 256, "square": True}, where="x")
    assert options == PlanOptions(resolution_px=256, square=True)


@pytest.mark.parametrize(
    ("resolution_px", "step_px"), [(256, 32), (480, 32), (512, 64), (1024, 64)]
)
def test_step_is_64_and_32_below_512(resolution_px: int, step_px: int) -> None:
    assert PlanOptions(resolution_px=resolution_px).resolved_step_px == step_px


@pytest.mark.parametrize(
    ("bucket", "num_rows"),
    [
        pytest.param(Bucket(1, 512, 512), 512, id="512"),
        pytest.param(Bucket(1, 256, 256), 2048, id="256"),
        pytest.param(Bucket(1, 32, 32), 8192, id="at-most"),
        pytest.param(Bucket(81, 480, 832), 16, id="at-least"),
    ],
)
def test_shards_hold_about_512_mib_of_pixels(bucket: Bucket, num_rows: int) -> None:
    assert PlanOptions().shard_rows(bucket) == num_rows
    assert PlanOptions(rows_per_shard=64).shard_rows(bucket) == 64


def test_a_long_clip_has_a_shard_of_its_own() -> None:
    long, short, picture = Bucket(241, 1024, 1024), Bucket(33, 64, 64), Bucket(1, 1024, 1024)
    for rows_per_shard in (0, 64):
        some = PlanOptions(frames=(33, 241), rows_per_shard=rows_per_shard)
        whole = PlanOptions(clips="whole", rows_per_shard=rows_per_shard)
        assert (some.shard_rows(long), whole.shard_rows(long)) == (1, 1)
        assert (some.shard_rows(short) > 1, whole.shard_rows(short)) == (True, 1)
        assert some.shard_rows(picture) == whole.shard_rows(picture) > 1


def test_whole_clips_have_a_rule_of_their_own_unless_told() -> None:
    plain = PlanOptions(clips="whole")
    assert plain.as_dict()["frames"] == "8k+1"
    assert plain.digest() == PlanOptions(clips="whole", frames="8k+1").digest()
    assert plain.digest() != PlanOptions(clips="whole", frames="4k+1").digest()
    assert PlanOptions(clips="whole", frames=(17, 33)).as_dict()["frames"] == [17, 33]
    told = config_from_mapping(PlanOptions, {"frames": "4k+1", "clips": "whole"}, where="x")
    assert told.frames == "4k+1"
    assert PlanOptions().clip_rules is None


def test_digest_covers_every_option_and_resolves_automatic_ones() -> None:
    plain = PlanOptions()
    assert plain.digest() == PlanOptions(step_px=64).digest()
    changed = {
        *(PlanOptions(seed=1).digest(), PlanOptions(square=True).digest()),
        *(PlanOptions(max_crop=0.4).digest(), PlanOptions(include="a*").digest()),
    }
    assert len(changed | {plain.digest()}) == 5
