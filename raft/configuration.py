"""Who counts: voters, outgoing voters while joint, learners.

Law: a configuration is a value. It takes effect when it is appended, and is rolled
back with its entry (dissertation 4.3, I-46). Tuples are sorted and without repeats, so
that equal sets are equal values and equal bytes.
"""

from hashlib import blake2b

import msgspec

_FORMAT = 1


class Configuration(msgspec.Struct, frozen=True):
    """`outgoing` is empty unless joint; then both majorities are needed.

    `learners_next` are the learners once a joint configuration is left.
    """

    voters: tuple[int, ...]
    outgoing: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert self.voters, "a configuration has at least one voter"
        assert self.outgoing or not self.learners_next
        for group in (self.voters, self.outgoing, self.learners, self.learners_next):
            assert group == tuple(sorted(set(group))), "sorted, without repeats"
            assert all(member > 0 for member in group), "member ids are positive"
        assert not set(self.learners) & (set(self.voters) | set(self.outgoing))

    @property
    def joint(self) -> bool:
        return bool(self.outgoing)

    def is_voter(self, member: int) -> bool:
        return member in self.voters or member in self.outgoing

    def is_learner(self, member: int) -> bool:
        return member in self.learners

    def all_voters(self) -> tuple[int, ...]:
        if not self.outgoing:
            return self.voters
        return tuple(sorted(set(self.voters) | set(self.outgoing)))

    def members(self) -> tuple[int, ...]:
        """Everyone who gets the log, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners}))


def enter(
    current: Configuration, voters: tuple[int, ...], learners: tuple[int, ...]
) -> Configuration:
    """The next configuration on the way to (`voters`, `learners`).

    Joint when the voters differ; at once otherwise. A voter that becomes a learner
    stays an outgoing voter until the joint configuration is left.
    """
    assert not current.joint, "one change at a time (I-45)"
    target = Configuration(tuple(sorted(voters)), (), tuple(sorted(learners)))
    if target.voters == current.voters:
        return target
    held_back = set(current.voters)
    return Configuration(
        voters=target.voters,
        outgoing=current.voters,
        learners=tuple(m for m in target.learners if m not in held_back),
        learners_next=target.learners,
    )


def leave(joint: Configuration) -> Configuration:
    """The configuration that ends `joint`."""
    assert joint.joint
    return Configuration(joint.voters, (), joint.learners_next)


class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    format: int
    voters: tuple[int, ...]
    outgoing: tuple[int, ...]
    learners: tuple[int, ...]
    learners_next: tuple[int, ...]


def encode_configuration(configuration: Configuration) -> bytes:
    """The data of a CONFIGURATION entry (docs/formats.md section 3)."""
    return msgspec.msgpack.encode(
        _Stored(
            _FORMAT,
            configuration.voters,
            configuration.outgoing,
            configuration.learners,
            configuration.learners_next,
        )
    )


def digest_of(configuration: Configuration) -> int:
    """64 bits by which two nodes find out that they know the same members."""
    data = encode_configuration(configuration)
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def decode_configuration(data: bytes) -> Configuration:
    """ValueError when the bytes are not understood."""
    try:
        stored = msgspec.msgpack.decode(data, type=_Stored)
    except msgspec.MsgspecError as error:
        raise ValueError(f"configuration: {error}") from error
    if stored.format != _FORMAT:
        raise ValueError(f"configuration: unknown format {stored.format}")
    try:
        return Configuration(
            stored.voters, stored.outgoing, stored.learners, stored.learners_next
        )
    except AssertionError as error:
        raise ValueError(f"configuration: {error}") from error
