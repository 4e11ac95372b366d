"""Queries are read as their types declare them, and errors say what is wrong with them."""

from __future__ import annotations

import msgspec
import pytest
from multidict import MultiDict

from chromepool.errors import InvalidRequest
from chromepool.gateway.http.requests import read_query
from chromepool.schema import routes
from chromepool.schema.artifacts import ResponsesParams, ScreenshotParams
from chromepool.schema.fields import parameters_of
from chromepool.schema.history import HistoryParams

QUERIES = [route.query for route in routes.CONTROL if route.query is not None]


def test_what_is_not_given_has_its_default_and_what_is_not_known_is_ignored() -> None:
    assert read_query(MultiDict(other="x"), HistoryParams) == HistoryParams()
    assert HistoryParams().limit == 100


def test_the_first_of_several_values_counts_unless_the_parameter_may_be_repeated() -> None:
    found = read_query(MultiDict([("limit", "7"), ("limit", "x")]), HistoryParams)
    assert found.limit == 7
    pairs = [("url", "*.js"), ("status", "404"), ("url", "*.css"), ("type", "Script")]
    assert read_query(MultiDict(pairs), ResponsesParams) == ResponsesParams(
        ["*.js", "*.css"], ["Script"], ["404"]
    )


@pytest.mark.parametrize("text", ["1", "0100", "1000"])
def test_numbers_are_plain_digits(text: str) -> None:
    assert read_query(MultiDict(limit=text), HistoryParams).limit == int(text)


@pytest.mark.parametrize(
    "text", ["", "0", "1001", "+5", "-5", "5.0", "1e2", " 5", "5\n", "\u0663", "9" * 5000, "null"]
)
def test_what_is_no_number_in_bounds_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="a whole number from 1 to 1000") as caught:
        read_query(MultiDict(limit=text), HistoryParams)
    assert caught.value.detail.startswith("The parameter limit=")
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize(
    ("kind", "pair", "said"),
    [
        (HistoryParams, ("since", "2h\n"), "an age such as 90s, 15m, 2h or 7d"),
        (HistoryParams, ("reason", "boredom"), "one of client_closed, crashed"),
        (HistoryParams, ("owner", "null "), "an owner such as uid:1000"),
        (ScreenshotParams, ("format", "bmp"), "one of jpeg, png, webp"),
        (ScreenshotParams, ("target", "\udcff"), "text in UTF-8"),
        (ResponsesParams, ("status", "600"), "a status such as 404 or 5xx"),
        (ResponsesParams, ("url", ""), "a pattern of 1 to 2048 characters"),
    ],
)
def test_an_error_has_the_parameter_what_was_given_and_what_is_taken(
    kind: type[msgspec.Struct], pair: tuple[str, str], said: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_query(MultiDict([pair]), kind)
    assert f"The parameter {pair[0]}={pair[1]!r} is not {said}" in caught.value.detail
    caught.value.detail.encode()


def test_null_is_a_text_like_any_other() -> None:
    assert read_query(MultiDict(owner="null"), HistoryParams).owner == "null"


@pytest.mark.parametrize("kind", QUERIES, ids=lambda kind: kind.__name__)
def test_every_parameter_says_what_it_takes(kind: type[msgspec.Struct]) -> None:
    for parameter in parameters_of(kind):
        assert parameter.description.endswith(".")
        assert parameter.expected
