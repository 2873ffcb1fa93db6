from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from latentcache.plan.known_files import Facts, KnownFiles

FILES = st.dictionaries(
    st.text(min_size=1, max_size=3), st.tuples(st.integers(-1, 3), st.sampled_from(["", "1", "2"]))
)


@given(FILES, FILES)
def test_what_came_went_or_differs_is_what_two_mappings_say(
    planned: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]
) -> None:
    def read() -> Iterator[Facts]:
        return ((path, size, version) for path, (size, version) in planned.items())

    known = KnownFiles(read)
    for path, (size, version) in now.items():
        known.see((path, size, version), "file")
    gone = set(planned) - set(now)
    told = {path for path, (size, version) in planned.items() if size >= 0 and version}
    told &= {path for path, (size, version) in now.items() if size >= 0 and version}
    assert known.added("file").count == len(set(now) - set(planned))
    assert known.gone().count == len(gone)
    assert known.gone().example in (gone or {""})
    assert known.differing("file").count == sum(planned[path] != now[path] for path in told)
