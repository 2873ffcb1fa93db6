"""``dct-video``: the block DCT of ``dct`` with a causal temporal Haar, for 1 + 4k frames.

The first frame stands for four equal ones and is kept alone; each further group of four
frames becomes one latent frame by two levels of Haar. Its channels are the mean of the
group, then three differences: first against second half, first against second frame,
third against fourth. Everything is scaled by 1/2 against the orthonormal Haar, so that the
mean has the scale of an image's latent. The first frame's differences are zero by
arithmetic, not by padding: every latent frame has the same channels, and the first one is
the latent of the frame as an image.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from latentcache.core.config import config_from_mapping
from latentcache.encoders.arithmetic import pinned_arithmetic
from latentcache.encoders.dct import dct_basis, project_image, restore_image
from latentcache.encoders.dct_declared import (
    FLOAT32_ONLY,
    GROUP_FRAMES,
    DctVideoConfig,
    dct_video_spec,
)
from latentcache.encoders.frame_chunks import Fields, GroupCoder, GroupStream, encode_groups
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import SampleMeta

_PAIR = 2.0**-1.5


def haar_bands(images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return mean, halves, first pair and second pair of four images.

    Half of an orthonormal transform. Element by element, so that the order of the sums
    cannot depend on the size of the image.
    """
    a, b, c, d = images
    first, second = a + b, c + d
    return [(first + second) / 4, (first - second) / 4, (a - b) * _PAIR, (c - d) * _PAIR]


def haar_images(bands: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the four images of ``haar_bands``."""
    mean, halves, first_pair, second_pair = bands
    first, second = mean + halves, mean - halves
    a, c = first_pair / (2 * _PAIR), second_pair / (2 * _PAIR)
    return [first + a, first - a, second + c, second - c]


class DctVideoEncoder:
    """The clip autoencoder of this module; see there."""

    def __init__(self, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        config = config_from_mapping(DctVideoConfig, options.knobs, where="dct-video")
        self.device = choose_device(options.device)
        dtype = choose_dtype(
            options.dtype, name="dct-video", default="float32", forbidden=FLOAT32_ONLY
        )
        chroma = config.keep_chroma
        kept = (config.keep_luma, chroma, chroma)
        self._basis = dct_basis(config.block, kept).to(self.device)
        motion = [*range(config.motion_luma)]
        for plane in range(2):
            start = config.keep_luma + plane * chroma
            motion += range(start, start + config.motion_chroma)
        self._motion_channels = torch.tensor(motion, device=self.device)
        self.spec = dct_video_spec(config, compute_dtype=dtype)
        self._coder = HaarCoder(self.encode_group)

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``z`` of every clip, float32 CTHW."""
        check_batch(self.spec, pixels, metas)
        z_BCTHW = self._run(partial(encode_groups, self._coder), pixels)["z"]
        return [{"z": z_CTHW} for z_CTHW in z_BCTHW]

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return pixels BCTHW of a batch of ``z``."""
        z_BCTHW = fields["z"].to(self.device, torch.float32)
        with pinned_arithmetic(self.device, allow_tf32=False):
            clips = [self._decode_clip(row.transpose(0, 1)) for row in z_BCTHW]
        return torch.stack(clips).transpose(1, 2)

    def reset(self) -> None:
        """Do nothing: a stream holds its own state."""

    def open(self, height_px: int, width_px: int) -> GroupStream:
        """Return a new stream of frames of one size.

        Raises:
            EncoderError: The size does not fit.
        """
        frame = torch.zeros((1, self.spec.input_channels, 1, height_px, width_px))
        check_batch(self.spec, frame, [SampleMeta(key="")])
        return GroupStream(self.spec, self._coder, self._run, (height_px, width_px))

    def encode_group(self, frames_TCHW: torch.Tensor) -> torch.Tensor:
        """Return one latent frame, CHW, of the first frame (T=1) or a group of four."""
        images = [project_image(frame, self._basis) for frame in frames_TCHW]
        if len(images) == 1:
            zero = torch.zeros_like(images[0][self._motion_channels])
            return torch.cat([images[0], zero, zero, zero])
        bands = haar_bands(images)
        motion = [band[self._motion_channels] for band in bands[1:]]
        return torch.cat([bands[0], *motion])

    def _run(self, compute: Callable[[torch.Tensor], Fields], frames: torch.Tensor) -> Fields:
        with pinned_arithmetic(self.device, allow_tf32=False):
            return compute(frames.to(self.device, torch.float32))

    def _decode_clip(self, z_TCHW: torch.Tensor) -> torch.Tensor:
        num_mean, num_motion = len(self._basis), len(self._motion_channels)
        frames = []
        for index, z_CHW in enumerate(z_TCHW):
            mean, *motion = torch.split(z_CHW, [num_mean, num_motion, num_motion, num_motion])
            if index == 0:
                frames.append(restore_image(mean, self._basis))
                continue
            bands = [mean, *(self._fill_motion(band, mean) for band in motion)]
            frames += [restore_image(image, self._basis) for image in haar_images(bands)]
        return torch.stack(frames)

    def _fill_motion(self, band: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        filled = torch.zeros_like(like)
        filled[self._motion_channels] = band
        return filled


class HaarCoder(GroupCoder):
    """Encodes groups of an encoder's clips; there is nothing to carry."""

    first_frames = 1
    group_frames = GROUP_FRAMES

    def __init__(self, encode_group: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._encode_group = encode_group

    def start(self) -> None:
        """Return nothing."""

    def encode_group(self, frames_BCTHW: torch.Tensor, state: None) -> Fields:  # noqa: ARG002
        """Return one latent frame per clip."""
        latents = [self._encode_group(clip.transpose(0, 1)) for clip in frames_BCTHW]
        return {"z": torch.stack(latents)[:, :, None]}
