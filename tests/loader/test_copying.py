"""Large rows are copied by threads: the same bytes, and errors once all of them are done."""

import pytest
import torch

from latentcache.loader.gather import copying
from latentcache.loader.gather.copying import LARGE_ROW_BYTES, copy_rows, in_threads


@pytest.mark.parametrize("row_bytes", [512, LARGE_ROW_BYTES, LARGE_ROW_BYTES + 512])
def test_rows_of_any_size_are_those_asked_for(
    row_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "num_threads", lambda: 3)
    values = torch.randint(0, 2**40, (4 * row_bytes // 8,))
    rows = torch.as_strided(values, (3 * row_bytes // 512, row_bytes // 8), (64, 1), 0)
    at = torch.tensor([5, 0, len(rows) - 1, 5, 2])
    expected = torch.stack([values[64 * i : 64 * i + row_bytes // 8] for i in (at % len(rows))])
    assert torch.equal(copy_rows(rows, at % len(rows), None), expected)
    out = torch.empty((5, 2, row_bytes // 4), dtype=torch.int16)
    assert copy_rows(rows, at % len(rows), out) is out
    assert torch.equal(out.view(5, -1).view(torch.int64), expected)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_job_is_done_once(count: int) -> None:
    done: list[int] = []
    in_threads(done.append, list(range(count)))
    assert sorted(done) == list(range(count))


def test_an_error_is_raised_when_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "num_threads", lambda: 2)
    ended: list[int] = []

    def job(number: int) -> None:
        if number == 1:
            raise ValueError("one")
        ended.append(number)

    with pytest.raises(ValueError, match="one"):
        in_threads(job, [0, 1, 2, 4])
    assert ended == [0, 2]
