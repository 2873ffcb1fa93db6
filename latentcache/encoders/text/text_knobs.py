"""What a user may set of a text tower; all of it changes values and is in the fingerprint."""

from dataclasses import dataclass
from typing import Literal

from latentcache.core.errors import ConfigError
from latentcache.encoders.saved_model import layer_numbers

Side = Literal["left", "right"]

_CLEANINGS = ("", "spaces", "lower", "lower+spaces")
_LEAST_CLASS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TextKnobs:
    """How a tower is read; a family has its own defaults."""

    max_length: int = 512
    """Most tokens of one text, those of the template's beginning not counted; the rest is cut
    off, and told."""
    layers: str = "last"
    """``last`` is what the model returns, after its last norm; numbers are hidden states, 0 the
    embedding, -1 the last one: ``-2``, or several joined along the channels: ``9+18+27``."""
    template: str = ""
    """What a text is put into: a name of ``templates``, ``chat`` for the tokenizer's own, or a
    file with ``{}`` in the place of the text."""
    drop: int = 0
    """Tokens at the beginning that are not stored, a template's."""
    side: Side = "right"
    """On which side of the tokens padding lies while they are encoded."""
    mask: bool = True
    """The model is told which tokens are padding. FLUX.1's and SD 3's T5 and CLIP are not."""
    keep_padding: bool = False
    """Positions of padding are stored too: every text has ``max_length`` tokens. For models that
    were trained to see them."""
    clean: str = ""
    """``spaces`` joins white space and strips it, ``lower`` makes small letters of a stripped
    text, ``lower+spaces`` does both."""
    think: bool = False
    """Of ``template=chat``: its ``enable_thinking``, as Z-Image asks it."""
    pooled: bool = True
    """Store the pooled vector too, where the model has one."""
    part: str = ""
    """In a pipeline's folder: the folder of the tower, ``text_encoder_2``."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_length <= 65_536:
            raise ConfigError(
                f"max_length must be 1 to 65536 tokens, got {self.max_length}; models stop earlier"
            )
        if self.drop < 0:
            raise ConfigError(f"drop must be 0 or more tokens, got {self.drop}")
        if self.side not in ("left", "right"):
            raise ConfigError(f"side must be left or right, got {self.side!r}")
        if self.clean not in _CLEANINGS:
            known = ", ".join(filter(None, _CLEANINGS))
            raise ConfigError(f"clean must be one of {known}, got {self.clean!r}")
        self.layer_numbers  # noqa: B018  a wrong one is told now

    @property
    def layer_numbers(self) -> tuple[int, ...]:
        """Numbers of hidden states; () for what the model returns.

        Raises:
            ConfigError: They are no numbers.
        """
        return layer_numbers(self.layers)

    @property
    def length_classes(self) -> tuple[int, ...]:
        """Padded lengths, ascending: a text is encoded at the least that holds it.

        Which one follows from the text alone, so that no bit of it depends on its neighbours. One
        class only where padding changes what is stored.
        """
        most = self.max_length + self.drop
        if self.keep_padding or not self.mask:
            return (most,)
        lengths = [_LEAST_CLASS]
        while lengths[-1] < most:
            lengths.append(2 * lengths[-1])
        return (*lengths[:-1], most)


def cleaned(text: str, clean: str) -> str:
    """Return a text as ``clean`` wants it."""
    if "lower" in clean:
        text = text.lower().strip()
    return " ".join(text.split()) if "spaces" in clean else text
