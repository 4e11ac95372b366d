"""The mux between clients and a small fake Chrome that keeps the protocol."""

from __future__ import annotations

import collections
import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chromepool.gateway.cdp import message as cdp
from chromepool.gateway.cdp.mux import Mux
from testing.fake_chrome import FakeChrome


class Client:
    """A port that keeps what it gets."""

    def __init__(self, name: str = "client") -> None:
        self.name = name
        self.got: list[dict[str, Any]] = []
        self.ends = 0
        self.closes = 0

    def deliver(self, head: bytes | memoryview, tail: bytes = b"") -> None:
        self.got.append(json.loads(bytes(head) + tail))

    def detached(self) -> None:
        self.ends += 1

    def asks_to_close(self) -> None:
        self.closes += 1

    def take(self) -> list[dict[str, Any]]:
        got, self.got = self.got, []
        return got


class World:
    """A mux, a Chrome, and what Chrome has said but the mux not yet heard."""

    def __init__(self) -> None:
        self.chrome = FakeChrome()
        self.said: collections.deque[bytes] = collections.deque()
        self.present: set[Client] = set()
        self.answers: list[cdp.Incoming] = []
        self.events: list[cdp.Incoming] = []
        self.mux = Mux(self.events.append)
        self.empty = self.size

    @property
    def size(self) -> int:
        """Entries in all the mux's tables together."""
        tables = [value for value in vars(self.mux).values() if isinstance(value, dict)]
        assert tables
        return sum(len(table) for table in tables)

    def write(self, data: bytes | None) -> None:
        """To Chrome: whole frames, one, or at the end of a client some more."""
        if data is not None:
            assert data.endswith(b"\0")
            for frame in data[:-1].split(b"\0"):
                self.said.extend(self.chrome.take(frame))

    def hear(self, count: int | None = None) -> None:
        """The mux hears what Chrome has said."""
        while self.said and (count is None or count > 0):
            self.mux.from_chrome(self.said.popleft())
            count = None if count is None else count - 1

    def call(self, method: str, **params: Any) -> None:
        self.write(self.mux.command(method, params, self.answers.append))

    def attach(self, client: Client, target: str | None = None) -> None:
        """As ``Browser`` does it: a client that went away meanwhile is detached at once."""
        self.present.add(client)

        def on_answer(incoming: cdp.Incoming) -> None:
            self.answers.append(incoming)
            if client not in self.present:
                self.write(self.mux.detach(client))

        self.write(self.mux.attach(client, target, on_answer))

    def leave(self, client: Client) -> None:
        self.present.discard(client)
        self.write(self.mux.detach(client))

    def send(self, client: Client, message: bytes | None = None, /, **fields: Any) -> None:
        data = json.dumps(fields).encode() if message is None else message
        self.write(self.mux.from_client(client, data))

    def join(self, name: str = "client", target: str | None = None) -> Client:
        client = Client(name)
        self.attach(client, target)
        self.hear()
        return client

    def child(self, client: Client, parent: str | None = None) -> str:
        """A session attached by the client, below its root or below another of its own."""
        fields: dict[str, Any] = {"id": 1, "method": "Target.attachToTarget", "params": {}}
        self.send(client, **fields, **({} if parent is None else {"sessionId": parent}))
        self.hear()
        session = client.take()[-1]["result"]["sessionId"]
        assert isinstance(session, str)
        return session


@pytest.fixture
def world() -> World:
    return World()


def root_of(world: World, client: Client) -> str:
    (root,) = {s for s in world.mux.sessions_of(client) if world.chrome.parents[s.decode()] is None}
    return root.decode()


# -- routing --


def test_each_gets_its_own_answer(world: World) -> None:
    clients = [world.join(str(number)) for number in range(5)]
    for client in clients:
        world.send(client, id=7, method=f"Who.{client.name}")
    world.hear()
    for client in clients:
        (answer,) = client.take()
        assert answer["id"] == 7
        assert answer["result"]["echo"] == f"Who.{client.name}"
        assert "sessionId" not in answer
    assert list(world.mux._roots) == clients


def test_children_keep_their_session(world: World) -> None:
    client, other = world.join(), world.join()
    child = world.child(client)
    grandchild = world.child(client, child)
    for session in (child, grandchild):
        world.send(client, id=1, method="A.b", sessionId=session)
        world.hear()
        (answer,) = client.take()
        assert answer["sessionId"] == session
        assert answer["result"]["of"] == session
        world.mux.from_chrome(world.chrome.event("A.event", {}, session))
        assert client.take() == [{"method": "A.event", "params": {}, "sessionId": session}]
    assert other.got == []


def test_a_client_may_name_its_root(world: World) -> None:
    """It learns the id from Chrome's answers only if it asks for it, but then it is its own."""
    client = world.join()
    world.send(client, id=1, method="A.b", sessionId=root_of(world, client))
    world.hear()
    assert client.take()[0]["result"]["echo"] == "A.b"


def test_foreign_sessions_are_not_found(world: World) -> None:
    client, other = world.join(), world.join()
    foreign = [root_of(world, other), world.child(other), "", "none", "\ud800", "é", "0" * 32]
    seen = len(world.chrome.seen)
    for session in foreign:
        world.send(client, id=9, method="Browser.close", sessionId=session)
        (answer,) = client.take()
        assert answer["id"] == 9
        assert answer["error"]["code"] == -32001
    assert len(world.chrome.seen) == seen
    assert client.closes == other.closes == 0


def test_two_sessions_in_a_message_get_nobody_anywhere(world: World) -> None:
    """Chrome refuses it, but first the mux must not have let through what it took for another's."""
    client, other = world.join(), world.join()
    mine, theirs = world.child(client), world.child(other)
    key = rb"session\u0049d"
    for first, second in ((mine, theirs), (theirs, mine)):
        for name in (b"sessionId", key):
            pair = b'"sessionId":"' + first.encode() + b'","' + name + b'":"' + second.encode()
            world.send(client, b'{"id":1,"method":"A.b",' + pair + b'"}')
            world.hear()
    assert other.got == []
    assert [s for _, method, s in world.chrome.seen if method == "A.b"] == []


def test_nothing_is_smuggled_behind_a_nul(world: World) -> None:
    client, other = world.join(), world.join()
    second = json.dumps({"id": 2, "method": "A.b", "sessionId": root_of(world, other)}).encode()
    first = b'{"id":1,"method":"A.b"}'
    for message in (
        first + b"\0" + second,
        b"\0" + second,
        b'{"id":1,"method":"A.b","params":{"x":"\0' + second[1:-1] + b'"}}',
        b'{"id":1,"method":"A.b"\0' + second[:-1] + b"}}",
    ):
        world.send(client, message)
        (answer,) = client.take()
        assert answer["error"]["code"] == -32700
    assert [entry for entry in world.chrome.seen if entry[1] == "A.b"] == []


def test_whatever_a_client_sends_it_hears_of(world: World) -> None:
    """A message that Chrome would refuse without a sessionId is one that nobody is told of."""
    client = world.join()
    for message in (
        b'{"id":5,"method":"A.b","extra":1}',
        b'{"id":5,"method":"A.b","sessionId":null}',
        b'{"id":5,"method":"A.b","params":5}',
        b'{"id":5}',
        b'{"id":5,"method":"A.b","params":{"x":"\\ud800 half"}}',
        b'\n {"id":5,"method":"A.b","params":null} \n',
    ):
        world.send(client, message)
        world.hear()
        (answer,) = client.take()
        assert answer["id"] == 5


def test_trailing_whitespace_and_braces_in_text(world: World) -> None:
    client = world.join()
    for message in (
        b'{"id":1,"method":"A.b","params":{"x":"}"}} ',
        b'{"id":1,"method":"A.b","params":{"x":"},{"}}\r\n\t',
        b'{"params":{},"method":"A.b","id":1\n}',
    ):
        world.send(client, message)
        world.hear()
        assert client.take()[0]["result"]["echo"] == "A.b"


def test_browser_close_is_noticed(world: World) -> None:
    client = world.join()
    child = world.child(client)
    world.send(client, id=1, method="Browser.close")
    world.send(client, id=2, method="Browser.close", sessionId=child)
    world.send(client, rb'{"id":3,"method":"Browser.clos\u0065"}')
    assert client.closes == 3
    for other in ("browser.close", "Browser.close ", "Page.close", "Browser.closes"):
        world.send(client, id=4, method=other)
    assert client.closes == 3
    assert [n for n, method, _ in world.chrome.seen if method == "Browser.close"] == [1, 2, 3]


# -- the daemon's own commands --


def test_own_answers_and_clients_answers_do_not_mix(world: World) -> None:
    client = world.join()
    world.answers.clear()
    world.call("Own.method")
    number = world.chrome.seen[-1][0]
    world.send(client, id=number, method="Client.method")
    world.said.reverse()
    world.hear()
    assert [answer.result["echo"] for answer in world.answers] == ["Own.method"]
    assert [answer["result"]["echo"] for answer in client.take()] == ["Client.method"]


def test_no_client_answers_for_chrome(world: World) -> None:
    """Chrome's answers without a sessionId bear the id that the client chose."""
    client = world.join()
    child = world.child(client)
    world.answers.clear()
    world.call("Own.method")
    number, held = world.chrome.seen[-1][0], world.said.pop()
    world.chrome.detach(child)  # it ends; the mux has not heard of it yet
    world.send(client, id=number, method="A.b", sessionId=child)
    for pair in (b'"method":"A.b","method":"A.c"', b'"method":"A.b","id":1'):
        world.send(client, b'{"id":' + str(number).encode() + b"," + pair + b"}")
    world.hear()
    assert world.answers == []
    world.mux.from_chrome(held)
    assert [answer.result["echo"] for answer in world.answers] == ["Own.method"]


def test_no_client_that_is_gone_answers_for_chrome(world: World) -> None:
    gone = world.join()
    world.answers.clear()
    world.call("Own.method")
    number, held = world.chrome.seen[-1][0], world.said.pop()
    world.send(gone, id=number, method="Forged.result")
    late = world.said.pop()
    world.leave(gone)
    world.mux.from_chrome(late)
    assert world.answers == []
    world.mux.from_chrome(held)
    assert [answer.result["echo"] for answer in world.answers] == ["Own.method"]


def test_a_session_of_the_daemons_own(world: World) -> None:
    world.call("Target.attachToBrowserTarget")
    world.hear()
    session = world.answers.pop().result["sessionId"]
    world.write(world.mux.command("Own.method", {}, world.answers.append, session))
    world.hear()
    assert world.answers.pop().result == {"echo": "Own.method", "of": session}
    assert world.size == world.empty


def test_events_of_the_pipes_root_are_the_daemons(world: World) -> None:
    client = world.join()
    world.events.clear()
    world.mux.from_chrome(world.chrome.event("Target.targetCrashed", {"x": 1}, None))
    assert [event.method for event in world.events] == ["Target.targetCrashed"]
    assert client.got == []


def test_an_answer_nobody_waits_for(world: World) -> None:
    for message in (b'{"id":1,"result":{}}', b'{"error":{"code":-32700,"message":"x"}}', b"{}"):
        world.mux.from_chrome(message)
    assert world.size == world.empty


# -- coming and going --


def test_an_attach_that_fails(world: World) -> None:
    client = world.join(target="none")
    assert world.answers[-1].error is not None
    assert list(world.mux._roots) == []
    world.send(client, id=1, method="A.b")
    assert client.take()[0]["error"]["code"] == -32001
    assert world.mux.detach(client) is None


def test_before_and_after_its_root_a_client_has_no_session(world: World) -> None:
    client = Client()
    world.send(client, id=1, method="A.b")
    world.attach(client)
    world.send(client, id=2, method="A.b")
    world.hear()
    world.leave(client)
    world.send(client, id=3, method="A.b")
    assert [(a["id"], a["error"]["code"]) for a in client.take()] == [
        (1, -32001),
        (2, -32001),
        (3, -32001),
    ]
    assert "A.b" not in [method for _, method, _ in world.chrome.seen]


def test_a_client_that_left_before_it_was_attached(world: World) -> None:
    client = Client()
    world.attach(client)
    world.leave(client)
    world.hear()
    world.hear()
    assert world.chrome.parents == {}
    assert world.size == world.empty
    assert client.got == []
    assert client.ends == 0


def test_leaving_twice(world: World) -> None:
    client = world.join()
    assert world.mux.detach(client) is not None
    assert world.mux.detach(client) is None


def test_a_page_that_closes_ends_its_client(world: World) -> None:
    client, other = world.join(target="page"), world.join(target="page")
    child = world.child(client)
    world.mux.from_chrome(world.chrome.detach(root_of(world, client)))
    assert client.ends == 1
    assert other.ends == 0
    assert list(world.mux._roots) == [other]
    assert world.mux.sessions_of(client) == set()
    for session in (None, child):
        world.send(
            client, id=1, method="A.b", **({} if session is None else {"sessionId": session})
        )
        assert client.take()[0]["error"]["code"] == -32001
    assert world.mux.detach(client) is None


def test_detached_children_are_forgotten_with_all_below(world: World) -> None:
    client = world.join()
    child = world.child(client)
    grandchild = world.child(client, child)
    size = world.size
    world.send(client, id=1, method="Target.detachFromTarget", params={"sessionId": child})
    world.hear()
    event, answer = client.take()
    assert event == {"method": "Target.detachedFromTarget", "params": {"sessionId": child}}
    assert answer["result"] == {}
    assert world.mux.sessions_of(client) == {root_of(world, client).encode()}
    assert world.size < size
    for session in (child, grandchild):
        world.send(client, id=2, method="A.b", sessionId=session)
        assert client.take()[0]["error"]["code"] == -32001
    assert client.ends == 0


def test_late_words_of_a_session_that_is_gone(world: World) -> None:
    client, other = world.join(), world.join()
    child = world.child(client)
    late = [world.chrome.event("A.late", {}, s) for s in (child, root_of(world, client))]
    world.leave(client)
    for message in late:
        world.mux.from_chrome(message)
    world.hear()
    assert client.got == other.got == []
    assert client.ends == 0  # it left by itself


def test_detaching_anothers_session_does_not_touch_the_table(world: World) -> None:
    client, other = world.join(), world.join()
    theirs = root_of(world, other)
    world.send(client, id=1, method="Target.detachFromTarget", params={"sessionId": theirs})
    world.hear()
    assert client.take()[0]["error"]["code"] == -32602
    assert list(world.mux._roots) == [client, other]


def test_no_growth_over_many_clients(world: World) -> None:
    for _ in range(200):
        client = world.join()
        child = world.child(client)
        world.child(client, child)
        world.leave(client)
        world.hear()
    assert world.size == world.empty
    assert world.chrome.parents == {}


def test_wide_and_deep_trees_are_dropped(world: World) -> None:
    client = world.join()
    parent = None
    for _ in range(100):
        parent = world.child(client, parent)
        world.child(client, parent)
    world.leave(client)
    world.hear()
    assert world.size == world.empty


# -- any order of all of it --

INDEX = st.integers(0, 50)


class Crowd(RuleBasedStateMachine):
    """Clients come, talk, attach, detach and go; Chrome is heard late; sessions end by themselves.

    What Chrome said to a session must reach only the client that attached it.
    """

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.clients: list[Client] = []
        self.numbers = iter(range(1, 1 << 20))
        self.owner: dict[str, Client] = {}

    def _pick(self, index: int) -> Client:
        return self.clients[index % len(self.clients)]

    def _session(self, index: int) -> str | None:
        everything = [*self.world.chrome.parents, None]
        return everything[index % len(everything)]

    @rule(page=st.booleans())
    def come(self, page: bool) -> None:
        client = Client(str(len(self.clients)))
        self.clients.append(client)
        before = set(self.world.chrome.parents)
        self.world.attach(client, "page" if page else None)
        for session in set(self.world.chrome.parents) - before:
            assert session is not None
            self.owner[session] = client

    @precondition(lambda self: self.clients)
    @rule(who=INDEX)
    def go(self, who: int) -> None:
        self.world.leave(self._pick(who))

    @precondition(lambda self: self.clients)
    @rule(who=INDEX, where=INDEX, big=st.booleans())
    def talk(self, who: int, where: int, big: bool) -> None:
        """To any session that there is, one's own or not."""
        client, session = self._pick(who), self._session(where)
        number = next(self.numbers) + (1 << 30 if big else 0)
        fields = {} if session is None else {"sessionId": session}
        self.world.send(client, id=number, method=f"From.{client.name}", **fields)

    @precondition(lambda self: self.clients)
    @rule(who=INDEX, where=INDEX)
    def attach_child(self, who: int, where: int) -> None:
        client, session = self._pick(who), self._session(where)
        before = set(self.world.chrome.parents)
        fields = {} if session is None else {"sessionId": session}
        self.world.send(client, id=next(self.numbers), method="Target.attachToTarget", **fields)
        for child in set(self.world.chrome.parents) - before:
            assert child is not None
            self.owner[child] = client

    @precondition(lambda self: self.clients)
    @rule(who=INDEX, where=INDEX)
    def detach_child(self, who: int, where: int) -> None:
        params = {"sessionId": self._session(where) or "none"}
        fields: dict[str, Any] = {"method": "Target.detachFromTarget", "params": params}
        self.world.send(self._pick(who), id=next(self.numbers), **fields)

    @rule(where=INDEX)
    def end_session(self, where: int) -> None:
        session = self._session(where)
        if session is not None:
            self.world.said.append(self.world.chrome.detach(session))

    @rule(where=INDEX)
    def event(self, where: int) -> None:
        session = self._session(where)
        self.world.said.append(self.world.chrome.event("Some.event", {"of": session}, session))

    @rule()
    def own_call(self) -> None:
        self.world.call("Own.call")

    @rule(count=st.integers(1, 5))
    def hear(self, count: int) -> None:
        self.world.hear(count)

    @invariant()
    def nobody_heard_what_is_anothers(self) -> None:
        for client in self.clients if hasattr(self, "clients") else []:
            for message in client.take():
                if "sessionId" in message:
                    assert self.owner[message["sessionId"]] is client
                result = message.get("result", {})
                if "echo" in result:
                    assert result["echo"] == f"From.{client.name}"
                    assert self.owner[result["of"]] is client
                if message.get("method") == "Some.event":
                    assert self.owner[message["params"]["of"]] is client
            for session in self.world.mux.sessions_of(client):
                assert self.owner[session.decode()] is client

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        for answer in self.world.answers:
            assert answer.error is None
        for client in self.clients:
            self.world.leave(client)
        while self.world.said:
            self.world.hear()
        self.nobody_heard_what_is_anothers()
        assert list(self.world.mux._roots) == []
        assert self.world.size == self.world.empty
        assert self.world.chrome.parents == {}


Crowd.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCrowd = Crowd.TestCase
