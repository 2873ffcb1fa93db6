from .clips.clip import ClipRequest as ClipRequest
from .clips.clip import decode_clip as decode_clip
from .clips.clip import decode_clips as decode_clips
from .clips.clip_reader import ClipReader as ClipReader
from .clips.video_probe import VideoInfo as VideoInfo
from .clips.video_probe import probe_video as probe_video
from .derived.derive import derive as derive
from .isolated import IsolatedSample as IsolatedSample
from .isolated import decode_isolated as decode_isolated
from .media_options import MediaTransform as MediaTransform
from .media_options import pixel_rules as pixel_rules
from .medium_probe import OF_ANOTHER_KIND as OF_ANOTHER_KIND
from .medium_probe import probe_medium as probe_medium
from .picture.decode_image import decode_cuts as decode_cuts
from .picture.decode_image import decode_image as decode_image
from .picture.picture_probe import probe_image as probe_image
from .pixel_options import ImageLimits as ImageLimits
from .pixel_options import ImageTransform as ImageTransform
from .pixel_options import VideoTransform as VideoTransform
from .reject_reasons import classify as classify
from .sound.sound_rule import SoundRule as SoundRule
from .sound.sound_window import WindowSound as WindowSound
from .sound.sound_window import clip_sound as clip_sound
from .sound.sound_window import decode_sound as decode_sound
from .video.timeline import Timeline as Timeline
from .watchdog import extend_time_limit as extend_time_limit
from .watchdog import time_limit as time_limit

__all__ = [
    "OF_ANOTHER_KIND",
    "ClipReader",
    "ClipRequest",
    "ImageLimits",
    "ImageTransform",
    "IsolatedSample",
    "MediaTransform",
    "SoundRule",
    "Timeline",
    "VideoInfo",
    "VideoTransform",
    "WindowSound",
    "classify",
    "clip_sound",
    "decode_clip",
    "decode_clips",
    "decode_cuts",
    "decode_image",
    "decode_isolated",
    "decode_sound",
    "derive",
    "extend_time_limit",
    "pixel_rules",
    "probe_image",
    "probe_medium",
    "probe_video",
    "time_limit",
]
