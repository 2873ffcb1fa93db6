"""Flags: what a person types daily, each one an override of one key of the recipe.

No default is written here. A flag that is not given leaves its key to the recipe file, or
to the config that owns it; ``--help`` asks that config what it would be.
"""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from latentcache.cli.storage_flags import STORAGE_HELP, use_options
from latentcache.cli.values import COLOUR, COUNTS, RESOLUTION, SHARE

if TYPE_CHECKING:
    from latentcache.runner import Recipe

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_OVERRIDES = "latentcache.overrides"
_CONFIG, _SETTINGS = "latentcache.config", "latentcache.settings"


class RecipeOption(click.Option):
    """An option that sets ``keys`` of the recipe and is no argument of the command."""

    def __init__(self, *args: Any, keys: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(*args, expose_value=False, **{"callback": _keep, **kwargs})
        self.keys = keys

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's line of ``--help``, with the default its config has."""
        record = super().get_help_record(ctx)
        if record is None or self.is_flag:
            return record
        shown = _shown(_default_of(self.keys[0]))
        return (record[0], f"{record[1]}  [default: {shown}]") if shown else record


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    assert isinstance(parameter, RecipeOption)
    if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
        overrides = context.meta.setdefault(_OVERRIDES, {})
        overrides.update(dict.fromkeys(parameter.keys, value))


def _keep_and_use(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep options of storage; a command that reads no recipe has them too."""
    _keep(context, parameter, value)
    if value:
        use_options(context, value)


def _one_or_several(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a value that is a list only where it was given several times."""
    _keep(context, parameter, value[0] if len(value) == 1 else list(value))


def _default_of(key: str) -> Any:
    from latentcache.cli.recipe_keys import recipe_keys
    from latentcache.runner import Recipe

    return next(each.value for each in recipe_keys(Recipe()) if each.key == key)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value in ("", None) else str(value)


def _option(
    *names: str, key: str, also: str = "", **settings: Any
) -> Callable[[CommandT], CommandT]:
    keys = (key, also) if also else (key,)
    return click.option(*names, cls=RecipeOption, keys=keys, **settings)


def _all(*options: Callable[[CommandT], CommandT]) -> Callable[[CommandT], CommandT]:
    def decorate(command: CommandT) -> CommandT:
        return reduce(lambda done, option: option(done), reversed(options), command)

    return decorate


def _placement_flags(command: CommandT) -> CommandT:
    return _all(
        _option(
            "--crops", key="plan.crops", type=int, metavar="N",
            help="Crops of each sample: 3 are the centre and both ends; a row each.",
        ),
        _option(
            "--flip", key="plan.flip", metavar="horizontal",
            help="Give each row a mirrored one beside it, encoded like any other.",
        ),
    )(command)  # fmt: skip


def plan_flags(command: CommandT) -> CommandT:
    """Add the flags that decide buckets, crops and shards."""
    return _all(
        _option(
            "--resolution", key="plan.resolution", type=RESOLUTION, metavar="PX[,PX...]",
            help="Pixel budget of a bucket: PX * PX. Of several, each sample has a row at each.",
        ),
        _placement_flags,
        _option("--square", key="plan.square", is_flag=True, help="One square bucket."),
        _option(
            "--min-bucket", key="plan.min_bucket", type=int, metavar="N",
            help="Merge buckets with fewer samples into the nearest one.",
        ),
        _option(
            "--max-upscale", key="plan.max_upscale", type=float, metavar="X",
            help="Leave out what would be enlarged more than this.",
        ),
        _option(
            "--rows-per-shard", key="plan.rows_per_shard", type=int, metavar="N",
            help="Samples of a full shard, a power of two; 0 chooses.",
        ),
        _option(
            "--frames", key="plan.frames", type=COUNTS, metavar="N[,N...]",
            help="Take clips of videos too, of the largest of these frame counts that fits; "
            "for whole clips also a rule: 8k+1, 4k+1, 1k.",
        ),
        _option(
            "--fps", key="plan.fps", type=float, metavar="X",
            help="Frames per second of clips; 0 keeps each video's own.",
        ),
        _option(
            "--clips", key="plan.clips", metavar="POLICY",
            help="Which clips: first, uniform:N, sliding:S, one every S seconds, or whole.",
        ),
        _option(
            "--skip-still", key="plan.skip_still", is_flag=True,
            help="Leave out clips that show one picture for three frames or more.",
        ),
        _option(
            "--caption-column", key="plan.caption_column", metavar="NAME",
            help="Column or field that is the caption.",
        ),
        _option(
            "--role", key="plan.role", multiple=True, metavar="NAME[=SOURCE]",
            help="A further medium of each sample: a column of a manifest, a folder of equal "
            "stems, '*_NAME' beside the pictures, or a member of tars' samples.",
        ),
        _option(
            "--limit", key="plan.limit", type=int, metavar="N",
            help="List N samples at most, to try a plan; 0 lists all.",
        ),
        _option(
            "--corpus-kind", key="corpus_kind", metavar="KIND",
            help="folder, webdataset or manifest, where it cannot be told from the files.",
        ),
    )(command)  # fmt: skip


def update_flags(command: CommandT) -> CommandT:
    """Add the flags that take in what changed in a corpus."""
    return _all(
        _option(
            "--update", key="update", is_flag=True,
            help="Take in what came, changed or went since the corpus was planned.",
        ),
        _option(
            "--allow-retire", key="allow_retire", is_flag=True,
            help="Let an update retire more than 5 % of the samples.",
        ),
    )(command)  # fmt: skip


def seed_flag(*keys: str) -> Callable[[CommandT], CommandT]:
    """Add ``--seed``, which sets ``keys``."""
    return _option(
        "--seed", key=keys[0], also="".join(keys[1:]), type=int, metavar="N",
        help="Everything drawn at random follows from it.",
    )  # fmt: skip


def encode_flags(command: CommandT) -> CommandT:
    """Add the flags that decide what is computed and stored."""
    return _all(
        _option(
            "--encoder", key="encode.encoder", metavar="NAME",
            help="dct, sdxl:PATH_OR_HUB_ID, flux:FILE.safetensors, PATH alone, module:Class; "
            "see `latentcache encoders`.",
        ),
        _option(
            "--column", key="column", multiple=True, callback=_one_or_several,
            metavar="NAME[=ENCODER]",
            help="What the result is called; several with their encoders share one pass over the "
            "pixels.",
        ),
        _option(
            "--posterior", key="encode.posterior", type=click.Choice(["moments", "mode", "sample"]),
            help="What is stored of a Gaussian posterior.",
        ),
        _option(
            "--dtype", key="encode.dtype", metavar="DTYPE",
            help="The encoder computes in it.",
        ),
        _option(
            "--storage-dtype", key="encode.storage_dtype", metavar="DTYPE",
            help="Stored floats are rounded to it.",
        ),
        _option(
            "--batch-size", key="encode.batch_size", type=int, metavar="N",
            help="Samples per encoder call, a power of two; 0 chooses.",
        ),
        _option(
            "--background", key="encode.background", type=COLOUR,
            help="Shows through transparent pixels: R,G,B or #rrggbb.",
        ),
        _option(
            "--hdr", key="encode.hdr", type=click.Choice(["tone_map", "refuse"]),
            help="What becomes of HDR clips.",
        ),
        _option(
            "--input", key="encode.input", metavar="INPUT",
            help="What of each sample is encoded: pixels, first_frame, last_frame, "
            "first_frame+zeros, first+last_frame+zeros, role:NAME, role:NAME:FRAMES, "
            "text:caption; changed by /grey, /blur, /canny or /low_resolution.",
        ),
        _option(
            "--role-geometry", key="encode.role_geometry",
            type=click.Choice(["as_target", "own"]),
            help="How media of a role are cut: as their sample, or by their own aspect.",
        ),
        _option(
            "--role-resolution", key="encode.role_resolution", type=int, metavar="PX",
            help="Pixel budget of media with a geometry of their own: PX * PX.",
        ),
        _option(
            "--absent", key="encode.absent", type=click.Choice(["count", "allow"]),
            help="Whether samples without the role count towards --max-quarantine.",
        ),
        _option(
            "--offline", key="encode.offline", is_flag=True, help="Never ask a model hub."
        ),
    )(command)  # fmt: skip


def run_flags(command: CommandT) -> CommandT:
    """Add the flags of a run that publishes a column."""
    return _all(
        _option(
            "--partial", key="partial", is_flag=True,
            help="Publish the column though rows are missing.",
        ),
        _option(
            "--negative", key="negative", metavar="TEXT",
            help="Of a column of texts: encode this text too, once.",
        ),
        _option(
            "--replace", key="replace", is_flag=True,
            help="Let another encoder take the place of the one that serves the column.",
        ),
        _option(
            "--retry-quarantined", key="retry_quarantined", is_flag=True,
            help="Try again what failed for a reason that may pass.",
        ),
        _option(
            "--changed", key="changed", type=click.Choice(["refuse", "retire"]),
            help="What becomes of samples whose file was replaced since another column was made.",
        ),
    )(command)  # fmt: skip


def resource_flags(command: CommandT) -> CommandT:
    """Add the flags that decide where a run happens and how much it takes."""
    device = _option(
        "--device", key="resources.device", type=click.Choice(["auto", "cpu", "cuda"]),
        help="Where the encoder runs.",
    )  # fmt: skip
    return _all(device, cluster_flags)(command)


def cluster_flags(command: CommandT) -> CommandT:
    """Add the flags that say how much of a machine or cluster a run takes."""
    return _all(
        _option(
            "--address", key="resources.address", metavar="ADDRESS",
            help="local starts Ray; auto or HOST:PORT joins a cluster.",
        ),
        _option(
            "--actors", key="resources.actors", type=int, metavar="N",
            help="Encoders at work; 0 takes one per GPU, or fills the cores.",
        ),
        _option(
            "--threads", key="resources.threads", type=int, metavar="N",
            help="Threads of each encoder on a CPU.",
        ),
        _option(
            "--time-limit", key="resources.time_limit", type=float, metavar="SECONDS",
            help="A sample that takes longer to decode is quarantined.",
        ),
        _option(
            "--max-quarantine", key="resources.max_quarantine", type=SHARE,
            help="Fail when a larger share of samples is rejected.",
        ),
        _option(
            "--metrics", key="resources.metrics", metavar="PORT|FILE.prom",
            help="Let Prometheus see the run: on a port of this machine (or HOST:PORT), or by a "
            "file for node_exporter.",
        ),
    )(command)  # fmt: skip


def config_flags(command: CommandT) -> CommandT:
    """Add ``--config`` and ``--set``, for everything that has no flag, and where storage is."""
    storage = _option(
        "--storage-options", key="storage_options", multiple=True, metavar="KEY=VALUE",
        callback=_keep_and_use, help=STORAGE_HELP,
    )  # fmt: skip
    config = click.option(
        "--config", metavar="FILE.toml", type=click.Path(path_type=Path), expose_value=False,
        callback=note(_CONFIG), help="Read a recipe; flags win over it.",
    )  # fmt: skip
    setting = click.option(
        "--set", multiple=True, metavar="SECTION.KEY=VALUE", expose_value=False,
        callback=note(_SETTINGS), help="Set any key of the recipe.",
    )  # fmt: skip
    return _all(storage, config, setting)(command)


def was_given(context: click.Context, key: str) -> bool:
    """Return whether a flag, ``--set`` or the recipe file sets ``key``."""
    from latentcache.core.config import read_toml

    if key in context.meta.get(_OVERRIDES, {}):
        return True
    if any(text.partition("=")[0].strip() == key for text in context.meta.get(_SETTINGS, ())):
        return True
    values: Any = read_toml(context.meta[_CONFIG]) if context.meta.get(_CONFIG) else {}
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def note(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback of an option that keeps its value as ``context.meta[name]``."""

    def keep(context: click.Context, _: click.Parameter, value: Any) -> None:
        context.meta[name] = value

    return keep


def json_flag(command: CommandT) -> CommandT:
    """Add ``--json``, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def recipe_of(context: click.Context, **given: str | list[str] | None) -> "Recipe":
    """Return the recipe that the file, ``--set``, the flags and ``given`` make together.

    Args:
        context: Of the command.
        given: Arguments of the command by key; None leaves a key to the recipe.

    Raises:
        ConfigError: A key or value is wrong.
    """
    recipe = recipe_written(context, **given)
    for key in given:
        if not getattr(recipe, key):
            raise click.MissingParameter(ctx=context, param_hint=key.upper(), param_type="argument")
    return recipe


def recipe_written(context: click.Context, **given: str | list[str] | None) -> "Recipe":
    """Return the same as ``recipe_of``; what has no default may be missing."""
    from latentcache.runner import parse_setting, read_recipe

    overrides = dict(parse_setting(text) for text in context.meta.get(_SETTINGS, ()))
    overrides |= context.meta.get(_OVERRIDES, {})
    overrides |= {key: value for key, value in given.items() if value is not None}
    recipe = read_recipe(context.meta.get(_CONFIG), overrides)
    if recipe.storage_options:
        use_options(context, recipe.storage_options)
    return recipe
