"""``AutoencoderKLHunyuanVideo15``: 32 channels, 16 px and 4 frames; whole clips only."""

from latentcache.encoders.autoencoder import Family
from latentcache.encoders.published_normalizer import config_scale

FAMILY = Family(read_normalizer=config_scale)
