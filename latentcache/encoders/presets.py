"""Presets: what is declared of known encoders before any weight is loaded.

Good for estimates and for refusing the wrong checkpoint; what a loaded encoder really
does is probed. Sources: docs/encoders.md, "Known encoders".
"""

from functools import cache

from latentcache.encoders.dct_declared import (
    DctConfig,
    DctVideoConfig,
    dct_spec,
    dct_video_spec,
)
from latentcache.encoders.declarations.clip_rows import CLIP_ROWS
from latentcache.encoders.declarations.picture_rows import PICTURE_ROWS
from latentcache.encoders.declared import EncoderFacts
from latentcache.encoders.discrete.token_rows import token_facts
from latentcache.encoders.features.feature_presets import feature_facts
from latentcache.encoders.masks.mask_declared import mask_facts
from latentcache.encoders.text.text_presets import text_facts

ALIASES = {
    "sana": "dc",
    "flux1": "flux",
    # Models that normalize as another one does, each held to its pipeline by a test.
    **dict.fromkeys(("chroma", "hidream", "longcat-image", "lumina2", "ovis-image"), "flux"),
    "z-image": "flux",
    **dict.fromkeys(("bria", "prx"), "kl"),
    "bria-fibo2": "flux2",
    **dict.fromkeys(("krea2", "nucleus"), "qwen"),
    **dict.fromkeys(("anyflow", "chronoedit", "cosmos2", "cosmos2.5", "helios"), "wan"),
    **dict.fromkeys(("joyimage", "motif-video", "skyreels-v2"), "wan"),
    **dict.fromkeys(("bria-fibo", "cosmos3", "lucy"), "wan22"),
    **dict.fromkeys(("kandinsky5-video", "kandinsky6"), "hunyuan"),
    "sana-wm": "ltx2",
    "magvit": "easyanimate",
    "movq": "vq",
}
"""Other names of presets. Which weights a model uses is for its folder to say: those of
another size are refused."""


@cache
def known_encoders() -> dict[str, EncoderFacts]:
    """Return what is declared of every encoder this package knows, by name."""
    weight_free = (
        EncoderFacts(spec=dct_spec(DctConfig()), title="block DCT of images"),
        EncoderFacts(
            spec=dct_video_spec(DctVideoConfig()), title="block DCT and causal Haar of clips"
        ),
    )
    autoencoders = (row.facts() for row in (*PICTURE_ROWS, *CLIP_ROWS))
    return {
        facts.name: facts
        for facts in (
            *(*weight_free, mask_facts(), *autoencoders, *token_facts()),
            *(*text_facts(), *feature_facts()),
        )
    }


def preset_of(name: str) -> EncoderFacts | None:
    """Return what is declared under a preset's name or one of its other names, if it is one."""
    return known_encoders().get(ALIASES.get(name, name))
