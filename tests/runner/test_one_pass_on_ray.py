"""One pass over the pixels on Ray: the columns are those of this machine's own processes."""

from pathlib import Path

import pytest

from tests.runner.test_one_pass import BOTH, MAX_TAR_BYTES, Heard, run, served

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_columns_of_one_pass_on_ray_are_those_of_runs_of_their_own(
    local_ray: None, marked_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentcache.runner.encode.pinning.MAX_TAR_BYTES", MAX_TAR_BYTES)
    heard = Heard()
    results = run(marked_corpus, tmp_path / "one", BOTH, heard)
    assert [(each.encoded, each.quarantined) for each in results.values()] == [(121, 0), (120, 1)]
    for name, encoder in BOTH.items():
        run(marked_corpus, tmp_path / "two", {name: encoder}, Heard())
    for column in BOTH:
        assert served(tmp_path / "one", column) == served(tmp_path / "two", column)
    pictures = [path for path in marked_corpus.rglob("*") if path.suffix in (".png", ".jpg")]
    assert heard.source_bytes == sum(path.stat().st_size for path in pictures)
