"""The demo's folder: everything it writes, and nothing outside it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import ConfigError

_MARKER = ".latentcache-demo"


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where everything is: one folder, and nothing outside it."""

    root: Path

    @property
    def corpus(self) -> Path:
        """The drawn pictures."""
        return self.root / "corpus"

    @property
    def store(self) -> Path:
        """The store that nothing disturbs."""
        return self.root / "store"

    @property
    def killed_store(self) -> Path:
        """The store whose build is killed."""
        return self.root / "store_killed"

    @property
    def class_corpus(self) -> Path:
        """The pictures that a model is trained on, in class folders."""
        return self.root / "corpus_classes"

    @property
    def class_store(self) -> Path:
        """The store of their latents."""
        return self.root / "store_classes"

    @property
    def text_tower(self) -> Path:
        """The text encoder of their captions, with its tokenizer."""
        return self.root / "tiny_t5"

    @property
    def files(self) -> Path:
        """The same latents, a file each, to compare with."""
        return self.root / "folder"

    @property
    def model(self) -> Path:
        """The trained model's checkpoint."""
        return self.root / "model.safetensors"

    @property
    def samples(self) -> Path:
        """What the model draws, beside the nearest training pictures."""
        return self.root / "samples.png"

    @property
    def motion_corpus(self) -> Path:
        """Videos of moving shapes."""
        return self.root / "corpus_motion"

    @property
    def motion_store(self) -> Path:
        """The store of their latents."""
        return self.root / "store_motion"

    @property
    def motion_model(self) -> Path:
        """The checkpoint of the model that was trained on them."""
        return self.root / "model_motion.safetensors"

    @property
    def motion_samples(self) -> Path:
        """What that model draws, moving, beside the nearest training clips."""
        return self.root / "motion.webp"

    @property
    def autoencoder(self) -> Path:
        """The autoencoder that the demo trains to have something to compare with."""
        return self.root / "tiny_autoencoder"

    @property
    def comparison(self) -> Path:
        """The page that compares three encoders."""
        return self.root / "compare.html"

    def prepare(self) -> None:
        """Empty the folder if an earlier demo made it.

        Raises:
            ConfigError: It holds something else.
        """
        marker = self.root / _MARKER
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(f"out must be a folder, got {self.root}; name another")
        if self.root.is_dir() and any(self.root.iterdir()) and not marker.is_file():
            raise ConfigError(
                f"out must be empty or made by the demo before, got {self.root} with other "
                "files; name another folder"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        # The marker stays through a stop in the middle, so that the next run may clean up.
        marker.write_text("latentcache demo empties this folder when it runs again\n")
        for entry in self.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != marker:
                entry.unlink()
