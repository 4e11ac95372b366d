"""What capture keeps of the network, also of what one target begins and another ends."""

from __future__ import annotations

import datetime
import itertools
from typing import Any, cast

import pytest

from chromepool.gateway.browser.auto_attach import AutoAttacher, Target
from chromepool.gateway.browser.hooks.capture import CaptureHook
from chromepool.gateway.cdp.message import Incoming
from chromepool.gateway.cdp.mux import OnAnswer
from chromepool.gateway.store.responses import (
    InFlightRequests,
    PendingRequest,
    Response,
    ResponseFilter,
)
from chromepool.gateway.store.ring import Ring
from testing.cdp import run

# -- what Chrome tells, made up --


class Asked:
    """As much of an auto-attacher as capture needs; bodies are given when the test says so."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, str, OnAnswer]] = []
        """Target's session, request id, and who waits."""

    def send(
        self, method: str, params: dict[str, Any], target: Target, on_answer: OnAnswer
    ) -> None:
        assert method == "Network.getResponseBody"
        self.bodies.append((target.session, params["requestId"], on_answer))


class Network:
    """Tells the hook what happens."""

    def __init__(self, most: int = 100, **wanted: Any) -> None:
        self.asked, self.kept = Asked(), Ring[Response](most, 1 << 20, lambda: 0.0)
        auto_attacher = cast(AutoAttacher, self.asked)
        self.hook = CaptureHook(auto_attacher, ResponseFilter(**wanted), self.kept, 1000)
        self.targets = {name: Target(name, name, "page", False) for name in ("page", "frame")}
        self._clock = itertools.count(1)

    def tell(self, method: str, target: str = "page", number: str = "1", **params: Any) -> None:
        params |= {"requestId": number, "timestamp": float(next(self._clock))}
        event = Incoming(method=f"Network.{method}", params=params)
        self.hook.on_event(self.targets[target], event)

    def request(self, url: str = "http://a/", **more: Any) -> None:
        headers = {"Accept": "*/*"}
        request = {"url": url, "method": "GET", "headers": headers, "postData": "x" * 1000}
        self.tell("requestWillBeSent", request=request, type="Fetch", wallTime=1.0, **more)

    def head(self, status: int = 200, **more: Any) -> None:
        head = {"status": status, "headers": {"A": "1"}, "mimeType": "text/plain"}
        self.tell("responseReceived", response=head, type="Fetch", **more)

    @property
    def only(self) -> Response:
        ((_, response),) = self.kept
        return response


def test_a_body_is_asked_of_the_target_in_which_it_ended() -> None:
    async def scenario() -> None:
        network = Network()
        network.request()
        network.head()
        network.tell("loadingFinished", "frame", encodedDataLength=10)
        ((session, request_id, give),) = network.asked.bodies
        assert (session, request_id) == ("frame", "1")
        give(Incoming(result={"body": "text"}))
        assert network.only.body == b"text"
        assert network.only.duration_ms == 2000.0
        assert len(network.hook.in_flight) == 0

    run(scenario())


def test_what_cannot_be_wanted_is_not_remembered() -> None:
    network = Network(urls=("http://b/*",), statuses=("4xx",))
    network.request("http://a/")
    assert len(network.hook.in_flight) == 0
    network.request("http://b/")
    assert len(network.hook.in_flight) == 1
    network.head(200)
    assert (len(network.hook.in_flight), network.hook.in_flight.bytes) == (0, 0)
    assert len(network.kept) == 0


def test_a_redirect_to_what_is_not_wanted_and_back() -> None:
    network = Network(urls=("http://b/*",), bodies=False)
    redirect = {"status": 302, "headers": {}, "mimeType": ""}
    network.request("http://b/1")
    network.request("http://a/", redirectResponse=redirect)
    network.request("http://b/2", redirectResponse=redirect)
    network.head()
    network.tell("loadingFinished")
    found = [(response.url, response.status) for _, response in network.kept]
    assert found == [("http://b/1", 302), ("http://b/2", 200)]
    assert network.hook.in_flight.bytes == 0


def test_headers_that_are_told_late_find_their_redirect() -> None:
    network = Network(bodies=False, urls=("http://b/*",))
    redirect = {"status": 302, "headers": {"Location": "x"}, "mimeType": ""}
    network.request("http://b/1")
    for url in ("http://b/2", "http://a/"):  # the last is not wanted, but what comes after it is
        network.request(url, redirectResponse=redirect, redirectHasExtraInfo=True)
    for number, status in enumerate((302, 302, 200)):
        told = {"Number": str(number), "Long": "x" * 1000}
        network.tell("responseReceivedExtraInfo", statusCode=status, headers=told)
    network.head()
    assert [response.response_headers["Number"] for _, response in network.kept] == ["0", "1"]
    assert network.kept.bytes == sum(response.size for _, response in network.kept) > 2000
    assert (len(network.hook.in_flight), network.hook.in_flight.bytes) == (0, 0)


def test_headers_that_are_told_after_the_end_are_kept() -> None:
    network = Network(bodies=False)
    network.request()
    network.head(hasExtraInfo=True)
    network.tell("loadingFinished")
    assert not network.hook.in_flight.has_session("page")
    network.tell("responseReceivedExtraInfo", statusCode=200, headers={"Set-Cookie": "a=1"})
    assert network.only.response_headers == {"Set-Cookie": "a=1"}
    assert network.kept.bytes == network.only.size
    assert (len(network.hook.in_flight), network.hook.in_flight.bytes) == (0, 0)


def test_headers_that_were_told_too_early_are_given_to_no_other() -> None:
    network = Network(bodies=False)
    redirect = {"status": 302, "headers": {"Location": "x"}, "mimeType": ""}
    network.request()
    network.request(redirectResponse=redirect, redirectHasExtraInfo=True)
    network.tell("responseReceivedExtraInfo", statusCode=200, headers={"B": "2"})
    network.head()
    found = [response.response_headers for _, response in network.kept]
    assert found == [{"Location": "x"}, {"B": "2"}]


@pytest.mark.parametrize("when", ["before the head", "after the head"])
def test_headers_are_counted_as_they_are_kept(when: str) -> None:
    network = Network(bodies=False)
    network.request()
    if when == "after the head":
        network.head()
    network.tell("requestWillBeSentExtraInfo", headers={"Cookie": "x" * 5000})
    network.tell("responseReceivedExtraInfo", headers={"Set-Cookie": "y" * 7000})
    assert network.hook.in_flight.bytes > 12000
    if when == "before the head":
        network.head()
    assert network.only.request_headers == {"Cookie": "x" * 5000}
    assert network.only.response_headers == {"Set-Cookie": "y" * 7000}
    assert network.kept.bytes == network.only.size > 12000
    network.tell("responseReceivedExtraInfo", headers={})
    assert network.kept.bytes == network.only.size < 7000
    network.tell("loadingFinished")
    assert network.hook.in_flight.bytes == 0


def test_a_body_is_not_asked_for_nor_kept_once_its_response_is_gone() -> None:
    async def scenario() -> None:
        network = Network(most=1)
        for number in ("1", "2"):
            network.request(number=number)
            network.head(number=number)
        network.tell("loadingFinished", number="1")
        network.tell("loadingFinished", number="2")
        ((_, request_id, give),) = network.asked.bodies
        assert request_id == "2"
        network.kept.clear()
        give(Incoming(result={"body": "text"}))
        assert network.kept.bytes == 0

    run(scenario())


@pytest.mark.parametrize(
    ("encoded_bytes", "body_bytes", "kept"), [(1000, 1000, True), (9, 1001, False)]
)
def test_a_body_at_its_bound_and_one_byte_over(
    encoded_bytes: int, body_bytes: int, kept: bool
) -> None:
    async def scenario() -> None:
        network = Network()
        network.request()
        network.head()
        network.tell("loadingFinished", encodedDataLength=encoded_bytes)
        ((_, _, give),) = network.asked.bodies
        give(Incoming(result={"body": "x" * body_bytes}))
        assert network.only.body == (b"x" * body_bytes if kept else None)
        assert network.only.body_error == ("" if kept else "the body has over 1000 bytes")
        assert network.kept.bytes == network.only.size + (body_bytes if kept else 0)

    run(scenario())


def test_a_body_that_is_far_too_large_is_not_even_asked_for() -> None:
    network = Network()
    network.request()
    network.head()
    network.tell("loadingFinished", encodedDataLength=10_000_000)
    assert network.asked.bodies == []
    assert network.only.body_error == "the body has over 1000 bytes"


def test_a_target_takes_what_it_had_under_way_with_it() -> None:
    network = Network()
    for number in ("1", "2"):
        network.request(number=number)
    network.head(target="frame", number="2")
    network.hook.on_detached(network.targets["page"])
    assert network.hook.in_flight.get("1") is None
    assert network.hook.in_flight.has_session("frame")
    network.hook.on_detached(network.targets["frame"])
    assert network.hook.in_flight.bytes == 0


# -- the bounds of what is under way --


def _request(name: str, size: int) -> PendingRequest:
    """One that takes so much, 512 bytes of it beside its texts."""
    url = "x" * (size - 512)
    started_at = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return PendingRequest(name, "page", Response(url, "", started_at=started_at))


def test_under_way_as_many_as_may_be_and_one_more() -> None:
    in_flight = InFlightRequests(2, 1 << 20)
    for name in "abc":
        in_flight.add(_request(name, 1000))
    assert in_flight.get("a") is None
    assert (len(in_flight), in_flight.bytes) == (2, 2000)
    in_flight.add(_request("c", 2000))
    assert (len(in_flight), in_flight.bytes) == (2, 3000)


def test_under_way_as_many_bytes_as_may_be_and_one_more() -> None:
    in_flight = InFlightRequests(10, 3000)
    for name in "abc":
        in_flight.add(_request(name, 1000))
    assert (len(in_flight), in_flight.bytes) == (3, 3000)
    in_flight.grow("c", 1)
    assert in_flight.get("a") is None
    assert (len(in_flight), in_flight.bytes) == (2, 2001)
    in_flight.add(_request("d", 3001))
    assert (len(in_flight), in_flight.bytes) == (0, 0)
