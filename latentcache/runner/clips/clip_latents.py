"""The latents of one long clip on their way to its tar: on the scratch disk, never in memory."""

from collections.abc import Sequence
from pathlib import Path

from latentcache.core.errors import EncoderError
from latentcache.core.fields import Field
from latentcache.runner.clips.clip_encoding import ClipFailedError, EncodedPiece
from latentcache.runner.forward.stored_batch import row_payloads
from latentcache.store import SpilledTensor


class ClipLatents:
    """Takes the pieces of one clip in order; gives its stored fields once all are there."""

    def __init__(self, fields: Sequence[Field], num_frames: int, folder: Path) -> None:
        """Prepare; no file is made before the first piece.

        Args:
            fields: The stored ones; all have a T axis.
            num_frames: Latent frames of the whole clip.
            folder: Of the files.
        """
        self._axes = {field.name: field.axes.index("T") for field in fields}
        self._num_frames, self._num_done, self._folder = num_frames, 0, folder
        self._spilled: dict[str, SpilledTensor] = {}

    @property
    def share(self) -> float:
        """How much of the clip is there, 0 to 1."""
        return self._num_done / self._num_frames

    def add(self, piece: EncodedPiece) -> None:
        """Append the latent frames of a piece.

        Raises:
            ClipFailedError: They are not of the shape of those before.
            StorageError: The disk is full.
        """
        for name, axis in self._axes.items():
            (payload,) = row_payloads(piece.fields[name])
            if name not in self._spilled:
                shape = (*payload.shape[:axis], self._num_frames, *payload.shape[axis + 1 :])
                self._spilled[name] = SpilledTensor(self._folder, payload.dtype, shape, axis=axis)
            try:
                self._spilled[name].append(payload)
            except ValueError as error:
                raise ClipFailedError(str(error)) from error
            self._num_done = piece.start + payload.shape[axis]

    def tensors(self) -> dict[str, SpilledTensor]:
        """Return the clip's stored fields.

        Raises:
            ClipFailedError: The encoder gave fewer latent frames than it declares.
        """
        if self._num_done != self._num_frames:
            error = EncoderError(
                f"a stream must give {self._num_frames} latent frames, got {self._num_done}; the "
                "encoder does not keep to its frame rule"
            )
            raise ClipFailedError(str(error)) from error
        return self._spilled

    def close(self) -> None:
        """Give the disk back."""
        for spilled in self._spilled.values():
            spilled.close()
