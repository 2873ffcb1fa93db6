"""The shape of a stored pixel: of all frames as the container says, else of each as it says."""

from fractions import Fraction

from latentcache.decode.video.video_file import VideoFile, plausible_aspect


class PixelAspects:
    """Remembers which aspect a decoder had set when it took each packet.

    Broadcasts change from 4:3 to 16:9 within a stream; a frame comes some packets after its
    own, when the decoder may be in the next part already.
    """

    def __init__(self, video: VideoFile) -> None:
        """Prepare.

        Args:
            video: Opened.
        """
        self._video = video
        self._changes: list[tuple[int, Fraction]] = []

    def clear(self) -> None:
        """Forget all: packets are numbered anew."""
        self._changes.clear()

    def note(self, packet: int) -> None:
        """Note what the decoder says, having taken a packet."""
        if self._video.has_own_aspect:
            return
        aspect = plausible_aspect(self._video.decoder.sample_aspect_ratio)
        if not self._changes or self._changes[-1][1] != aspect:
            self._changes.append((packet, aspect))

    def of(self, packet: int | None) -> Fraction:
        """Return the aspect of the pixels of a packet's frame."""
        if self._video.has_own_aspect or packet is None:
            return self._video.pixel_aspect
        since = [aspect for number, aspect in self._changes if number <= packet]
        return since[-1] if since else self._video.pixel_aspect
