"""A column moves to another encoder: estimated, encoded, verified, and only then served."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentcache.core.errors import ConfigError, ShardCorruptError
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    Prices,
    Resources,
    SilentReporter,
    caching_cost,
    estimate_swap,
    swap_column,
)
from latentcache.runner.encode import column_run
from latentcache.store import Store, verify_snapshot
from tests.runner.test_update import built, picture

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / "corpus" / f"{number}.png", number)
    built(tmp_path / "corpus", tmp_path / "store")
    return tmp_path / "store"


def asked(encoder: str) -> EncodeRequest:
    options = EncodeOptions(encoder=encoder)
    return EncodeRequest(column="latents", encode=options, resources=Resources())


def test_an_estimate_shows_both_encoders_and_writes_nothing(store: Path) -> None:
    before = sorted(store.rglob("*"))
    found = estimate_swap(str(store), asked("dct:block=4"), reporter=SilentReporter())
    assert found.old is not None
    assert found.old.name == "dct"
    assert found.old.bytes == Store.open(store).snapshot().column("latents").num_bytes
    assert found.new.bytes > 0
    assert found.new.hours is not None
    assert found.new.hours > 0
    assert found.num_samples == 6
    assert sorted(store.rglob("*")) == before


def test_a_swap_serves_the_new_and_names_the_old(store: Path) -> None:
    before = Store.open(store).snapshot().column("latents").record.fingerprint
    done = swap_column(str(store), asked("dct:block=4"), reporter=SilentReporter())
    snapshot = Store.open(store).snapshot()
    assert snapshot.column("latents").record.fingerprint == done.encoded.encoding != before
    assert done.old_encoding == before
    assert done.old_bytes > 0
    assert verify_snapshot(snapshot).ok
    again = swap_column(str(store), asked("dct:block=4"), reporter=SilentReporter())
    assert again.encoded.newly_encoded == 0
    assert again.old_encoding == before
    assert Store.open(store).snapshot().number == snapshot.number


def test_what_differs_from_what_was_written_is_never_served(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Store.open(store).snapshot().pin
    real = column_run.check_written

    def damaging(opened: Store, record: object, reporter: object) -> None:
        tar = max(store.glob("encodings/latents/*/shards/*.tar"), key=lambda p: p.stat().st_mtime)
        data = bytearray(tar.read_bytes())
        data[-2000] ^= 1
        tar.write_bytes(data)
        real(opened, record, reporter)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(column_run, "check_written", damaging)
    with pytest.raises(ShardCorruptError, match="before it is served"):
        swap_column(str(store), asked("dct:block=4"), reporter=SilentReporter())
    assert Store.open(store).snapshot().pin == before


def test_a_swap_stopped_before_it_serves_goes_on(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(column_run, "check_written", killed)
        with pytest.raises(KilledError):
            swap_column(str(store), asked("dct:block=4"), reporter=SilentReporter())
    assert Store.open(store).snapshot().number == 1
    done = swap_column(str(store), asked("dct:block=4"), reporter=SilentReporter())
    assert done.encoded.newly_encoded == 0
    assert done.encoded.snapshot == 2


@pytest.mark.slow
def test_the_job_does_the_whole_move(store: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'store = "{store}"\n[encode]\nencoder = "dct:block=4"\n')
    command = [sys.executable, "jobs/recompute.py", str(recipe)]
    told = subprocess.run(
        [*command, "--estimate"], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["old"]["name"] == "dct"
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["encoded"]["snapshot"] == 2
    assert f"--free {result['old_encoding'][:12]}" in done.stderr


@pytest.mark.parametrize(
    ("prices", "epochs", "saved"),
    [
        pytest.param(None, 2, 18.0, id="storage-is-free"),
        pytest.param(Prices(hour=2.0, tb_month=20.0), 2, 18.0 - 10.0 * 0.1, id="cheap"),
        pytest.param(Prices(hour=1.0, tb_month=100.0, months=10), 52, 18.0 - 100.0, id="dear"),
    ],
)
def test_caching_pays_once_its_epochs_have_paid_for_storage(
    prices: Prices | None, epochs: int, saved: float
) -> None:
    cost = caching_cost(2.0, 10**11, prices)
    assert cost.epochs == epochs
    assert cost.saved_hours(10) == pytest.approx(saved)
    assert cost.saved_hours(cost.epochs) > 0
    assert cost.saved_hours(cost.epochs - 1) <= 0


def test_prices_are_two_or_three_numbers() -> None:
    assert Prices.parse("2.5,23") == Prices(hour=2.5, tb_month=23.0)
    assert Prices.parse("2.5,23,6").months == 6
    for wrong in ("", "2.5", "0,1", "a,b", "1,2,3,4", "-1,2"):
        with pytest.raises(ConfigError, match="prices must be"):
            Prices.parse(wrong)
