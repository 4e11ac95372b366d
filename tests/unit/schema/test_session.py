"""The limits in the API are those of the table, within the bounds of the table."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from chromepool.model import Limits
from chromepool.schema.session import REQUESTABLE, LimitsRequest, LimitsView

FIELDS = {field.name: field for field in dataclasses.fields(Limits)}


def asked(**values: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(values), type=LimitsRequest)


def test_every_limit_can_be_asked_for_but_the_largest_file() -> None:
    assert set(FIELDS) - set(REQUESTABLE) == {"file_bytes"}
    assert LimitsRequest.__struct_fields__ == REQUESTABLE
    assert LimitsView.__struct_fields__ == (*REQUESTABLE, "enforced")
    with pytest.raises(msgspec.ValidationError, match="unknown field `file_bytes`"):
        asked(file_bytes=1)


@pytest.mark.parametrize("name", REQUESTABLE)
def test_a_request_keeps_to_the_bounds_of_the_setting(name: str) -> None:
    low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
    least = low or 0.001  # where 0 is no cap, only the operator can set it
    for value in (least, high, None):
        assert getattr(asked(**{name: value}), name) == value
    for value in (low - 1 if low else 0, high + 1):
        with pytest.raises(msgspec.ValidationError, match=name):
            asked(**{name: value})


def test_what_is_not_asked_for_is_not_sent() -> None:
    assert msgspec.json.encode(asked(pids=100)) == b'{"pids":100}'
    assert msgspec.json.encode(asked()) == b"{}"
