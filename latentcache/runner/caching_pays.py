"""When caching pays: encoding once and keeping the latents, against encoding in every epoch."""

import math
from dataclasses import dataclass

from latentcache.core.errors import ConfigError

_TB = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What it costs, in any one currency.

    Attributes:
        hour: An hour of the machine that encodes.
        tb_month: A terabyte kept for a month.
        months: For how long latents are kept.
    """

    hour: float
    tb_month: float
    months: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Prices":
        """Return the prices of ``HOUR,TB_MONTH`` or ``HOUR,TB_MONTH,MONTHS``.

        Raises:
            ConfigError: They are not two or three numbers, an hour that costs something first.
        """
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        usable = len(numbers) in (2, 3) and all(math.isfinite(n) and n >= 0 for n in numbers)
        if not usable or not numbers[0]:
            raise ConfigError(
                f"prices must be HOUR,TB_MONTH[,MONTHS], got {text!r}; write for instance 2.5,23"
            )
        return cls(hour=numbers[0], tb_month=numbers[1], months=(*numbers, 1.0)[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingCost:
    """Cached against online.

    Attributes:
        hours: To encode the plan once: what caching costs once, and online costs every epoch.
        bytes: That are kept.
        kept_hours: What keeping them costs, in hours of the machine; 0 without prices.
        epochs: The first number of epochs after which caching has cost less.
    """

    hours: float
    bytes: int
    kept_hours: float
    epochs: int

    def saved_hours(self, epochs: int) -> float:
        """Return the hours that caching saves over so many epochs; negative if it costs more."""
        return self.hours * (epochs - 1) - self.kept_hours


def caching_cost(hours: float, num_bytes: int, prices: Prices | None = None) -> CachingCost:
    """Return what caching costs against encoding every epoch.

    Online, each epoch decodes and encodes all samples on the machine that was measured; reading
    latents is not counted, it keeps no encoder busy. ``n`` epochs cost ``n * hours`` online and
    ``hours + kept`` cached.

    Args:
        hours: Of one pass, measured.
        num_bytes: Of the latents.
        prices: Of the machine and of storage; None counts hours alone.
    """
    kept = 0.0
    if prices is not None:
        kept = num_bytes / _TB * prices.tb_month * prices.months / prices.hour
    epochs = 2 + math.floor(kept / hours) if hours > 0 else 2
    return CachingCost(hours=hours, bytes=num_bytes, kept_hours=kept, epochs=epochs)
