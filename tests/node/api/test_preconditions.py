"""Conditions on revisions."""

import pytest
from quorate.node.api.errors import Problem
from quorate.node.api.preconditions import (
    entity_tag,
    expected_revision,
    read_condition,
)


def test_a_write_expects_the_revision_in_if_match() -> None:
    assert expected_revision(entity_tag(42), None) == 42
    assert expected_revision(entity_tag(2**64 - 1), None) == 2**64 - 1


def test_a_write_with_if_none_match_star_expects_an_absent_key() -> None:
    assert expected_revision(None, "*") == 0


def test_a_write_without_conditions_expects_nothing() -> None:
    assert expected_revision(None, None) is None


@pytest.mark.parametrize(
    "tag",
    [
        *('"0"', '"01"', '"-1"', "42", 'W/"42"', '"42", "43"', '""', '"x"', "", '"42'),
        # Too large for a revision, and digits that are not ASCII.
        *(f'"{2**64}"', '"٤"'),
    ],
)
def test_a_write_takes_only_one_strong_revision(tag: str) -> None:
    with pytest.raises(Problem) as refusal:
        expected_revision(tag, None)
    assert refusal.value.status == 400


def test_a_write_can_not_expect_just_any_revision() -> None:
    with pytest.raises(Problem) as refusal:
        expected_revision("*", None)
    assert refusal.value.status == 501


@pytest.mark.parametrize("tag", ['"42"', "", "**"])
def test_a_write_takes_only_a_star_as_if_none_match(tag: str) -> None:
    with pytest.raises(Problem):
        expected_revision(None, tag)


def test_a_write_takes_one_condition() -> None:
    with pytest.raises(Problem):
        expected_revision('"1"', "*")


@pytest.mark.parametrize(
    "tags",
    [
        *('"7"', 'W/"7"', '"1", "7"', '"x" ,\t W/"7"', "*"),
        # A comma may stand in a tag, and nothing between two (RFC 9110 5.6.1, 8.8.3).
        *('"x,y", "7"', '"7","x,y"', '"1",, "7"', ', ,"7"', '"7",', '"7" , \t,'),
    ],
)
def test_a_read_has_not_changed_when_its_revision_is_listed(tags: str) -> None:
    condition = read_condition(None, tags)
    assert not condition.changed(7)
    assert condition.met(7)


def test_a_read_has_changed_when_its_revision_is_not_listed() -> None:
    assert read_condition(None, '"8", "77", "x"').changed(7)
    assert read_condition(None, None).changed(7)


def test_if_match_of_a_read_compares_strongly() -> None:
    assert read_condition('"7"', None).met(7)
    assert read_condition("*", None).met(7)
    assert not read_condition('W/"7"', None).met(7)
    assert not read_condition('"8"', None).met(7)


def test_an_absent_key_matches_nothing() -> None:
    assert not read_condition("*", None).met(0)
    assert not read_condition('"0"', None).met(0)
    assert read_condition(None, "*").changed(0)


def test_a_comma_within_a_tag_ends_no_tag() -> None:
    assert read_condition(None, '"x,7,y", "7,", ",7"').changed(7)


@pytest.mark.parametrize(
    "tags",
    [
        *("7", '"7" "8"', "", 'w/"7"', ",", " , ", '"7', '7"', '"7"x', 'x, "7"'),
        # It stands alone.
        *('*, "7"', '"7", *', "*, *"),
        # As many characters as a head has room for, which are looked at once each.
        *('"' + "," * 8000, "," * 8000 + "x", " " * 8000 + "x", '"' * 8001),
    ],
)
def test_a_read_with_a_malformed_list_is_refused(tags: str) -> None:
    with pytest.raises(Problem):
        read_condition(None, tags)
