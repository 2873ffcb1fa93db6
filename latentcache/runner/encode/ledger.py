"""The ledger: where careful units say what they run next, outside the actor that may die on it."""

import ray


@ray.remote(num_cpus=0, max_restarts=0)
class Ledger:
    """What each actor's encode thread runs now; it outlives the actor that dies on it."""

    def __init__(self) -> None:
        self._noted: dict[str, tuple[str, str]] = {}

    def note(self, actor: str, unit: str, place: str) -> None:
        """Remember that ``actor`` runs ``place`` of ``unit`` next; "" for nothing."""
        self._noted[actor] = (unit, place)

    def taken(self, actor: str) -> tuple[str, str]:
        """Return and forget the unit and place that ``actor`` ran last."""
        return self._noted.pop(actor, ("", ""))
