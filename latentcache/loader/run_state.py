"""The state of a run, as plain values, and the guard that compares two of them."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.store import Pin

logger = logging.getLogger(__name__)

STATE_FORMAT = 1

_SHAPE: dict[Any, Any] = {
    "order": {},
    "columns": {},
    "posterior": str,
    "normalizer": {"mode": str, "source": str, "axes": str, "ops": [{}]},
    "sources": [{"name": str, "pin": str, "selection": str}],
    "streams": {str: {"bucket": str, "rows": int, "selection": str, "batch": int}},
    "parts": [int],
    "step": int,
    "micro": int,
    "positions": {str: int},
}
"""What a state holds at least: ``{str: ...}`` is any number of names, ``[...]`` of values."""

_MOST = 1 << 62
"""No count in a state reaches it; arithmetic on 64 bits stays right below."""

_RULES = {
    "order": "resume with the seed, partitions and window the run was started with",
    "columns": "train on the encoding the run was started with, or start a new run",
    "indices": "resume with the indices option the run was started with",
    "posterior": "resume with the posterior option the run was started with",
}


_SEALED = "state"

_OLD_NORMALIZER = "normalise"  # as earlier releases wrote it


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state as one text: frameworks that load into a template need a fixed shape."""
    return {_SEALED: json.dumps(state)}


def unsealed(state: Any) -> Any:
    """Return a state that was sealed, or given as it is; checked to be one.

    Raises:
        ConfigError: It is no state, or not a whole one.
    """
    if isinstance(state, Mapping) and set(state) == {_SEALED} and isinstance(state[_SEALED], str):
        try:
            state = json.loads(state[_SEALED])
        except ValueError:
            raise ConfigError(
                "state must be whole, as state_dict() returned it, got a text that was cut short; "
                "resume from another checkpoint"
            ) from None
    if not isinstance(state, Mapping) or "format" not in state:
        names = f" of {', '.join(map(str, state)) or 'nothing'}" if isinstance(state, dict) else ""
        raise ConfigError(
            f"state must be what state_dict() returned, got a {type(state).__name__}{names[:200]}; "
            f"pass batch.state or loader.state_dict()"
        )
    if state.get("format") != STATE_FORMAT:
        raise ConfigError(
            f"state must be of format {STATE_FORMAT}, got {state.get('format')!r}; resume with "
            f"the version that wrote it"
        )
    if _OLD_NORMALIZER in state:
        others = {name: value for name, value in state.items() if name != _OLD_NORMALIZER}
        state = {"normalizer": state[_OLD_NORMALIZER], **others}
    _check_whole(state)
    return state


def check_same(state: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to resume a run that was something else.

    Args:
        state: Of the run.
        ours: Of this loader.

    Raises:
        ConfigError: Something that must agree differs; both sides are shown.
    """
    for name, what_to_do in _RULES.items():
        if state.get(name, {}) != ours.get(name, {}):
            theirs, mine = difference(state.get(name, {}), ours.get(name, {}))
            raise ConfigError(
                f"{name} must be those of the run, got {mine} where the run has {theirs}; "
                f"{what_to_do}"
            )

    check_sources(state["sources"], ours["sources"])


def check_streams(state: Mapping[str, Any], ours: Mapping[str, Any], *, may_grow: bool) -> None:
    """Refuse streams whose rows are not those of the run.

    Args:
        state: Streams of the run.
        ours: Of this loader.
        may_grow: New ones begin, and those that are gone, as their samples were retired or folded
            into another generation, are told and end.

    Raises:
        ConfigError: A stream is gone or new, or has another selection; both are shown.
    """
    gone = [name for name in state if name not in ours]
    if gone and may_grow:
        logger.warning(
            "%s of the run's streams have no live sample any more (e.g. %s): samples that were "
            "folded are drawn from a new stream, which begins now",
            len(gone),
            gone[0],
        )
    for name, theirs in state.items():
        if name in gone and may_grow:
            continue
        if name not in ours:
            raise ConfigError(
                f"streams must be those of the run, got none named {name!r} among "
                f"{', '.join(ours)}; resume on the run's snapshot"
            )
        for fact in ("rows", "selection"):
            if theirs[fact] != ours[name][fact]:
                raise ConfigError(
                    f"{fact} of stream {name} must be {theirs[fact]}, got {ours[name][fact]}; "
                    f"resume on the run's snapshot with the run's filter"
                )
    added = sorted(set(ours) - set(state))
    if added and not may_grow:
        raise ConfigError(
            f"streams must be those of the run, got new ones: {', '.join(added)}; pass "
            f"newest=True to go on with what the store has now"
        )


def _check_whole(state: Mapping[str, Any]) -> None:
    """Refuse a state that was cut short or changed by hand, before anything is taken from it."""
    problem = _misfit(state, _SHAPE, "state")
    if problem is None and (len(state["parts"]) != 2 or state["micro"] >= state["parts"][1]):
        problem = f"micro-batch {state['micro']} of parts {state['parts']}"
    if problem is None and set(state["positions"]) != set(state["streams"]):
        # A stream without a position would begin again, and nobody would notice.
        problem = f"positions of {list(state['positions'])} for streams {list(state['streams'])}"
    if problem is None:
        try:
            for source in state["sources"]:
                Pin.parse(source["pin"])
        except ValueError as error:
            problem = str(error)
    if problem is not None:
        raise ConfigError(
            f"state must be whole, as state_dict() returned it, got {problem}; resume from "
            f"another checkpoint"
        )


def _misfit(value: Any, shape: Any, where: str) -> str | None:
    """Return what about a value is not of a shape, or None."""
    if shape in (int, str):
        return None if _is_plain(value, shape) else f"{value!r} for {where}"
    if not isinstance(value, type(shape)) and not (isinstance(value, tuple) and shape == [int]):
        return f"a {type(value).__name__} for {where}"
    if isinstance(shape, list):
        inside = [(f"{where}[{at}]", one, shape[0]) for at, one in enumerate(value)]
    else:
        absent = [name for name in shape if name is not str and name not in value]
        if absent:
            return f"no {', '.join(absent)} in {where}"
        expected = dict.fromkeys(value, shape[str]) if str in shape else shape
        inside = [(f"{where}.{name}", value[name], one) for name, one in expected.items()]
    found = (_misfit(one, part, place) for place, one, part in inside)
    return next(filter(None, found), None)


def _is_plain(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def check_within_step(state: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on between micro-batches where the rest of the step would be another.

    Raises:
        ConfigError: Ranks, sizes, streams or weights differ, and the step has begun.
    """
    if not state["micro"]:
        return
    if list(state["parts"]) != ours["parts"]:
        raise ConfigError(
            f"ranks and micro-batches must be {tuple(state['parts'])} to go on within a step, "
            f"got {tuple(ours['parts'])}; resume from the state after the last micro-batch of a "
            f"step"
        )
    for name, facts in (("streams", ("batch",)), ("sources", ("weight", "repeats"))):
        theirs, mine = (_facts(one[name], facts) for one in (state, ours))
        if theirs != mine:
            raise ConfigError(
                f"{' and '.join(facts)} of {name} must be {theirs} to go on within a step, got "
                f"{mine}; resume from the state after the last micro-batch of a step"
            )


def _facts(found: Any, names: tuple[str, ...]) -> list[Any]:
    if isinstance(found, Mapping):
        return [(key, *(one[name] for name in names)) for key, one in found.items()]
    return [(one["name"], *(one.get(name) for name in names)) for one in found]


def check_sources(theirs: list[Mapping[str, Any]], ours: list[Mapping[str, Any]]) -> None:
    """Refuse a run of other sources, in name, store or selection.

    Raises:
        ConfigError: They differ; both sides are shown.
    """
    names = ([one["name"] for one in theirs], [one["name"] for one in ours])
    if names[0] != names[1]:
        raise ConfigError(
            f"sources must be those of the run, got {names[1]} where the run has {names[0]}; "
            f"give the same sources in the same order"
        )
    for before, now in zip(theirs, ours, strict=True):
        if _store_of(before) != _store_of(now):
            raise ConfigError(
                f"store of source {now['name']} must be {_store_of(before)}, got "
                f"{_store_of(now)}; open the store that the run was started with"
            )
        if before["selection"] != now["selection"]:
            raise ConfigError(
                f"selection of source {now['name']} must be {before['selection']!r}, got "
                f"{now['selection']!r}; use the run's filter and split"
            )


def stores_of(state: Mapping[str, Any]) -> list[str]:
    """Return the ids of a run's stores."""
    return [_store_of(source) for source in state["sources"]]


def _store_of(source: Mapping[str, Any]) -> str:
    return str(source["pin"]).partition("/")[0]


def difference(theirs: Any, ours: Any) -> tuple[Any, Any]:
    """Return what differs, so that a person need not compare two long lines."""
    if not (isinstance(theirs, Mapping) and isinstance(ours, Mapping)):
        return theirs, ours
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return (
        {name: theirs.get(name) for name in names},
        {name: ours.get(name) for name in names},
    )
