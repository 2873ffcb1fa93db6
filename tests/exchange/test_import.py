"""What another trainer cached is in the store bit for bit, under its names, marked as imported."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError, StoreError
from latentcache.exchange import (
    LAYOUTS,
    ImportRequest,
    import_cache,
    imported_units,
    importing,
    side_by_side,
)
from latentcache.exchange.imported_units import UnitImport
from latentcache.loader import LatentLoader, Source
from latentcache.store import Store, TensorBytes, verify_snapshot
from tests.exchange import foreign_caches as foreign
from tests.exchange.foreign_caches import NUM, STEMS, drawn, pictures
from tests.store.stopping import StoppedError, stopping


def quiet(done: int, total: int) -> None:
    assert done <= total


CLIP, IMAGE = (16, 3, 8, 8), (4, 8, 8)

CASES: dict[str, tuple[Callable[..., None], tuple[int, ...], dict[str, Any]]] = {
    "simpletuner": (foreign.simpletuner, IMAGE, {"encoder": "sdxl", "kind": "sample"}),
    "musubi": (
        foreign.musubi, CLIP, {"encoder": "wan", "values": "scaled", "kind": "mean"},
    ),
    "sd-scripts": (
        foreign.sd_scripts, IMAGE, {"encoder": "sdxl", "values": "raw", "kind": "sample"},
    ),
    "ai-toolkit": (foreign.ai_toolkit, IMAGE, {"encoder": "sdxl"}),
    "onetrainer": (foreign.onetrainer, IMAGE, {"encoder": "sdxl"}),
    "ltx2": (foreign.ltx2, (128, 3, 4, 4), {"encoder": "ltx"}),
    "automodel": (foreign.automodel, (16, 8, 8), {"encoder": "flux", "kind": "sample"}),
    "lightningdit": (foreign.lightningdit, IMAGE, {"encoder": "sd", "kind": "sample"}),
    "edm2": (foreign.edm2, IMAGE, {"encoder": "sd"}),
    "diffusion-pipe": (
        foreign.diffusion_pipe, (16, 8, 8), {"encoder": "flux", "kind": "sample"},
    ),
    "mds": (foreign.mds, IMAGE, {"encoder": "sdxl", "values": "raw", "kind": "mean"}),
    "mlperf-flux": (foreign.mlperf_flux, (16, 8, 8), {"encoder": "flux"}),
    "fastvideo": (foreign.fastvideo, CLIP, {"encoder": "wan"}),
}  # fmt: skip


def stored(store: Store) -> dict[str, np.ndarray]:
    """Return mean, draw or point of each sample by path, in float32."""
    paths = {}
    (generation,) = store.generations()
    for unit in generation.units(rows_per_unit=1 << 20):
        for row in store.read_rows(unit, ["key", "path"]).to_pylist():
            paths[row["key"]] = row["path"]
    found = {}
    for key, _, _, fields in store.snapshot().column("latents").iter_samples():
        value = fields.get("mean", next(iter(fields.values())))
        is_bytes = isinstance(value, TensorBytes)
        found[paths[key]] = value.to_numpy_float32() if is_bytes else np.asarray(value, np.float32)
    return found


def test_every_layout_has_a_case() -> None:
    assert set(CASES) == set(LAYOUTS)


@pytest.mark.parametrize("layout", list(CASES))
def test_imported_latents_are_those_of_the_cache_bit_for_bit(layout: str, tmp_path: Path) -> None:
    write, shape, told = CASES[layout]
    latents = drawn(shape)
    write(tmp_path / "cache", latents)
    corpus = str(pictures(tmp_path / "pictures"))
    request = ImportRequest(layout=layout, corpus=corpus, **told)
    result = import_cache(tmp_path / "cache", tmp_path / "store", request, on_progress=quiet)
    assert result.num_samples == NUM
    assert not result.num_refused
    store = Store.open(tmp_path / "store")
    assert verify_snapshot(store.snapshot()).ok
    wanted = sorted(each.float().numpy().tobytes() for each in latents.values())
    found = stored(store)
    assert sorted(each.tobytes() for each in found.values()) == wanted
    record = store.snapshot().column("latents").record
    assert record.identity["imported"]["layout"] == layout
    assert record.spec["source"] == f"imported:{layout}"
    for path, array in found.items():
        stem = path.rpartition(".")[0] or path
        if stem in latents:
            assert array.tobytes() == latents[stem].float().numpy().tobytes()
    loader = LatentLoader(
        Source(store=store.folder.url), columns=["latents"], global_batch_size=1, seed=0,
        one_pass=True,
    )  # fmt: skip
    assert len(list(loader)) == NUM


def test_names_of_pictures_come_back_where_the_cache_or_the_corpus_tells_them(
    tmp_path: Path,
) -> None:
    named = {"simpletuner", "sd-scripts", "ai-toolkit", "onetrainer", "ltx2", "automodel",
             "diffusion-pipe"}  # fmt: skip
    corpus = str(pictures(tmp_path / "pictures"))
    for layout in sorted(named):
        write, shape, told = CASES[layout]
        write(tmp_path / layout / "cache", drawn(shape))
        request = ImportRequest(layout=layout, corpus=corpus, **told)
        store = tmp_path / layout / "store"
        done = import_cache(tmp_path / layout / "cache", store, request, on_progress=quiet)
        assert set(stored(Store.open(store))) == {f"{stem}.jpg" for stem in STEMS}, layout
        assert done.unnamed == 0


def test_captions_labels_sizes_and_published_figures_are_kept(tmp_path: Path) -> None:
    foreign.edm2(tmp_path / "edm2", drawn())
    request = ImportRequest(layout="edm2", encoder="sd")
    import_cache(tmp_path / "edm2", tmp_path / "a", request, on_progress=quiet)
    view = Store.open(tmp_path / "a").snapshot().column("latents")
    assert [field.name for field in view.record.fields] == ["mean", "logvar"]
    _, _, _, fields = next(view.iter_samples())
    assert np.allclose(np.exp(0.5 * np.asarray(fields["logvar"])), 0.5)
    label = Store.open(tmp_path / "a").snapshot().annotation("label")
    assert label is not None
    assert label.num_values == NUM
    foreign.lightningdit(tmp_path / "lightning", drawn())
    request = ImportRequest(layout="lightningdit", encoder="sd", kind="sample")
    done = import_cache(tmp_path / "lightning", tmp_path / "b", request, on_progress=quiet)
    assert done.left_out == {"flipped latents": NUM}
    view = Store.open(tmp_path / "b").snapshot().column("latents")
    assert view.record.normalizer is not None
    assert [op["op"] for op in view.record.normalizer["ops"]] == ["subtract", "divide"]
    foreign.sd_scripts(tmp_path / "sd", drawn())
    request = ImportRequest(layout="sd-scripts", encoder="sdxl", values="raw", kind="sample")
    import_cache(tmp_path / "sd", tmp_path / "c", request, on_progress=quiet)
    opened = Store.open(tmp_path / "c")
    (generation,) = opened.generations()
    row = opened.read_rows(generation.units(rows_per_unit=99)[0]).to_pylist()[0]
    assert (row["source_width_px"], row["source_height_px"]) == (640, 480)
    assert (row["crop_left_px"], row["crop_top_px"]) == (3, 5)


def test_scaled_values_need_no_normalizer_and_raw_ones_said_scaled_are_refused(
    tmp_path: Path,
) -> None:
    foreign.simpletuner(tmp_path / "scaled", drawn())
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    import_cache(tmp_path / "scaled", tmp_path / "store", request, on_progress=quiet)
    record = Store.open(tmp_path / "store").snapshot().column("latents").record
    assert record.normalizer is not None
    assert record.normalizer["ops"] == []
    raw = {stem: latent * 7 for stem, latent in drawn().items()}
    foreign.simpletuner(tmp_path / "raw", raw)
    with pytest.raises(ConfigError, match=r"standard deviation of 6\.9"):
        import_cache(tmp_path / "raw", tmp_path / "other", request, on_progress=quiet)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"layout": "simpletuna"}, "simpletuner", id="layout"),
        pytest.param({"kind": ""}, "posterior must be given", id="kind"),
        pytest.param({"encoder": "flux"}, "must have 16 channels", id="channels"),
    ],
)
def test_what_the_cache_cannot_tell_must_be_given_and_fit(
    change: dict[str, str], words: str, tmp_path: Path
) -> None:
    foreign.simpletuner(tmp_path / "cache", drawn())
    told = {"layout": "simpletuner", "encoder": "sdxl", "kind": "sample", **change}
    with pytest.raises(ConfigError, match=words):
        import_cache(tmp_path / "cache", tmp_path / "s", ImportRequest(**told), on_progress=quiet)
    assert not (tmp_path / "s").exists()


def test_bad_files_cost_themselves_and_code_is_never_run(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    foreign.simpletuner(cache, drawn())
    foreign.pickled(cache / "evil.pt")
    (cache / "half.pt").write_bytes((next((cache / "cats").iterdir())).read_bytes()[:300])
    torch.save({"no": "latents"}, cache / "empty.pt")
    torch.save(torch.full((4, 8, 8), torch.nan, dtype=torch.float16), cache / "nan.pt")
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    done = import_cache(cache, tmp_path / "store", request, on_progress=quiet)
    assert done.num_refused == {"corrupt": 3}
    assert not (cache / "evil.pt.was_run").exists()
    entry = Store.open(tmp_path / "store").snapshot().column("latents").entry
    assert (entry.num_planned, entry.num_encoded, entry.num_quarantined) == (NUM + 4, NUM, 4)


def test_mixed_shapes_are_buckets_and_mixed_encoders_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    foreign.simpletuner(cache, drawn())
    wide = torch.randn(4, 6, 12, generator=torch.Generator().manual_seed(1)).half()
    torch.save(wide, cache / "wide.pt")
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    import_cache(cache, tmp_path / "store", request, on_progress=quiet)
    runs = Store.open(tmp_path / "store").generations()[0].runs
    assert [(str(run.bucket), run.num_rows) for run in runs] == [("1x48x96", 1), ("1x64x64", NUM)]
    torch.save(torch.randn(16, 8, 8).half(), cache / "flux.pt")
    with pytest.raises(ConfigError, match="must be of one encoder"):
        import_cache(cache, tmp_path / "other", request, on_progress=quiet)


def test_an_import_that_was_killed_goes_on_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign.lightningdit(tmp_path / "cache", drawn())
    request = ImportRequest(layout="lightningdit", encoder="sd", kind="sample")
    whole = import_cache(tmp_path / "cache", tmp_path / "whole", request, on_progress=quiet)
    dest = tmp_path / "store"
    real = Store.open_or_create
    for writes in range(60):
        monkeypatch.setattr(
            Store, "open_or_create", lambda url, n=writes: stopping(real(url), n % 7, lands=True)
        )
        try:
            import_cache(tmp_path / "cache", dest, request, on_progress=quiet)
        except StoppedError:
            continue
        break
    monkeypatch.undo()
    done = import_cache(tmp_path / "cache", dest, request, on_progress=quiet)
    assert done.num_samples == whole.num_samples
    assert stored(Store.open(dest)).keys() == stored(Store.open(tmp_path / "whole")).keys()
    foreign.edm2(tmp_path / "edm2", drawn())
    other = ImportRequest(layout="edm2", encoder="sd")
    with pytest.raises(ConfigError, match="must not be served by something else"):
        import_cache(tmp_path / "edm2", dest, other, on_progress=quiet)


def test_packed_latents_are_of_pixels_twice_as_large(tmp_path: Path) -> None:
    foreign.automodel(tmp_path / "cache", drawn((128, 4, 4), torch.bfloat16))
    request = ImportRequest(layout="automodel", encoder="flux2", kind="mean")
    import_cache(tmp_path / "cache", tmp_path / "store", request, on_progress=quiet)
    store = Store.open(tmp_path / "store")
    (run,) = store.generations()[0].runs
    assert str(run.bucket) == "1x64x64"
    (field,) = store.snapshot().column("latents").record.fields
    assert (field.channels, field.dtype) == (128, "bfloat16")
    foreign.simpletuner(tmp_path / "flux", drawn((16, 8, 8)))
    wrong = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    with pytest.raises(ConfigError, match="must have 4 channels"):
        import_cache(tmp_path / "flux", tmp_path / "other", wrong, on_progress=quiet)


@pytest.mark.parametrize("layout", ["simpletuner", "lightningdit", "sd-scripts"])
def test_processes_side_by_side_write_the_very_same_bytes(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, shape, told = CASES[layout]
    latents = drawn(shape)
    write(tmp_path / "cache", latents)
    torch.save(torch.full(shape, torch.nan).half(), tmp_path / "cache" / "nan.pt")
    (tmp_path / "cache" / "half.pt").write_bytes(b"PK\x03\x04 and no more")
    request = ImportRequest(layout=layout, is_checked=False, **told)
    monkeypatch.setattr(ImportRequest, "rows_per_shard", lambda *_: 2)
    tars = []
    for least, name in ((10**9, "one"), (1, "many")):
        monkeypatch.setattr(importing, "LEAST_ITEMS", least)
        monkeypatch.setattr(imported_units, "LEAST_ITEMS", least)
        monkeypatch.setattr(side_by_side, "num_processes", lambda: 2)
        result = import_cache(tmp_path / "cache", tmp_path / name, request, on_progress=quiet)
        tars.append((result, sorted(p.read_bytes() for p in (tmp_path / name).rglob("*.tar"))))
    assert tars[0] == tars[1]
    assert len(tars[0][1]) >= NUM // 2


def test_a_process_that_is_killed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "num_processes", lambda: 2)
    with pytest.raises(StoreError, match=r"one that was killed.*goes on"):
        list(
            side_by_side.side_by_side(
                lambda number: os.kill(os.getpid(), signal.SIGKILL) if number else number,
                4,
                is_worth_it=True,
            )
        )
    assert list(side_by_side.side_by_side(str, 3, is_worth_it=True)) == ["0", "1", "2"]


def test_moments_of_mlperf_are_kept_as_they_are_and_the_rest_is_counted(tmp_path: Path) -> None:
    foreign.mlperf_flux(tmp_path / "cache", drawn((16, 8, 8)))
    broken = tmp_path / "cache" / "cc12m_preprocessed" / "part_0" / "data-00002-of-00003.arrow"
    broken.write_bytes(b"no arrow")
    request = ImportRequest(layout="mlperf-flux", encoder="flux")
    done = import_cache(tmp_path / "cache", tmp_path / "store", request, on_progress=quiet)
    assert done.left_out == {
        "T5 embeddings": NUM,
        "CLIP embeddings": NUM,
        "embeddings of the empty text (t5_empty.npy)": 1,
    }
    assert done.num_refused == {"corrupt": 1}
    _, _, _, fields = next(
        Store.open(tmp_path / "store").snapshot().column("latents").iter_samples()
    )
    assert (np.asarray(fields["logvar"]) == -2.0).all()


def test_two_files_of_one_picture_cost_the_second(tmp_path: Path) -> None:
    foreign.sd_scripts(tmp_path / "cache", drawn())
    old = tmp_path / "cache" / f"{STEMS[0]}.npz"  # as older releases named it
    np.savez(old, latents=np.zeros((4, 8, 8), np.float32))
    request = ImportRequest(layout="sd-scripts", encoder="sdxl", values="raw", kind="sample")
    done = import_cache(tmp_path / "cache", tmp_path / "store", request, on_progress=quiet)
    assert done.num_samples == NUM
    assert done.num_refused == {"duplicate": 1}
    assert "has the same name" in done.example


@pytest.mark.parametrize("how", ["replaced", "gone", "cut"])
def test_a_file_that_changes_while_it_is_imported_costs_its_sample(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    foreign.simpletuner(cache, drawn())
    victim = next((cache / "cats").iterdir())
    real = UnitImport.run

    def changed(self: UnitImport, on_progress: Any) -> int:
        if how == "replaced":
            torch.save(torch.zeros(4, 8, 12).half(), victim)
        elif how == "gone":
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:200])
        return real(self, on_progress)

    monkeypatch.setattr(UnitImport, "run", changed)
    request = ImportRequest(layout="simpletuner", encoder="sdxl", kind="sample")
    import_cache(cache, tmp_path / "store", request, on_progress=quiet)
    view = Store.open(tmp_path / "store").snapshot().column("latents")
    assert (view.entry.num_encoded, view.entry.num_quarantined) == (NUM - 1, 1)
    assert verify_snapshot(Store.open(tmp_path / "store").snapshot()).ok
