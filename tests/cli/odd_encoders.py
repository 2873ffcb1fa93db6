"""Encoders that a comparison must bear."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from latentcache.encoders import EncoderSpec
from latentcache.testing.fakes import FakeEncoder


class NanDecoder(FakeEncoder):
    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), impl="tests.NanDecoder")

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        decoded = super().decode(fields)
        decoded[..., 0] = math.nan
        return decoded


class NoDecoder(FakeEncoder):
    decode = None  # type: ignore[assignment]

    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), impl="tests.NoDecoder")
