"""Packets whose frame no other frame refers to: who is on the way to a later frame may drop them.

H.264 says so of each picture (``nal_ref_idc`` 0; source: ITU-R H.264, 7.4.1). HEVC says it within a
layer in time (the ``_N`` types; source: H.265, table 7-1), so streams of one layer are meant. Where
anything is unusual, a frame counts as used: decoding it costs time, dropping it would cost values.
"""

from collections.abc import Callable

from av.video.codeccontext import VideoCodecContext

IsUnused = Callable[[memoryview], bool]

_H264_SLICE, _H264_BESIDE = 1, frozenset({6, 9, 12})
_HEVC_UNREFERRED, _HEVC_BESIDE = frozenset({0, 6, 8}), frozenset({35, 38, 39, 40})
"""TRAIL_N, RADL_N and RASL_N; delimiters, filler and supplemental information."""
_HEVC_SPS = 33


def find_unused_rule(context: VideoCodecContext) -> IsUnused | None:
    """Return what tells unused frames of a stream; None where nothing does.

    Args:
        context: Of the stream, opened from a container that keeps units with their lengths
            (mp4, mkv).
    """
    told = context.extradata or b""
    if context.name == "h264" and len(told) >= 7 and told[0] == 1:
        length_bytes = (told[4] & 3) + 1
        return lambda packet: _is_unused(packet, length_bytes, _h264_kind)
    if context.name == "hevc" and len(told) >= 23 and told[0] == 1 and _has_one_layer(told):
        length_bytes = (told[21] & 3) + 1
        return lambda packet: _is_unused(packet, length_bytes, _hevc_kind)
    return None


def _is_unused(
    packet: memoryview, length_bytes: int, kind_of: Callable[[memoryview], bool | None]
) -> bool:
    """Return whether all units with picture data in a packet are unused, and none is unusual."""
    at, has_picture = 0, False
    while at + length_bytes + 2 <= len(packet):
        size = int.from_bytes(packet[at : at + length_bytes], "big")
        at += length_bytes
        is_picture = kind_of(packet[at : at + 2])
        if is_picture is None:
            return False
        has_picture |= is_picture
        at += size
    return has_picture and at == len(packet)


def _h264_kind(head: memoryview) -> bool | None:
    """Return True for unused picture data, False for what lies beside, None for all else."""
    kind, reference = head[0] & 31, head[0] >> 5 & 3
    if kind == _H264_SLICE:
        return None if reference else True
    return False if kind in _H264_BESIDE else None


def _hevc_kind(head: memoryview) -> bool | None:
    kind, layer = head[0] >> 1 & 63, (head[0] & 1) << 5 | head[1] >> 3
    if layer or head[1] & 7 != 1:
        return None
    if kind in _HEVC_UNREFERRED:
        return True
    return False if kind in _HEVC_BESIDE else None


def _has_one_layer(told: bytes) -> bool:
    """Return whether every parameter set says that the stream has one layer in time.

    Args:
        told: ``HEVCDecoderConfigurationRecord``; source: ISO/IEC 14496-15, 8.3.3.1.
    """
    at, found = 23, False
    for _ in range(told[22]):
        kind, count = told[at] & 63 if at < len(told) else 0, told[at + 1 : at + 3]
        at += 3
        for _ in range(int.from_bytes(count, "big")):
            size = int.from_bytes(told[at : at + 2], "big")
            unit = told[at + 2 : at + 2 + size]
            at += 2 + size
            if len(unit) != size or not size:
                return False
            if kind == _HEVC_SPS:
                if len(unit) < 3 or unit[2] >> 1 & 7:
                    return False
                found = True
    return found
