"""If-Match and If-None-Match over revisions (RFC 9110 section 13).

Law: an entity tag is `"<mod_revision>"`, strong, and nothing else is one. For a write
the condition becomes the revision that apply compares, so what can't be said by one
revision is refused, not approximated. Pure: no I/O, no aiohttp.
"""

import re

import msgspec

from ...wire.errors import ErrorCode
from .errors import Problem, invalid

_TAG = re.compile(r'"([1-9][0-9]{0,19})"')
# An element of a list, which may be empty, with its comma. Tags may have commas, too.
_ELEMENT = re.compile(
    r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"[ \t]*)?(?:,|\Z)'
)
_REVISION_MAX = 2**64 - 1

ANY = "*"


class ReadCondition(msgspec.Struct, frozen=True):
    """What a read's headers ask of the current revision; None asks nothing."""

    match: frozenset[str] | None
    none_match: frozenset[str] | None

    def changed(self, mod_revision: int) -> bool:
        """False when the client already has this revision (304)."""
        return not _listed(self.none_match, mod_revision)

    def met(self, mod_revision: int) -> bool:
        """False when If-Match names another revision (412); 0 is an absent key."""
        return self.match is None or _listed(self.match, mod_revision)


def entity_tag(mod_revision: int) -> str:
    """The ETag of a revision."""
    return f'"{mod_revision}"'


def expected_revision(if_match: str | None, if_none_match: str | None) -> int | None:
    """The revision that a write's headers expect: 0 absent, None anything."""
    if if_match is not None and if_none_match is not None:
        raise invalid("a write takes If-Match or If-None-Match, not both")
    if if_none_match is not None:
        if if_none_match != ANY:
            raise invalid("a write takes only * as If-None-Match")
        return 0
    if if_match is None:
        return None
    if if_match == ANY:
        raise Problem(ErrorCode.UNSUPPORTED, "a write takes no * as If-Match")
    tag = _TAG.fullmatch(if_match)
    if tag is None or int(tag[1]) > _REVISION_MAX:
        raise invalid('If-Match has to be one entity tag, like "42"')
    return int(tag[1])


def read_condition(if_match: str | None, if_none_match: str | None) -> ReadCondition:
    """What the headers of a GET or HEAD ask."""
    return ReadCondition(
        _tags("If-Match", if_match, weak=False),
        _tags("If-None-Match", if_none_match, weak=True),
    )


def _tags(name: str, value: str | None, *, weak: bool) -> frozenset[str] | None:
    if value is None:
        return None
    if value == ANY:
        return frozenset((ANY,))
    tags: set[str] = set()
    empty, at = True, 0
    while at < len(value):
        tag = _ELEMENT.match(value, at)
        if tag is None:
            raise invalid(f"{name} is not a list of entity tags")
        at = tag.end()
        if tag[2] is not None:
            empty = False
            if weak or tag[1] is None:
                tags.add(tag[2])
    if empty:
        raise invalid(f"{name} lists no entity tag")
    return frozenset(tags)


def _listed(tags: frozenset[str] | None, mod_revision: int) -> bool:
    if tags is None or mod_revision == 0:
        return False
    return ANY in tags or str(mod_revision) in tags
