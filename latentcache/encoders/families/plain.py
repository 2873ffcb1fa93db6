"""Classes without a way of their own: whole clips or pictures, ``z * scaling_factor``.

HunyuanVideo 1.5, HunyuanImage 2.1.
"""

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import config_scale

FAMILY = Family(read_normalizer=config_scale)
