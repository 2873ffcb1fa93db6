"""What all samples of a column and bucket have in common: where in a member a field lies."""

from collections.abc import Iterable
from dataclasses import dataclass

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.storage import Folder
from latentcache.store import UnitEntry
from latentcache.store.format import BLOCK_BYTES, END_OF_ARCHIVE, TensorEntry, read_header

_FIRST_READ_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleLayout:
    """One member's layout, which all members of a bucket must share.

    Attributes:
        header: The safetensors header, its length included.
        fields: Name to where it lies after the header.
        first_payload: Where the first member's first tensor starts in a tar.
        stride: Bytes from one member to the next.
    """

    header: bytes
    fields: dict[str, TensorEntry]
    first_payload: int
    stride: int

    def check_size(self, entry: UnitEntry) -> None:
        """Refuse a tar whose samples cannot all have this layout.

        Raises:
            ConfigError: Sizes vary.
        """
        assert entry.tar is not None, "only units with a tar have a size"
        expected = entry.num_present * self.stride + len(END_OF_ARCHIVE)
        if entry.tar.size_bytes != expected:
            raise ConfigError(
                f"samples of a bucket must have one shape to be loaded in batches, got a tar of "
                f"{entry.tar.size_bytes} bytes where {entry.num_present} samples of the bucket's "
                f"shape have {expected} ({entry.tar.name}); leave the column out"
            )

    def check_header(self, found: bytes, entry: UnitEntry) -> None:
        """Refuse a tar whose first sample has another header.

        Raises:
            ShardCorruptError: It has.
        """
        if found != self.header:
            assert entry.tar is not None, "only units with a tar have a header"
            raise ShardCorruptError(
                f"samples must start with {self.header[8:].decode().strip()}, got "
                f"{found[8:].decode('utf-8', 'replace').strip()} ({entry.tar.name}); "
                f"run latentcache verify --repair"
            )


def read_template(folder: Folder, entries: Iterable[UnitEntry]) -> SampleLayout | None:
    """Return the layout of the first sample of the first unit that has any, or None."""
    entry = next((entry for entry in entries if entry.tar is not None), None)
    if entry is None or entry.tar is None:
        return None
    name = entry.tar.name
    try:
        head = folder.read(name, start=BLOCK_BYTES, end=BLOCK_BYTES + _FIRST_READ_BYTES)
        length = 8 + int.from_bytes(head[:8], "little")
        if _FIRST_READ_BYTES < length < entry.tar.size_bytes:
            head = folder.read(name, start=BLOCK_BYTES, end=BLOCK_BYTES + length)
    except FileNotFoundError:
        raise ShardCorruptError(
            f"tar must be in the store, got none ({name}); run latentcache verify --repair"
        ) from None
    header = read_header(memoryview(head), where=name)
    size = header.num_bytes + header.payload_bytes
    return SampleLayout(
        header=head[: header.num_bytes],
        fields={one.name: one for one in header.entries},
        first_payload=BLOCK_BYTES + header.num_bytes,
        stride=BLOCK_BYTES + size + (-size % BLOCK_BYTES),
    )
