from tests.cli.conftest import Cli


def test_encoders_are_listed_with_what_is_declared(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("encoders", "--json").json}
    assert rows["dct"]["usage"] == "dct"
    assert rows["sdxl"]["usage"] == "sdxl:PATH_OR_HUB_ID"
    assert (rows["sdxl"]["channels"], rows["sdxl"]["spatial_factor"]) == (4, [8, 8])
    assert rows["tiny"]["channels"] is None
    assert (rows["qwen"]["modality"], rows["qwen-text"]["modality"]) == ("video", "text")
    assert (rows["wan"]["streaming"], rows["hunyuan"]["streaming"]) == ("exact", "none")
    assert rows["wan"]["frames"] == {"first": 1, "step": 4}


def test_the_table_has_a_row_for_each(cli: Cli) -> None:
    rows = cli("encoders", "--json").json
    table = cli("encoders").out
    assert all(row["usage"] in table for row in rows)
    assert "1 + k * 4" in table
    assert "Stable Video Diffusion" in table
