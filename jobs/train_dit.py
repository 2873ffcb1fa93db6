"""Train from a recipe: ``latentcache train`` for torchrun and for ``ray job submit``.

torchrun --nproc-per-node 8 jobs/train_dit.py jobs/configs/train_photos.toml
ray job submit --working-dir . -- python jobs/train_dit.py jobs/configs/train_photos.toml
"""

import sys

from latentcache.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
