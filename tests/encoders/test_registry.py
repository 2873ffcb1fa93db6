"""What a user types finds its encoder, or is refused with the nearest name."""

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import (
    Encoder,
    EncoderFacts,
    EncoderOptions,
    check_encoder_name,
    list_encoders,
    load_encoder,
    registry,
    warm_up,
)
from latentcache.encoders.presets import ALIASES
from latentcache.encoders.text.text_presets import tower_families
from latentcache.testing.fakes import FakeEncoder

CPU = EncoderOptions(device="cpu")


def test_knobs_in_the_text_reach_the_encoder() -> None:
    encoder = load_encoder("dct:keep=6,block=4", CPU)
    assert encoder.spec.knobs == {"block": 4, "keep_luma": 6, "keep_chroma": 6}
    assert encoder.spec.spatial_factor == (4, 4)


def test_knobs_in_the_options_give_way_to_the_text() -> None:
    options = EncoderOptions(device="cpu", knobs={"block": 4, "keep": 2})
    assert load_encoder("dct:block=16", options).spec.knobs["block"] == 16
    assert load_encoder("dct", options).spec.knobs["keep_luma"] == 2


def test_module_and_class_are_imported() -> None:
    encoder = load_encoder("latentcache.testing.fakes:SlowEncoder:seconds=0.5", CPU)
    assert isinstance(encoder, Encoder)
    assert encoder.spec.name == "SlowEncoder"


def test_entry_point_is_found_and_given_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "latentcache.testing.fakes:FakeEncoder", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    encoder = load_encoder("mine:once=never", CPU)
    assert isinstance(encoder, FakeEncoder)
    assert encoder.settings == {"once": "never"}


def test_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "latentcache.nowhere:Encoder", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [entry])
    with pytest.raises(EncoderError, match=r"mine = latentcache\.nowhere:Encoder"):
        load_encoder("mine", CPU)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dctt", "did you mean 'dct'"),
        ("sdx:folder/of/weights", "did you mean 'sdxl'"),
        ("no_such_module:Encoder", "got 'no_such_module'"),
        ("latentcache.testing.fakes:NoSuchEncoder", "has no 'NoSuchEncoder'"),
        ("sdxl", "encoder must be sdxl:FOLDER or sdxl:HUB_ID"),
        ("", "got ''"),
    ],
)
def test_unknown_name_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_encoder(text, CPU)


@pytest.mark.parametrize("facts", list_encoders(), ids=lambda facts: facts.name)
def test_every_listed_encoder_is_one_that_can_be_loaded(facts: EncoderFacts) -> None:
    if not facts.needs_weights:
        assert load_encoder(facts.name, CPU).spec.name == facts.name
        return
    if facts.family:
        family = importlib.import_module(f"latentcache.encoders.families.{facts.family}").FAMILY
        assert set(family.preset_normalizers) <= {one.name for one in list_encoders()}
    warm_up(facts.name)
    with pytest.raises(EncoderError, match="no such folder"):
        load_encoder(f"{facts.name}:/no/such/folder", CPU)


def test_folder_may_have_a_question_mark_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "weights?keep=4"
    folder.mkdir()
    with pytest.raises(EncoderError, match=r"must hold config.json, got .*weights\?keep=4"):
        load_encoder(f"sdxl:{folder}", CPU)


def test_no_two_presets_have_one_name() -> None:
    listed = list_encoders()
    others = {one.name for one in listed if not one.loader}
    with_loader = {one.name for one in listed if one.loader}
    assert set(tower_families()) < with_loader
    assert len(listed) == len(with_loader) + len(others)
    assert not with_loader & (others | set(ALIASES))


@pytest.mark.parametrize(("device", "sentence"), [("gpu", "use auto"), ("cuda:99", "use cpu")])
def test_missing_device_is_refused(device: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_encoder("dct", EncoderOptions(device=device))


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype must be one of"):
        EncoderOptions(dtype="int8")


def test_package_and_spec_load_no_torch() -> None:
    code = (
        "import sys, latentcache.encoders, latentcache.encoders.spec;"
        "import latentcache.encoders.load_options;"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_dct_loads_no_diffusers() -> None:
    code = (
        "import sys; from latentcache.encoders import load_encoder; load_encoder('dct');"
        "sys.exit('diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        "sdxk",
        "sdxk:/some/where",
        "sdxk:weights",
        "no.module:Class",
        "dtc",
        "not a name:Class",
        "sdxl",
    ],
)
def test_a_wrong_name_is_refused_without_loading_anything(text: str) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        check_encoder_name(text)


@pytest.mark.parametrize(
    "text", ["dct", "dct:keep=4", "sana:/x", "latentcache.mine:Class:argument"]
)
def test_a_name_that_may_be_right_passes(text: str) -> None:
    check_encoder_name(text)


MINE = """
from latentcache.testing.fakes import FakeEncoder
class Mine(FakeEncoder):
    def __init__(self, options):
        super().__init__()
        self.options = options
class TwoArguments(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
def broken(options):
    raise TwoArguments(7, "the server said no")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's own in the current folder, which is not on the path."""
    name = f"mine_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MINE)
    (tmp_path / f"lame_{name}.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    yield name
    sys.modules.pop(name, None)


def test_a_module_in_the_current_folder_is_found_and_its_knobs_are_parsed(mine: str) -> None:
    encoder = load_encoder(f"{mine}:Mine:some/weights?layer=11,is_deep=true", CPU)
    assert isinstance(encoder, FakeEncoder)
    assert encoder.options.location == "some/weights"
    assert encoder.options.knobs == {"layer": 11, "is_deep": True}
    bare = load_encoder(f"{mine}:Mine?layer=11", CPU)
    assert isinstance(bare, FakeEncoder)
    assert (bare.options.location, bare.options.knobs) == ("", {"layer": 11})
    check_encoder_name(f"{mine}:Mine?layer=11")


def test_an_error_of_a_users_encoder_is_a_sentence_that_travels(mine: str) -> None:
    with pytest.raises(EncoderError, match="TwoArguments: 7: the server said no") as caught:
        load_encoder(f"{mine}:broken", CPU)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_users_module_that_needs_another_says_which(mine: str) -> None:
    with pytest.raises(EncoderError, match="No module named 'a_package_that_nobody_has'"):
        load_encoder(f"lame_{mine}:Mine", CPU)
