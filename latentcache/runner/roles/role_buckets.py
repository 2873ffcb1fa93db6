"""Which shapes an encoder must take to be given media of a role at all."""

from collections.abc import Mapping
from dataclasses import replace

from latentcache.core.media import Bucket
from latentcache.core.roles import RoleRule
from latentcache.encoders import EncoderSpec
from latentcache.plan import own_buckets


def role_buckets(planned: Mapping[str, bool], rule: RoleRule, spec: EncoderSpec) -> dict[str, bool]:
    """Return the buckets of a plan as media of a role have them, as text, and which are long.

    Whether a medium is a picture or a video is not known before it is looked into: a bucket of
    clips counts as the one of its pictures where the encoder takes these alone. Of media with a
    geometry of their own any bucket that the encoder takes will do.

    Args:
        planned: As text, and whether its clips are long.
        rule: Of the role.
        spec: Of the encoder.
    """
    if rule.geometry == "own":
        taken = [each for each in own_buckets(rule) if spec.refusal(each) is None]
        return {str(each): False for each in taken or own_buckets(rule)}
    found = {}
    for text, is_long in planned.items():
        bucket = Bucket.parse(text)
        picture = replace(bucket, num_frames=1)
        is_picture = spec.refusal(bucket) is not None and spec.refusal(picture) is None
        found[str(picture if is_picture else bucket)] = is_long and not is_picture
    return found
