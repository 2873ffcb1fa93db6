"""Feeding a training run from stores: order by arithmetic, batches at the speed of memory."""

__all__: list[str] = []
