"""Words that users of other tools type, answered with ours."""

import difflib
from collections.abc import Mapping

import click

AGAIN = "nothing is needed: run the same command again, it does what is missing"
_ENCODER = "the encoder and its weights are one word: --encoder NAME:PATH, see latentcache encoders"
_CORPUS = "the corpus is the first argument: latentcache build CORPUS STORE"
_STORE = "the store is the second argument: latentcache build CORPUS STORE"
_SIZE = "--resolution PX: a bucket holds at most PX * PX pixels; --square cuts everything square"
_ACTORS = "--actors N encoders; decoding takes the cores that are left"
_OUT_WORDS = (
    "--out", "--output", "--output-dir", "--output-folder", "--cache-dir", "--save-dir",
)  # fmt: skip
_DATA_WORDS = (
    "--input", "--input-dir", "--input-folder", "--data", "--data-dir", "--dataset",
    "--dataset-path", "--train-data-dir", "--instance-data-dir", "--image-dir", "--images",
)  # fmt: skip
_DEVICE_WORDS = (
    "--workers", "--num-workers", "--num-proc", "--processes", "--gpus", "--num-gpus", "--devices",
    "--world-size", "-j",
)  # fmt: skip
_PRECISION_WORDS = ("--mixed-precision", "--precision", "--bf16", "--fp16", "--half")
_LEGEND = "--dtype bf16 is what the encoder computes in, --storage-dtype what is stored"


OPTION_HABITS: Mapping[str, str] = {
    **dict.fromkeys(
        ("--vae", "--vae-path", "--vae-model", "--model", "--model-path", "--model-name",
         "--pretrained-model-name-or-path", "--pretrained-vae-model-name-or-path", "--ckpt",
         "--checkpoint", "--weights"),
        _ENCODER,
    ),
    **dict.fromkeys(
        ("--resume", "--resume-from-checkpoint", "--continue", "--skip-existing"), AGAIN
    ),
    **dict.fromkeys(_DATA_WORDS, _CORPUS),
    **dict.fromkeys(_OUT_WORDS, _STORE),
    **dict.fromkeys(
        ("--size", "--image-size", "--img-size", "--res", "--max-resolution", "--width", "--height",
         "--max-pixels"),
        _SIZE,
    ),
    **dict.fromkeys(_DEVICE_WORDS, _ACTORS),
    **dict.fromkeys((*_PRECISION_WORDS, "--vae-dtype", "--weight-dtype"), _LEGEND),
    **dict.fromkeys(
        ("--dry-run", "--dryrun"),
        "latentcache plan CORPUS --estimate writes nothing and says what it would take; "
        "gc is a dry run unless --delete is given",
    ),
    **dict.fromkeys(
        ("--num-frames", "--frame-count"), "--frames N: of each clip, see docs/videos.md"
    ),
    **dict.fromkeys(("--frame-rate", "--video-fps"), "--fps X"),
    **dict.fromkeys(
        ("--shard-size", "--samples-per-shard", "--maxcount"), "--rows-per-shard N, a power of two"
    ),
    **dict.fromkeys(
        ("--sample-posterior", "--vae-latent-mode", "--latent-dist"),
        "--posterior",
    ),
    **dict.fromkeys(
        ("--enable-bucket", "--aspect-ratio-bucketing", "--bucket"),
        "buckets are always made; --square asks for one",
    ),
    **dict.fromkeys(
        ("--log-level", "--debug"), "latentcache -v COMMAND logs what happens underneath"
    ),
    "--watch": "latentcache status STORE --watch",
}  # fmt: skip

TRAIN_HABITS: Mapping[str, str] = {
    **dict.fromkeys(
        ("--steps", "--max-steps", "--num-steps", "--max-train-steps", "--epochs", "--num-epochs",
         "--num-train-epochs"),
        "--set train.num_steps=N, in optimizer steps",
    ),
    **dict.fromkeys(
        ("--batch-size", "--batch", "--global-batch-size", "--train-batch-size"),
        "--set batches.global_batch_size=N, of all ranks together",
    ),
    **dict.fromkeys(
        ("--gradient-accumulation-steps", "--micro-batches"), "--set batches.micro_batches=N"
    ),
    **dict.fromkeys(("--lr", "--learning-rate"), "--set train.learning_rate=X"),
    **dict.fromkeys(("--resume-from-checkpoint", "--continue"), "--resume"),
    **dict.fromkeys(_OUT_WORDS, "--set out=FOLDER"),
    **dict.fromkeys((*_DATA_WORDS, "--store"), "--set store=STORE"),
    **dict.fromkeys(_PRECISION_WORDS, "--set train.precision=bfloat16"),
    **dict.fromkeys(
        _DEVICE_WORDS, "torchrun --nproc-per-node N -m latentcache train RECIPE"
    ),
    **dict.fromkeys(
        ("--config", "--recipe"), "the recipe is the first argument: latentcache train RECIPE"
    ),
    "--condition": "--set condition=COLUMN",
    "--seed": "--set batches.seed=N",
    "--device": "--set device=cpu",
}  # fmt: skip
"""Words on the command line of ``train``, whose keys are all in its recipe."""

COMMAND_HABITS: Mapping[str, str] = {
    **dict.fromkeys(
        ("cache", "cache-latents", "cache_latents", "precompute", "preprocess", "prepare", "run",
         "create", "resume"),
        "build",
    ),
    **dict.fromkeys(("info", "ls", "list", "inspect", "progress"), "status"),
    **dict.fromkeys(("check", "validate", "fsck"), "verify"),
    **dict.fromkeys(("clean", "prune", "rm", "delete"), "gc"),
    **dict.fromkeys(("view", "visualize", "preview", "decode"), "show"),
    **dict.fromkeys(("html", "page"), "report"),
    "add-column": "encode",
    **dict.fromkeys(("reencode", "recompute", "migrate"), "swap"),
    **dict.fromkeys(("sync", "mirror", "clone"), "copy"),
    **dict.fromkeys(("takedown", "forget"), "retire"),
    "convert": "import",
    **dict.fromkeys(("models", "vaes"), "encoders"),
    **dict.fromkeys(("config", "init", "template"), "recipe"),
    **dict.fromkeys(("estimate", "scan"), "plan"),
}  # fmt: skip


class Commands(click.Group):
    """A group that answers other tools' words with its own."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or say which one does what was asked for."""
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, self.commands, n=1)
        ours = COMMAND_HABITS.get(name) or (near[0] if near else None)
        known = ", ".join(self.commands)
        hint = f"latentcache {ours} does that" if ours else "latentcache --help says what each does"
        raise click.UsageError(f"command must be one of {known}, got {name!r}; {hint}", ctx)


def answered(error: click.NoSuchOption) -> click.UsageError:
    """Return what to tell of an option that there is not: ours for it, if its word is known."""
    spelled = error.option_name.lower().replace("_", "-")
    options = [] if error.ctx is None else error.ctx.command.params
    ours = {name for option in options for name in option.opts}
    if spelled in ours:
        return click.UsageError(f"no such option: {error.option_name}; write {spelled}", error.ctx)
    if spelled in _OUT_WORDS and "-o" in ours:
        hint: str | None = "write -o FILE"
    elif error.ctx is not None and error.ctx.command.name == "train":
        hint = TRAIN_HABITS.get(spelled)
    else:
        hint = OPTION_HABITS.get(spelled)
    if hint is None:
        return error
    return click.UsageError(f"no such option: {error.option_name}; {hint}", error.ctx)
