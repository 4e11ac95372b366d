"""Envelopes: whose a message is, and what a client may not get past them."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chromepool.gateway.cdp import message as cdp

S = "0123456789ABCDEF0123456789ABCDEF"
OTHER = "F" * 32
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def dump(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )


# -- on the way out --


@given(JSON, st.integers(), st.booleans())
def test_the_owner_is_found_whatever_is_said(value: Any, number: int, event: bool) -> None:
    head = {"method": "A.b", "params": {"x": value}} if event else {"id": number, "result": value}
    plain = dump(**head)
    addressed = dump(**head, sessionId=S)
    assert cdp.session_of(addressed) == S.encode()
    head_part, tail = cdp.without_session(addressed, S.encode())
    assert bytes(head_part) + tail == plain
    with contextlib.suppress(msgspec.ValidationError):  # a result that is no object
        assert cdp.session_of(plain) is None


def test_text_of_a_page_is_no_address() -> None:
    for text in (
        f',"sessionId":"{OTHER}"' + "}",
        f'","sessionId":"{OTHER}',
        f'\\","sessionId":"{OTHER}',
        f'"}},"sessionId":"{OTHER}"' + "}}}",
    ):
        for fields in (
            {"id": 1, "result": {"value": text}},
            {"id": 1, "result": {"a": {"sessionId": OTHER}}},
            {"method": "X.y", "params": {"sessionId": OTHER}},
            {"method": "X.y", "params": {"a": [{"sessionId": OTHER}], text: text}},
        ):
            assert cdp.session_of(dump(**fields)) is None
            assert cdp.session_of(dump(**fields, sessionId=S)) == S.encode()


def test_ids_of_other_lengths() -> None:
    for session in ("", "A", "short", "x" * 31, "x" * 33, "x" * 100, "é" * 16, 'qu"ote' + "x" * 26):
        message = dump(id=1, result={}, sessionId=session)
        assert cdp.session_of(message) == session.encode()
    for session in ("A", "x" * 31, "x" * 33, "x" * 100):
        head, tail = cdp.without_session(dump(id=1, result={}, sessionId=session), session.encode())
        assert bytes(head) + tail == dump(id=1, result={})


def test_short_messages() -> None:
    for message in (b"", b"{}", b"1", b'"}', b"\0", b'{"id":1}', b'{"id":1,"result":{}}'):
        assert cdp.session_of(message) is None
    assert cdp.session_of(b'{"sessionId":"A"}') == b"A"
    assert cdp.session_of(dump(x=1, sessionId=S)) == S.encode()
    for length in range(49):
        cut = dump(id=1, result={}, sessionId=S)[:length]
        with contextlib.suppress(msgspec.DecodeError):
            assert cdp.session_of(cut) is None


@given(st.binary(max_size=300))
def test_noise_has_no_owner_or_is_an_error(noise: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        cdp.session_of(noise)
        cdp.decode(noise)


def test_without_session_does_not_copy() -> None:
    message = dump(id=1, result={"data": "x" * 1_000_000}, sessionId=S)
    head, _ = cdp.without_session(message, S.encode())
    assert isinstance(head, memoryview)
    assert head.obj is message


def test_what_is_decoded_raises_one_error() -> None:
    for message in (
        b"",
        b"garbage",
        b'{"id":1,"method":"\xff"}',
        b'{"id":1,"result":{"a":"\xff"}}',
        b'{"result":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"result":' + b'{"a":' * 100_000,
        b'{"id":1.5}',
        b'{"id":1,"params":[]}',
        b'{"sessionId":1}',
        b'{"a":NaN}',
    ):
        with pytest.raises(msgspec.DecodeError):
            cdp.decode(message)


def test_half_a_surrogate_pair_from_chrome_is_read() -> None:
    """Chrome writes ``"\\ud800"`` for the half emoji that a page has put into a title, say."""
    message = rb'{"method":"Target.x","params":{"title":"\ud83d!","sessionId":"A"}}'
    assert cdp.decode(message).params == {"title": "\ud83d!", "sessionId": "A"}


# -- on the way in: what has an envelope --


def envelope(message: bytes) -> cdp.Envelope | None:
    try:
        return cdp.read_envelope(message)
    except msgspec.DecodeError:
        return None


def test_envelopes() -> None:
    assert cdp.read_envelope(dump(id=1, method="A.b")).sessionId is msgspec.UNSET
    full = cdp.read_envelope(b' {"params": {"a":[{}]},\n"sessionId":"A","method":"A.b","id":-1} ')
    assert (full.id, full.method, full.sessionId) == (-1, "A.b", "A")
    assert envelope(dump(id=1, method="A.b", params=None)) is not None
    for number in (0, -1, 2**31 - 1, -(2**31)):
        assert cdp.read_envelope(dump(id=number, method="x")).id == number


@given(JSON)
def test_any_params_pass(value: Any) -> None:
    assert cdp.read_envelope(dump(id=1, method="A.b", params={"a": value})).id == 1


def test_half_a_surrogate_pair_passes() -> None:
    """JSON.stringify writes half an emoji so, and Chrome takes it."""
    for text in (rb"\ud800", rb"\udc00 and more text", rb"\ud83d\ude00", rb"\ud83d\u0041 text"):
        message = b'{"id":1,"method":"A.b","params":{"expression":"' + text + b'"}}'
        assert cdp.read_envelope(message).method == "A.b"
    odd = cdp.read_envelope(b'{"id":1,"method":"A.b","sessionId":"\\ud800"}')
    assert odd.sessionId == "\ud800"


def test_the_session_is_the_one_that_chrome_reads() -> None:
    """Escapes are undone. Of two, the last is read; Chrome refuses both (measured)."""
    for key in (b"sessionId", rb"session\u0049d", rb"\u0073essionId"):
        message = b'{"id":1,"method":"A.b","sessionId":"A","' + key + b'":"B"}'
        assert cdp.read_envelope(message).sessionId == "B"
    assert cdp.read_envelope(rb'{"id":1,"method":"A.b","sessionId":"\u0041"}').sessionId == "A"
    assert cdp.read_envelope(rb'{"id":1,"method":"Browser.clos\u0065"}').method == "Browser.close"


BAD_JSON = [
    b"",
    b" ",
    b"{",
    b"}",
    b"hello",
    b"{'id':1}",
    b'{"id":1,"method":"A.b"',
    b'{"id":1,"method":"A.b",}',
    b'{"id":1,"method":"A.b"}}',
    b'{"id":1,"method":"A.b"}{"id":2,"method":"A.b"}',
    b'{"id":1,"method":"A.b"} // }',
    b'{"id":1,"method":"A.b"/**/}',
    b'\xef\xbb\xbf{"id":1,"method":"A.b"}',
    '{"id":1,"method":"A.b"}'.encode("utf-16"),
    b'{"id":01,"method":"A.b"}',
    b'{"id":1,"method":"A\nb"}',
    b'{"id":1,"method":"A.b","params":{"a":NaN}}',
    b'{"id":1,"method":"A.b","params":{"a":Infinity}}',
    b'{"id":1,"method":"A.b","params":{"a":-Infinity}}',
    b'{"id":NaN,"method":"A.b"}',
    b'{"id":1,"method":"A.b","params":{"a":+1}}',
    b'{"id":1,"method":"A.b","params":{"a":.5}}',
    b'{"id":1,"method":"A.b","params":{"a":"\\x41"}}',
    b'{"id":1,"method":"A.b","params":{"a":"\\u00zz"}}',
    b'{"id":1,"method":"A.b","params":{"a":tru}}',
    b'{"id":1,"method":"A.b","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    b'{"id":1,"method":"A.b","params":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"id":1,"method":"A.b","params":' + b'{"a":' * 100_000,
]
NO_NUMBER = [
    b"[]",
    b"1",
    b"null",
    b'"{}"',
    b"[" * 100_000,
    b"{}",
    b'{"method":"A.b"}',
    b'{"id":null,"method":"A.b"}',
    b'{"id":"1","method":"A.b"}',
    b'{"id":true,"method":"A.b"}',
    b'{"id":1.5,"method":"A.b"}',
    b'{"id":1.0,"method":"A.b"}',
    b'{"id":1e2,"method":"A.b"}',
    b'{"id":[1],"method":"A.b"}',
    b'{"id":2147483648,"method":"A.b"}',
    b'{"id":-2147483649,"method":"A.b"}',
    b'{"id":' + b"9" * 30 + b',"method":"A.b"}',
    b'{"id":' + b"9" * 5000 + b',"method":"A.b"}',
]
NO_ENVELOPE = [
    b'{"id":7}',
    b'{"id":7,"method":null}',
    b'{"id":7,"method":1}',
    b'{"id":7,"method":"\xff"}',
    b'{"id":7,"method":["A.b"]}',
    b'{"id":7,"method":"A.b","sessionId":null}',
    b'{"id":7,"method":"A.b","sessionId":1}',
    b'{"id":7,"method":"A.b","sessionId":"A","sessionId":null}',
    b'{"id":7,"method":"A.b","sessionId":["A"]}',
    b'{"id":7,"method":"A.b","params":1}',
    b'{"id":7,"method":"A.b","params":"{}"}',
    b'{"id":7,"method":"A.b","extra":1}',
    b'{"id":7,"method":"A.b","SessionId":"A"}',
    b'{"id":7,"method":"A.b","sessionId\\u0000":"A"}',
    b'{"id":7,"method":"A.b","":{"sessionId":"A"}}',
    b'{"id":7,"method":"A.b","params":{},"error":{}}',
    b'{"id":7,"method":"A.b","params":{"a":"\\ud800"},"extra":1}',
]


def test_what_has_no_envelope_is_refused_as_chrome_would() -> None:
    for messages, code, number in (
        (BAD_JSON, -32700, None),
        (NO_NUMBER, -32600, None),
        (NO_ENVELOPE, -32600, 7),
    ):
        for message in messages:
            assert envelope(message) is None, message[:80]
            answer = json.loads(cdp.refusal(message))
            assert answer["error"]["code"] == code, message[:80]
            assert answer["error"]["message"]
            assert answer.get("id") == number
            assert "sessionId" not in answer


def test_no_nul_is_in_an_envelope() -> None:
    """A NUL ends a message on the pipe: whatever follows it would be a message of its own."""
    whole = dump(id=1, method="A.b", params={"a": [1, "x"], "b": "y"}, sessionId=S)
    for at in range(len(whole) + 1):
        for message in (whole[:at] + b"\0" + whole[at:], whole[:at] + b"\0" + whole):
            assert envelope(message) is None, message
    assert envelope(rb'{"id":1,"method":"A.b","params":{"a":"\u0000"}}') is not None
    assert envelope(rb'{"id":1,"method":"A.b","params":{"\ud800":"' + b'\0"}}') is None


@given(st.data())
def test_a_spoilt_message_is_read_as_python_reads_it_or_refused(data: st.DataObject) -> None:
    """Another parser, and it must not find another session, id or method."""
    message = bytearray(dump(id=12, method="A.b", params={"a": 'x"\\'}, sessionId=S))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message)))
        piece = data.draw(st.sampled_from([b'"', b"\\", b",", b"}", b"\0", b"\xff", b'":"', b"1"]))
        message[at : at + data.draw(st.integers(0, 3))] = piece
    found = envelope(bytes(message))
    if found is None:
        assert json.loads(cdp.refusal(bytes(message)))["error"]["code"] in (-32600, -32700)
        return
    assert b"\0" not in message
    read = json.loads(message.decode(errors="replace"))
    expected = (read["id"], read["method"], read.get("sessionId", msgspec.UNSET))
    assert (found.id, found.method, found.sessionId) == expected


def test_depth_does_not_reach_the_interpreters_stack() -> None:
    for opening in (b"[", b'{"a":'):
        for depth in (500, 1_000, 5_000, 100_000, 3_000_000):
            message = b'{"id":1,"method":"A.b","params":{"a":' + opening * depth
            assert envelope(message) is None
            cdp.refusal(message)
    assert sys.getrecursionlimit() >= 1000


# -- what the daemon writes --


@given(JSON, st.integers(0, 2**31 - 1))
def test_commands_are_one_frame(value: Any, number: int) -> None:
    for session in (None, S):
        framed = cdp.command(number, "A.b", {"x": value}, session)
        assert framed.endswith(b"\0")
        assert framed.count(b"\0") == 1
        read = cdp.read_envelope(framed[:-1])
        assert (read.id, read.method) == (number, "A.b")
        assert read.sessionId == (msgspec.UNSET if session is None else session)
        if session is not None:
            assert cdp.session_of(framed[:-1]) == session.encode()


def test_errors() -> None:
    assert json.loads(cdp.error(-1, "no")) == {"error": {"code": -1, "message": "no"}}
    whole = json.loads(cdp.error(-1, "no", 0))
    assert whole == {"id": 0, "error": {"code": -1, "message": "no"}}
