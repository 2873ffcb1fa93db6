"""What a million images would take: arithmetic over what encoders declare, nothing measured."""

from collections.abc import Sequence

from latentcache.core.media import Bucket
from latentcache.encoders import EncoderFacts
from latentcache.report.store_facts import ProjectedEncoder, Projection
from latentcache.report.wording import TIMES

PROJECTED = ("sdxl", "sd3", "flux", "flux2", "dc", "wan", "wan22")
SIZES_PX = (512, 1024)


def project(
    encoders: Sequence[EncoderFacts],
    *,
    num_images: int = 1_000_000,
    sizes_px: Sequence[int] = SIZES_PX,
    names: Sequence[str] = PROJECTED,
) -> Projection:
    """Return the bytes of ``num_images`` square images under each encoder.

    Args:
        encoders: From ``list_encoders``.
        num_images: All of one size.
        sizes_px: Edges; each a column of the table.
        names: Encoders shown, in this order; unknown ones are left out.
    """
    by_name = {facts.name: facts for facts in encoders}
    buckets = [Bucket(1, size, size) for size in sizes_px]
    chosen = [by_name[name] for name in names if name in by_name]
    return Projection(
        num_images=num_images,
        sizes_px=tuple(sizes_px),
        rgb_bytes=tuple(num_images * bucket.rgb_bytes for bucket in buckets),
        encoders=tuple(
            _projected(facts, buckets, num_images)
            for facts in chosen
            if facts.latent_channels is not None
        ),
    )


def _projected(facts: EncoderFacts, buckets: Sequence[Bucket], num_images: int) -> ProjectedEncoder:
    largest = buckets[-1]
    height = largest.height_px // facts.spec.spatial_factor[0]
    width = largest.width_px // facts.spec.spatial_factor[1]

    def total(bucket: Bucket, *, is_mode: bool) -> int:
        each = facts.bytes_in_tar(bucket, "float16", "mode" if is_mode else "moments")
        assert each is not None, "those shown take squares, and declare their channels"
        return num_images * each

    return ProjectedEncoder(
        name=facts.name,
        title=facts.title,
        latent=f"{facts.latent_channels} {TIMES} {height} {TIMES} {width}",
        num_bytes=tuple(total(bucket, is_mode=False) for bucket in buckets),
        mode_bytes=tuple(total(bucket, is_mode=True) for bucket in buckets),
    )
