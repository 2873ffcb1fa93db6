from importlib.metadata import EntryPoint

import pytest

from latentcache.encoders import registry
from tests.cli.conftest import Cli


def test_encoders_are_listed_with_what_is_declared(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("encoders", "--json").json}
    assert rows["dct"]["usage"] == "dct"
    assert rows["sdxl"]["usage"] == "sdxl:PATH_OR_HUB_ID"
    assert (rows["sdxl"]["channels"], rows["sdxl"]["spatial_factor"]) == (4, [8, 8])
    assert rows["tiny"]["channels"] is None
    assert (rows["qwen"]["modality"], rows["qwen-text"]["modality"]) == ("video", "text")
    assert (rows["wan"]["streaming"], rows["hunyuan"]["streaming"]) == ("exact", "none")
    assert rows["wan"]["frames"] == {"first": 1, "step": 4, "takes_picture": True}


def test_what_a_reader_chooses_by_is_there(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("encoders", "--json").json}
    assert rows["wan"]["bytes_per_megapixel"] == 2 * 16 * 128 * 128 * 2
    # 24 fps are 6 latent frames a second.
    assert rows["wan"]["bytes_per_second_480p"] == 6 * 2 * 16 * 60 * 104 * 2
    assert rows["emu3-vq-video"]["bytes_per_megapixel"] is None
    assert rows["emu3-vq-video"]["bytes_per_second_480p"] == 6 * 60 * 104 * 2
    assert (rows["vq"]["kind"], rows["vq"]["codebook_size"]) == ("vq", 16384)
    assert (rows["sdxl"]["dtype_on_gpu"], rows["flux"]["dtype_on_gpu"]) == ("float32", "bfloat16")
    assert rows["minimax-h3"]["frames"] == {"first": 5, "step": 17, "takes_picture": True}
    assert rows["minimax-h3"]["forbidden_dtypes"] == ["bfloat16", "float16"]
    assert all(row["weights_licence"] for row in rows.values())


def test_what_packages_register_is_listed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "my_package.encoders:MyEncoder", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    assert "also: mine, registered by a package as my_package.encoders:MyEncoder" in (
        cli("encoders").out
    )
    assert cli("encoders", "--json").json[-1]["module"] == "my_package.encoders:MyEncoder"


def test_the_table_has_a_row_for_each(cli: Cli) -> None:
    rows = cli("encoders", "--json").json
    table = cli("encoders").out
    assert all(row["usage"] in table for row in rows)
    assert "1 + k * 4" in table
    assert "Stable Video Diffusion" in table
