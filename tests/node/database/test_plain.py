"""Puts that are applied the short way come to what the long way comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.database import Applied, core
from quorate.wire import (
    Grant,
    OpenSession,
    Place,
    encode_delete,
    encode_in_session,
    encode_lease_command,
    encode_put,
    encode_session_command,
)

from .support import BEGIN, command, new_database

SESSION = b"s" * 16
OTHER = b"o" * 16
# The index of the entry that opens a session is what commands in it name.
SINCE = BEGIN + 1

keys = st.sampled_from([b"a", b"b", b"a\0b", b"a\0\xff"])
inner = st.one_of(
    st.builds(encode_put, keys, st.binary(max_size=8)),
    st.builds(encode_put, keys, st.binary(max_size=8), st.integers(0, 9)),
    st.builds(encode_put, keys, st.binary(max_size=8), st.none(), st.sampled_from([7])),
    st.builds(encode_delete, keys),
)
# Numbers come twice, out of order, and after they were finished.
placed = st.integers(1, 12).flatmap(
    lambda sequence: st.builds(
        encode_in_session,
        st.builds(
            Place,
            st.sampled_from([SESSION, OTHER]),
            st.sampled_from([SINCE, SINCE + 1]),
            st.just(sequence),
            st.integers(1, sequence),
        ),
        inner,
    )
)
steps = st.lists(st.lists(inner | placed, min_size=1, max_size=6), max_size=6)


def applied(
    batches: list[list[bytes]], *, watched: bool
) -> tuple[list[Applied], object]:
    database = new_database()
    database.watched = watched
    opening = encode_session_command(OpenSession(SESSION))
    results: list[Applied] = [*database.apply([command(1, opening)])]
    grant = encode_lease_command(Grant(7, 60_000))
    results += database.apply([command(2, grant)])
    index = 2
    for batch in batches:
        entries = [
            command(index + number, payload, time_ms=index * 1000)
            for number, payload in enumerate(batch, start=1)
        ]
        index += len(batch)
        results += database.apply(entries)
    stored = [*database.store.scan()]
    state = stored, database.state_hash(), database.meta(), database.changes
    return results, state


def not_plain(data: bytes) -> None:
    del data


@given(steps, st.booleans())
def test_the_short_way_comes_to_the_same_state_and_the_same_answers(
    batches: list[list[bytes]], watched: bool
) -> None:
    short = applied(batches, watched=watched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "decode_plain_put", not_plain)
        long = applied(batches, watched=watched)
    assert short == long


def test_both_ways_are_taken() -> None:
    """Else the comparison above would say nothing."""
    taken: list[bool] = []
    decode = core.decode_plain_put
    with pytest.MonkeyPatch.context() as patch:

        def noticed(data: bytes) -> object:
            found = decode(data)
            taken.append(found is not None)
            return found

        patch.setattr(core, "decode_plain_put", noticed)
        place = Place(SESSION, SINCE, 1, 1)
        put = encode_put(b"k", b"v")
        batch = [put, encode_in_session(place, put), encode_delete(b"k")]
        results, _ = applied([batch], watched=False)
    assert results == [Applied(0, 1, 0, results[0].reply), Applied(0, 1, 0)] + [
        Applied(0, revision, 1) for revision in (2, 3, 4)
    ]
    assert taken == [False, False, True, True, False]
