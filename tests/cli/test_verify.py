from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.cli.look.decoding_flags import DecodingOptions
from latentcache.cli.look.repair import recorded_options
from latentcache.core.fingerprint import fingerprint
from latentcache.encoders import EncoderOptions, encoding_identity, load_encoder
from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import NUM_GOOD, TRANSFORM, encode_unit, pin_encoding, publish


def flip_a_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.chmod(0o644)
    path.write_bytes(data)


def tars(store: Store) -> list[Path]:
    return sorted(Path(store.folder.url).rglob("*.tar"))


def test_a_whole_store_is_ok(cli: Cli, drawn_store: Store) -> None:
    shown = cli("verify", drawn_store.folder.url, "--json")
    assert shown.code == 0
    assert shown.json == {
        "ok": True,
        "shards": len(tars(drawn_store)),
        "samples": NUM_GOOD,
        "damaged": [],
    }


def test_damage_leaves_with_3_and_names_the_unit(cli: Cli, own_store: Store) -> None:
    broken = tars(own_store)[1]
    flip_a_byte(broken, broken.stat().st_size // 2)
    done = cli("verify", own_store.folder.url, "--json")
    assert done.code == 3
    assert done.json["ok"] is False
    assert {each["unit"] for each in done.json["damaged"]} == {broken.name.split(".")[0]}
    text = cli("verify", own_store.folder.url)
    assert text.code == 3
    assert "SHA-256" in text.out
    assert "verify --repair" in text.out


def test_a_lost_tar_is_damage(cli: Cli, own_store: Store) -> None:
    tars(own_store)[0].unlink()
    assert cli("verify", own_store.folder.url).code == 3


def of_another_number(root: Path) -> None:
    record = root / "snapshots/1.json"
    (root / "snapshots/2.json").write_bytes(record.read_bytes())


def cut_short(root: Path) -> None:
    record = root / "snapshots/1.json"
    record.chmod(0o644)
    record.write_bytes(record.read_bytes()[:-9])


def encoding_of_another_folder(root: Path) -> None:
    (record,) = root.glob("encodings/latents/*/encoding.json")
    digits = record.parent.name
    record.chmod(0o644)
    record.write_text(record.read_text().replace(digits, digits[::-1]))


@pytest.mark.parametrize("harm", [of_another_number, cut_short, encoding_of_another_folder])
def test_a_record_that_cannot_be_believed_is_damage(
    harm: Callable[[Path], None], cli: Cli, own_store: Store
) -> None:
    harm(Path(own_store.folder.url))
    found = cli("verify", own_store.folder.url, "--json")
    assert (found.code, found.json["ok"], len(found.json["damaged"])) == (3, False, 1)
    assert "restore it from a copy" in cli("verify", own_store.folder.url).out
    assert cli("verify", own_store.folder.url, "--snapshot", "7").code == 1


def test_a_damaged_plan_is_no_matter_for_repair(cli: Cli, own_store: Store) -> None:
    part = next(Path(own_store.folder.url).rglob("part-*.parquet"))
    flip_a_byte(part, part.stat().st_size // 2)
    done = cli("verify", own_store.folder.url)
    assert done.code == 3
    assert "restore it from a copy" in done.out


def test_decoding_gives_psnr_per_sample_mean_and_min(cli: Cli, drawn_store: Store) -> None:
    psnr = cli("verify", drawn_store.folder.url, "--decode", 4, "--device", "cpu", "--json").json[
        "psnr_db"
    ]
    values = list(psnr["samples"].values())
    assert len(values) == 4
    assert psnr["mean"] == pytest.approx(sum(values) / 4)
    assert psnr["min"] == min(values) > 25
    text = cli("verify", drawn_store.folder.url, "--decode", 4, "--device", "cpu").out
    assert f"PSNR mean {psnr['mean']:.2f} dB" in text
    assert all(key in text for key in psnr["samples"])
    assert values == sorted(values)
    sources = [psnr["sources"][key] for key in psnr["samples"]]
    shown = [line.split()[1] for line in text.splitlines() if line.startswith("latents ")]
    assert shown == sources


def test_an_older_snapshot_is_verified_by_its_number(cli: Cli, own_store: Store) -> None:
    other = pin_encoding(own_store, "dct:block=4")
    for unit in own_store.units(other):
        encode_unit(own_store, other, unit)
    publish(own_store, other)
    url = own_store.folder.url
    for tar in Path(url).rglob(f"*{other.fingerprint}/shards/*.tar"):
        tar.unlink()
    assert cli("verify", url).code == 3
    assert cli("verify", url, "--snapshot", 1).code == 0
    assert cli("verify", url, "--snapshot", 1, "--repair").code == 2
    assert "must be one of the store's (1, 2)" in cli("verify", url, "--snapshot", 3).err


def test_a_corpus_that_moved_is_found_where_it_is(
    cli: Cli, drawn_store: Store, tmp_path: Path
) -> None:
    url = drawn_store.folder.url
    gone = cli("verify", url, "--decode", 2, "--corpus", tmp_path, "--device", "cpu", "--json")
    assert gone.code == 0
    assert gone.json["psnr_db"]["mean"] is None
    assert all("missing" in why for why in gone.json["psnr_db"]["skipped"].values())


def test_another_encoder_is_refused_before_anything_is_compared(
    cli: Cli, drawn_store: Store
) -> None:
    url = drawn_store.folder.url
    done = cli("verify", url, "--decode", 1, "--encoder", "dct:block=4", "--device", "cpu")
    assert done.code == 1
    assert "knobs of the encoder must be" in done.err


def test_a_repair_asks_for_the_very_encoding_that_is_damaged(drawn_store: Store) -> None:
    """Else the repaired units would go to another encoding and the damage would stay."""
    record = drawn_store.snapshot().column("latents").record
    options = DecodingOptions(encoder=None, corpus=None, device="cpu", is_offline=True)
    asked = recorded_options(record, options)
    spec = load_encoder(asked.encoder, EncoderOptions(device="cpu", dtype=asked.dtype)).spec
    identity = encoding_identity(
        spec,
        policy=asked.policy,
        storage_dtype=asked.storage_dtype,
        transform_identity=TRANSFORM.identity(),
        seed=asked.seed,
        batch={},
    )
    assert fingerprint(identity) == record.fingerprint
