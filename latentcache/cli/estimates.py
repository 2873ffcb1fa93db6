"""An estimate on stdout: what a corpus would become before anything is spent."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.runner import Estimate


def print_estimate(found: "Estimate") -> None:
    """Print an estimate for people."""
    raise NotImplementedError


def estimate_json(found: "Estimate") -> dict[str, Any]:
    """Return what ``plan --estimate --json`` prints."""
    raise NotImplementedError
