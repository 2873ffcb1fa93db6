"""The demo's captions: a tiny text tower of its own, and a column of what it makes of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.narrator import Narrator
from latentcache.demo.photo_store import num_actors

if TYPE_CHECKING:
    from latentcache.demo.page.training_facts import RightIn, SampleGrid, TrainingFacts
TEXT_COLUMN = "text"


def encode_captions(folder: DemoFolder, narrator: Narrator) -> None:
    """Add a column of embedded captions to the store that a model is trained from."""
    from latentcache import runner
    from latentcache.terminal import bytes_text, reporting
    from latentcache.testing.drawn_classes import CLASS_CAPTIONS
    from latentcache.testing.tiny_text import write_tiny_t5

    with narrator.step("Encode the captions: a tiny T5 with random weights and its tokenizer"):
        write_tiny_t5(folder.text_tower, CLASS_CAPTIONS)
        request = runner.EncodeRequest(
            column=TEXT_COLUMN,
            encode=runner.EncodeOptions(
                encoder=f"t5:{folder.text_tower}", input="text:caption", is_offline=True
            ),
            resources=runner.Resources(device="cpu", num_actors=num_actors()),
        )
        with reporting() as reporter:
            result = runner.encode_column(str(folder.class_store), request, reporter=reporter)
        narrator.say(
            f"{result.encoded} captions of {len(CLASS_CAPTIONS)} kinds, "
            f"{bytes_text(result.num_bytes)}: row for row beside the latents"
        )


def tell_captions(training: "TrainingFacts", narrator: Narrator) -> None:
    """Say how often what was asked for is what was drawn, and what a caption is worth."""
    guess = training.first_guess
    narrator.say(
        f"of noise alone: error {guess.told:.2f} told the caption, {guess.untold:.2f} told "
        f"nothing; no model that is told nothing can be below {guess.floor:.2f}"
    )
    if training.unseen is not None:
        right = _in_words(training.unseen_right, training.unseen)
        narrator.say(f"asked for by captions that training never showed: {right}")
    right = _in_words(training.right, training.grids[-1])
    narrator.say(f"asked for by captions: {right}, loss {training.final_loss:.3f}")


def _in_words(right: "Sequence[RightIn]", grid: "SampleGrid") -> str:
    return ", ".join(
        f"{each.name} right in {each.num_right} of {grid.num_scored} (by chance 1 in "
        f"{each.num_choices})"
        for each in right
    )
