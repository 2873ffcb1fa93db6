"""Which hidden states of a transformer are taken, as the knob ``layers`` says it."""

from collections.abc import Sequence

from latentcache.core.errors import ConfigError


def layer_numbers(layers: object) -> tuple[int, ...]:
    """Return numbers of hidden states; () for ``last``, what the model itself returns.

    Raises:
        ConfigError: They are no numbers.
    """
    if layers == "last":
        return ()
    try:
        return tuple(int(each) for each in str(layers).split("+"))
    except ValueError:
        raise ConfigError(
            f"layers must be last, or numbers of hidden states joined by +, got {layers!r}; write "
            "for instance layers=-2"
        ) from None


def check_layers(numbers: Sequence[int], num_layers: int, label: str) -> None:
    """Refuse numbers of hidden states that a model does not have.

    Args:
        numbers: From ``layer_numbers``.
        num_layers: Of the model; it has one hidden state more.
        label: Where the model lies.

    Raises:
        ConfigError: One is outside.
    """
    wrong = [each for each in numbers if not -num_layers - 1 <= each <= num_layers]
    if wrong:
        raise ConfigError(
            f"layers must be hidden states {-num_layers - 1} to {num_layers}, got {wrong[0]} "
            f"({label}); the model has {num_layers} layers"
        )
