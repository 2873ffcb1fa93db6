"""Columns of further media: found however a corpus says, cut as their sample or by themselves."""

import json
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError, StoreError
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    encode_column,
    plan_corpus,
)
from latentcache.store import ColumnView, Snapshot, Store, TensorBytes, open_store, verify_snapshot
from latentcache.testing.drawn import write_drawn_corpus

RESOURCES = Resources(num_actors=1, max_quarantine=1.0)
NUM = 12
MISSING, BROKEN, ASKEW = 0, 1, 2
"""Samples without a control, with one that is no picture, and with one of another aspect."""

Written = dict[str, bytes]
"""Controls by the stem of their picture."""


class Telling(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def drawn(folder: Path) -> tuple[list[Path], Written]:
    """Return pictures of several aspects, and the controls of most of them: their negatives."""
    pictures = sorted(write_drawn_corpus(folder, NUM, seed=3, size_px=64))
    controls: Written = {}
    for index, path in enumerate(pictures):
        with Image.open(path) as image:
            negative = ImageOps.invert(image.convert("RGB"))
        if index == ASKEW:
            negative = negative.resize((negative.width * 2, negative.height))
        data = BytesIO()
        negative.save(data, "PNG")
        controls[path.stem] = data.getvalue()
    controls[pictures[BROKEN].stem] = b"no picture at all"
    del controls[pictures[MISSING].stem]
    return pictures, controls


def beside(home: Path) -> tuple[Path, str]:
    pictures, controls = drawn(home / "corpus")
    for stem, data in controls.items():
        (pictures[0].parent / f"{stem}_control.png").write_bytes(data)
    return home / "corpus", "control"


def own_folder(home: Path) -> tuple[Path, str]:
    _, controls = drawn(home / "corpus")
    (home / "controls").mkdir()
    for stem, data in controls.items():
        (home / "controls" / f"{stem}.png").write_bytes(data)
    return home / "corpus", f"control={home / 'controls'}"


def folder_below(home: Path) -> tuple[Path, str]:
    pictures, controls = drawn(home / "corpus")
    (home / "corpus/edges").mkdir()
    for stem, data in controls.items():
        (home / "corpus/edges" / f"{stem}.png").write_bytes(data)
    assert pictures[0].parent == home / "corpus"
    return home / "corpus", "control=edges"


def manifest(home: Path) -> tuple[Path, str]:
    pictures, controls = drawn(home / "pictures")
    (home / "controls").mkdir()
    lines = []
    for path in pictures:
        record = {"path": f"pictures/{path.name}"}
        if path.stem in controls:
            (home / "controls" / f"{path.stem}.png").write_bytes(controls[path.stem])
            record["edges"] = f"controls/{path.stem}.png"
        lines.append(json.dumps(record))
    (home / "manifest.jsonl").write_text("\n".join(lines))
    return home / "manifest.jsonl", "control=edges"


def cells(home: Path) -> tuple[Path, str]:
    pictures, controls = drawn(home / "pictures")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in pictures]
    edges = [{"bytes": controls.get(path.stem), "path": path.name} for path in pictures]
    table = pa.table({"image": pa.array(images, kind), "edges": pa.array(edges, kind)})
    pq.write_table(table, home / "data.parquet")
    return home / "data.parquet", "control=edges"


def tars(home: Path) -> tuple[Path, str]:
    pictures, controls = drawn(home / "pictures")
    with tarfile.open(home / "a.tar", "w") as tar:
        for path in pictures:
            members = {f"{path.stem}{path.suffix}": path.read_bytes()}
            if path.stem in controls:
                members[f"{path.stem}.control.png"] = controls[path.stem]
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, BytesIO(data))
    return home / "a.tar", "control=control.png"


KINDS = (beside, own_folder, folder_below, manifest, cells, tars)


def request(corpus: Path, roles: tuple[str, ...], **asked: Any) -> PlanRequest:
    options = PlanOptions(resolution_px=64, rows_per_shard=16, min_bucket=4, roles=roles)
    return PlanRequest(corpus_url=str(corpus), options=options, resources=RESOURCES, **asked)


def encode(
    store: Path, column: str, asked: str, reporter: Telling | None = None, **options: Any
) -> EncodeResult:
    return encode_column(
        str(store),
        EncodeRequest(
            column=column,
            encode=EncodeOptions(input=asked, **options),
            resources=RESOURCES,
        ),
        reporter=reporter or SilentReporter(),
    )


def rows_of(view: ColumnView) -> dict[str, torch.Tensor]:
    """Return the latents of a column, by key."""
    return {key: _tensor(fields["z"]) for key, _, _, fields in view.iter_samples()}


def _tensor(value: Any) -> torch.Tensor:
    array = value.to_numpy() if isinstance(value, TensorBytes) else value
    return torch.from_numpy(np.asarray(array, np.float32))


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, EncodeResult]:
    """A store with a column of its samples and one of their controls."""
    home = tmp_path_factory.mktemp("roles")
    make: Callable[[Path], tuple[Path, str]] = request.param
    corpus, role = make(home)
    plan = globals()["request"](corpus, (role,))
    build(
        str(home / "store"),
        plan,
        EncodeRequest(column="latents", encode=EncodeOptions(), resources=RESOURCES),
        reporter=SilentReporter(),
    )
    return home / "store", encode(home / "store", "control", "role:control")


def test_a_role_that_fails_costs_its_own_column_alone(built: tuple[Path, EncodeResult]) -> None:
    store, result = built
    assert (result.encoded, result.quarantined, result.absent, result.missing) == (9, 2, 1, 0)
    snapshot = open_store(str(store)).snapshot()
    assert snapshot.columns["latents"].num_encoded == NUM
    codes = snapshot.columns["control"].quarantine()["code"].to_pylist()
    assert sorted(codes) == ["absent", "not_media", "size_mismatch"]
    assert verify_snapshot(snapshot).ok


def test_a_control_is_cut_as_its_sample_is(built: tuple[Path, EncodeResult]) -> None:
    """A negative is encoded to what the negative of the sample's own pixels is encoded to."""
    store, _ = built
    snapshot = open_store(str(store)).snapshot()
    latents, controls = (rows_of(snapshot.columns[name]) for name in ("latents", "control"))
    assert len(controls) == NUM - 3
    for key, control in controls.items():
        # In [-1, 1] a negative is the picture with another sign, and the transform is linear.
        assert (control + latents[key]).abs().mean() < 0.05 * latents[key].abs().mean()


def test_a_role_s_files_are_no_samples(built: tuple[Path, EncodeResult]) -> None:
    assert open_store(str(built[0])).snapshot().columns["latents"].entry.num_planned == NUM


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A planned store whose controls lie in a folder of their own; nothing is encoded."""
    corpus, role = own_folder(tmp_path)
    plan_corpus(str(tmp_path / "store"), request(corpus, (role,)), reporter=SilentReporter())
    return tmp_path / "store"


def stale_in_status(store: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """Return how many controls ``status`` calls stale, in its lines and in its JSON alike."""
    capsys.readouterr()
    assert run(["status", str(store)]) == 0
    said = capsys.readouterr().out
    assert run(["status", str(store), "--json"]) == 0
    count = int(json.loads(capsys.readouterr().out)["columns"]["control"]["stale"])
    assert ("stale" in said) == (count > 0)
    return count


def test_a_new_control_makes_its_row_stale_and_an_old_one_touched_does_not(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = encode(store, "control", "role:control")
    before = rows_of(open_store(str(store)).snapshot().columns["control"])
    controls = sorted((tmp_path / "controls").iterdir())
    with Image.open(controls[5]) as image:
        ImageOps.invert(image.convert("RGB")).save(controls[5])
    controls[6].touch()
    role = f"control={tmp_path / 'controls'}"
    plan_corpus(
        str(store), request(tmp_path / "corpus", (role,), update=True), reporter=SilentReporter()
    )
    told = Telling()
    assert stale_in_status(store, capsys) == 1
    second = encode(store, "control", "role:control", told)
    assert stale_in_status(store, capsys) == 0
    assert any("1 sample has another control" in text for text in told.said)
    assert (second.encoded, second.quarantined, second.absent) == (
        first.encoded, first.quarantined, first.absent,
    )  # fmt: skip
    after = rows_of(open_store(str(store)).snapshot().columns["control"])
    assert [key for key in before if not torch.equal(before[key], after[key])] == [
        key for key in before if torch.allclose(before[key], -after[key], atol=0.5)
    ]
    again = encode(store, "control", "role:control")
    assert again.newly_encoded == 0


def test_an_update_takes_a_role_in_that_the_plan_did_not_have(tmp_path: Path) -> None:
    corpus, role = own_folder(tmp_path)
    store = tmp_path / "store"
    plan_corpus(str(store), request(corpus, ()), reporter=SilentReporter())
    with pytest.raises(ConfigError, match=r"role must be one of the plan's \(none yet\)"):
        encode(store, "control", "role:control")
    with pytest.raises(StoreError, match="plan options must be those"):
        plan_corpus(str(store), request(corpus, (role,)), reporter=SilentReporter())
    plan_corpus(str(store), request(corpus, (role,), update=True), reporter=SilentReporter())
    assert encode(store, "control", "role:control").encoded == NUM - 3


def test_references_have_a_shape_of_their_own(store: Path, tmp_path: Path) -> None:
    """The one of another aspect is encoded too, in a bucket of its own."""
    result = encode(store, "control", "role:control", role_geometry="own", role_resolution=96)
    assert (result.encoded, result.quarantined, result.absent) == (NUM - 2, 1, 1)
    snapshot = open_store(str(store)).snapshot()
    shapes = {tuple(z.shape[1:]) for z in rows_of(snapshot.columns["control"]).values()}
    assert len(shapes) > 1
    assert max(height * width for height, width in shapes) == 12 * 12
    assert verify_snapshot(snapshot).ok


def test_a_unit_s_bytes_do_not_depend_on_an_interruption(store: Path, tmp_path: Path) -> None:
    """Rows of several shapes are written in the order of rows, whoever encodes them."""
    shutil.copytree(store, tmp_path / "other")
    for place, actors in ((store, 1), (tmp_path / "other", 2)):
        encode_column(
            str(place),
            EncodeRequest(
                column="control",
                encode=EncodeOptions(
                    input="role:control", role_geometry="own", role_resolution=96, batch_size=2
                ),
                resources=Resources(num_actors=actors, max_quarantine=1.0),
            ),
            reporter=SilentReporter(),
        )
    one, other = (open_store(str(each)).snapshot() for each in (store, tmp_path / "other"))
    assert _checksums(one) == _checksums(other)


def _checksums(snapshot: Snapshot) -> list[tuple[str, str]]:
    units = snapshot.columns["control"].units()
    return [(each.tar.sha256 if each.tar else "", each.meta.sha256) for each in units]


def test_absent_rows_count_unless_they_are_allowed(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["encode", str(store), "--column", "control", "--input", "role:control", "--actors=1"]
    assert run([*asked, "--max-quarantine", "0.2"]) == 3
    assert "--absent allow" in capsys.readouterr().err
    assert run([*asked, "--max-quarantine", "0.2", "--absent", "allow"]) == 0
    capsys.readouterr()
    assert run(["status", str(store), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["columns"]["control"]
    assert (told["encoded"], told["quarantined"], told["absent"]) == (9, 2, 1)
    assert run(["status", str(store)]) == 0
    assert "absent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        pytest.param(("control", "control=x"), "roles must have different names", id="two-of-one"),
        pytest.param(("Control",), "role must be small letters", id="name"),
        pytest.param(("reference.40",), "N from 0 to 15", id="forty"),
    ],
)
def test_roles_that_cannot_be_are_refused_in_a_sentence(
    roles: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PlanOptions(roles=roles)


def test_a_role_whose_folder_is_empty_is_refused_before_any_work(tmp_path: Path) -> None:
    write_drawn_corpus(tmp_path / "corpus", 2, size_px=64)
    with pytest.raises(ConfigError, match="role mask must be a folder"):
        plan_corpus(
            str(tmp_path / "store"),
            request(tmp_path / "corpus", (f"mask={tmp_path / 'nowhere'}",)),
            reporter=SilentReporter(),
        )


def test_a_role_that_no_sample_has_is_told(tmp_path: Path) -> None:
    write_drawn_corpus(tmp_path / "corpus", 2, size_px=64)
    told = Telling()
    asked = request(tmp_path / "corpus", ("control=*_ctl", "reference=*_ref"))
    result = plan_corpus(str(tmp_path / "store"), asked, reporter=told)
    (found,) = [each for each in result.generation.totals["findings"] if "role" in each["kind"]]
    assert (found["kind"], found["count"], found["examples"]) == (
        "role_absent", 2, ["control", "reference"],
    )  # fmt: skip
    other = request(tmp_path / "corpus", ("control=*_other",), update=True)
    plan_corpus(str(tmp_path / "store"), other, reporter=told)
    assert [text.partition(";")[0] for text in told.said if text.startswith("role ")] == [
        "role control: no sample has a medium of it",
        "role reference: no sample has a medium of it",
    ]  # fmt: skip


def test_a_role_that_only_new_samples_lack_is_not_told(tmp_path: Path) -> None:
    corpus, role = beside(tmp_path)
    plan_corpus(str(tmp_path / "store"), request(corpus, (role,)), reporter=SilentReporter())
    write_drawn_corpus(tmp_path / "new", 1, seed=9, size_px=64)[0].rename(corpus / "new.png")
    told = Telling()
    result = plan_corpus(
        str(tmp_path / "store"), request(corpus, (role,), update=True), reporter=told
    )
    assert result.generation.num_rows == 1
    assert not any(each["kind"] == "role_absent" for each in result.generation.totals["findings"])
    assert not any(text.startswith("role ") for text in told.said)


def test_a_role_that_is_no_column_is_refused_with_those_that_are(tmp_path: Path) -> None:
    corpus, _ = manifest(tmp_path)
    with pytest.raises(ConfigError, match=r"must be one of the columns .*path, got 'edge'"):
        plan_corpus(
            str(tmp_path / "store"), request(corpus, ("control=edge",)), reporter=SilentReporter()
        )


def test_forty_references_in_a_row_leave_sixteen_and_say_so(tmp_path: Path) -> None:
    pictures, _ = drawn(tmp_path / "pictures")
    lines = [
        json.dumps({"path": f"pictures/{path.name}", "refs": [f"pictures/{path.name}"] * 40})
        for path in pictures
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    result = plan_corpus(
        str(tmp_path / "store"),
        request(tmp_path / "manifest.jsonl", ("reference=refs",)),
        reporter=SilentReporter(),
    )
    names = [name for name in Store.open(tmp_path / "store").annotation_names() if "role" in name]
    assert len(names) == 16
    (found,) = [
        each for each in result.generation.totals["findings"] if each["kind"] == "further_of_role"
    ]
    assert found["count"] == 24 * NUM


def test_missing_files_of_a_manifest_cost_their_rows_of_that_column(tmp_path: Path) -> None:
    pictures, _ = drawn(tmp_path / "pictures")
    lines = [
        json.dumps({"path": f"pictures/{path.name}", "edges": f"pictures/{path.name}"})
        for path in pictures
    ]
    lines[4] = json.dumps({"path": f"pictures/{pictures[4].name}", "edges": "nowhere/at/all.png"})
    lines[5] = json.dumps({"path": f"pictures/{pictures[5].name}", "edges": "s3:///"})
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    plan_corpus(
        str(tmp_path / "store"),
        request(tmp_path / "manifest.jsonl", ("control=edges",)),
        reporter=SilentReporter(),
    )
    result = encode(tmp_path / "store", "control", "role:control")
    assert (result.encoded, result.quarantined, result.absent) == (NUM - 2, 2, 0)
    view = open_store(str(tmp_path / "store")).snapshot().columns["control"]
    assert set(view.quarantine()["code"].to_pylist()) == {"unreadable"}


def test_another_encoder_of_a_role_keeps_its_input_and_repair_its_geometry(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--column", "control", "--max-quarantine", "1", "--actors", "1"]
    own = ["--input", "role:control", "--role-geometry", "own", "--role-resolution", "96"]
    assert run(["encode", str(store), *asked, *own]) == 0
    (entry, *_) = open_store(str(store)).snapshot().columns["control"].units()
    assert entry.tar is not None
    tar = store / entry.tar.name
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-4096])
    assert run(["verify", str(store), "--repair", "--device", "cpu"]) in (0, 3)
    (entry, *_) = open_store(str(store)).snapshot().columns["control"].units()
    assert entry.tar is not None
    assert (store / entry.tar.name).read_bytes() == whole
    capsys.readouterr()
    assert run(["encode", str(store), *asked, "--encoder", "dct:keep=4", "--replace"]) == 0
    assert "keeping role:control" in capsys.readouterr().err
    transform = open_store(str(store)).snapshot().columns["control"].record.transform
    assert transform["role"] == {"version": 1, "geometry": "own", "resolution_px": 96}


@pytest.mark.ray
@pytest.mark.slow
def test_a_role_is_the_same_on_ray(store: Path, tmp_path: Path, local_ray: None) -> None:
    shutil.copytree(store, tmp_path / "other")
    for place, without_ray in ((store, 2000), (tmp_path / "other", 0)):
        encode_column(
            str(place),
            EncodeRequest(
                column="control",
                encode=EncodeOptions(
                    input="role:control", role_geometry="own", role_resolution=96, batch_size=2
                ),
                resources=Resources(
                    num_actors=1,
                    max_quarantine=1.0,
                    without_ray=without_ray,
                    address="auto" if not without_ray else "local",
                ),
            ),
            reporter=SilentReporter(),
        )
    one, other = (open_store(str(each)).snapshot() for each in (store, tmp_path / "other"))
    assert _checksums(one) == _checksums(other)
