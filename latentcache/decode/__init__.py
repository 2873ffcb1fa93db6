"""Bytes to pixels: the one home of Pillow and PyAV. Importing this package loads no codec."""

from typing import TYPE_CHECKING, Any

from latentcache.decode.options import (
    ImageLimits,
    ImageTransform,
    MediaTransform,
    VideoTransform,
    pixel_rules,
)

if TYPE_CHECKING:
    from latentcache.decode.clip import ClipRequest, decode_clip, decode_clips
    from latentcache.decode.clip_reader import ClipReader
    from latentcache.decode.image import decode_image
    from latentcache.decode.isolated import IsolatedSample, decode_isolated
    from latentcache.decode.probe import probe_image
    from latentcache.decode.reasons import classify
    from latentcache.decode.timeline import Timeline
    from latentcache.decode.video_probe import VideoInfo, probe_video
    from latentcache.decode.watchdog import extend_time_limit, time_limit

__all__ = [
    "ClipReader",
    "ClipRequest",
    "ImageLimits",
    "ImageTransform",
    "IsolatedSample",
    "MediaTransform",
    "Timeline",
    "VideoInfo",
    "VideoTransform",
    "classify",
    "decode_clip",
    "decode_clips",
    "decode_image",
    "decode_isolated",
    "extend_time_limit",
    "pixel_rules",
    "probe_image",
    "probe_video",
    "time_limit",
]

_HOMES = {
    "ClipReader": "clip_reader",
    "ClipRequest": "clip",
    "IsolatedSample": "isolated",
    "Timeline": "timeline",
    "VideoInfo": "video_probe",
    "classify": "reasons",
    "decode_clip": "clip",
    "decode_clips": "clip",
    "decode_image": "image",
    "decode_isolated": "isolated",
    "extend_time_limit": "watchdog",
    "probe_image": "probe",
    "probe_video": "video_probe",
    "time_limit": "watchdog",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  only the first use pays

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
