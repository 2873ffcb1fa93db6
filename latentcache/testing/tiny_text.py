"""A text tower of the real class that needs no download: tiny, with random weights and few words.

What it says of a text means nothing by itself, but other words are other numbers: enough for a
model to learn what a few of them stand for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

_SPECIAL = ("<pad>", "</s>", "<unk>")


def write_tiny_t5(folder: Path, texts: Sequence[str], *, seed: int = 0) -> Path:
    """Return ``folder``, which holds a T5 encoder and its tokenizer, of a token a word.

    Args:
        folder: Made if absent.
        texts: Whose words it knows; all others are one, ``<unk>``.
        seed: Of the weights; torch's own random state is left alone.
    """
    words = sorted({word for text in texts for word in text.split()})
    numbers = {word: number for number, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", numbers["</s>"])]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.T5Config(
            vocab_size=len(numbers), d_model=32, d_ff=48, d_kv=8, num_heads=4, num_layers=2
        )
        model = transformers.T5EncoderModel(config)
    with _no_bars():
        model.save_pretrained(folder)
    made: Any = transformers.PreTrainedTokenizerFast
    made(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for a file that takes a millisecond."""
    logging: Any = transformers.utils.logging
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
