"""The ledger: where careful units say what they run next, outside the actor that may die on it."""

import ray


@ray.remote(num_cpus=0, max_restarts=0)
class Ledger:
    """Where careful units say what they run next: it outlives the actor that dies on it."""

    def __init__(self) -> None:
        self._noted: dict[str, str] = {}

    def note(self, unit: str, place: str) -> None:
        """Remember what ``unit`` runs next."""
        self._noted[unit] = place

    def taken(self, unit: str) -> str | None:
        """Return and forget what ``unit`` ran last."""
        return self._noted.pop(unit, None)
