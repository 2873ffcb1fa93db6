"""torchcodec's side of ``decode_video.py``; runs in an environment of its own.

Reads one JSON object per line, ``{path, first, num_frames, size, mode}``, and answers each with
``{cpu_s, shape}``. Knows nothing of latentcache.
"""

import json
import resource
import sys
import time

import torch
from torchcodec.decoders import VideoDecoder
from torchcodec.transforms import Resize


def decode(order: dict) -> dict:
    started = time.process_time()
    decoder = VideoDecoder(
        order["path"],
        dimension_order="NHWC",
        num_ffmpeg_threads=1,
        seek_mode=order["mode"],
        transforms=[Resize(order["size"][::-1])],
    )
    first = order["first"]
    frames = decoder.get_frames_in_range(first, first + order["num_frames"]).data
    return {
        "cpu_s": time.process_time() - started,
        "shape": list(frames.shape),
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def main() -> None:
    torch.set_num_threads(1)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_kib": peak_kib}), flush=True)
    for line in sys.stdin:
        print(json.dumps(decode(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
