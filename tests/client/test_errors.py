"""Errors as values: they travel between processes, and are copied."""

import copy
import inspect
import pickle

import pytest
from quorate.client import QuorateError, errors

KINDS = [
    kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, QuorateError) and not name.startswith("_")
]


def made(kind: type[QuorateError]) -> QuorateError:
    parameters = inspect.signature(kind).parameters
    return kind(*["why", 3][: len(parameters)])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_after_a_journey_and_as_a_copy(
    kind: type[QuorateError],
) -> None:
    error = made(kind)
    error.add_note("on its way")
    for other in (
        pickle.loads(pickle.dumps(error)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(other) is kind
        assert str(other) == "why"
        assert vars(other) == vars(error)


def test_those_that_know_a_revision_are_among_them() -> None:
    assert {kind.__name__ for kind in KINDS if hasattr(made(kind), "revision")} == {
        "PreconditionFailed",
        "Compacted",
        "FutureRevision",
    }
