"""The webhook: signed, tried again, in order, bounded; and nobody ever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import tenacity
from aiohttp import web

from chromepool import config_sources, logs, tokens
from chromepool.errors import ConfigError
from chromepool.gateway.monitor.webhook import MAX_WAITING, TRIES, Webhook, loggable, signatures

SECRET = "correct horse battery staple"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with what it is told, in that order, then with the last of it."""

    def __init__(self, *answers: int | str) -> None:
        self._answers = list(answers) or [204]
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.elsewhere = 0
        self.hangs = asyncio.Event()
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/hook":
            self.elsewhere += 1
            return web.Response()
        self.got.append((dict(request.headers), await request.read()))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer == "hang":
            await self.hangs.wait()
        if answer == "redirect":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        return web.Response(status=answer if isinstance(answer, int) else 200)

    def numbers(self) -> list[int]:
        return [json.loads(body)["number"] for _, body in self.got]


@contextlib.asynccontextmanager
async def serving(*answers: int | str) -> AsyncIterator[Server]:
    server = Server(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/hook"
    try:
        yield server
    finally:
        server.hangs.set()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def sending(url: str, secret: str = SECRET, try_s: float = 30) -> AsyncIterator[Webhook]:
    webhook = Webhook(url, secret, try_s=try_s, wait=tenacity.wait_none())
    task = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def verify(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """As a receiver would, with nothing of the sender's."""
    fields = dict(part.split("=", 1) for part in headers["Chromepool-Signature"].split(","))
    assert abs(int(fields["t"]) - time.time()) < 60
    signed = fields["t"].encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() == fields["v1"]


def test_what_arrives_is_json_and_signed() -> None:
    async def main() -> None:
        async with serving() as server, sending(server.url) as webhook:
            webhook.send({"event": "alert.raised", "text": "ä"})
            await until(lambda: webhook.sent)
            headers, body = server.got[0]
            assert headers["Content-Type"] == "application/json"
            told = json.loads(body)
            assert len(told.pop("id")) == 32
            assert told == {"event": "alert.raised", "text": "ä"}
            assert verify(headers, body, SECRET)
            assert not verify(headers, body + b" ", SECRET)
            assert not verify(headers, body, SECRET + " ")

    asyncio.run(main())


def test_the_signature_is_the_documented_one() -> None:
    mac = hmac.new(b"key", b'1700000000.{"a":1}', "sha256").hexdigest()
    headers = signatures("id", b'{"a":1}', "key", 1_700_000_000)
    assert headers["Chromepool-Signature"] == f"t=1700000000,v1={mac}"


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, SECRET.encode()),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("whsec_a2V5IGtleSBrZXk=", "whsec_a2V5IGtleSBrZXk="),
        ("whsec_a2V5IGtleSBrZXk", "whsec_a2V5IGtleSBrZXk"),
    ],
)
def test_a_receiver_verifies_with_the_package_of_standard_webhooks(
    secret: str, key: str | bytes
) -> None:
    async def main() -> None:
        async with serving(500, 200) as server, sending(server.url, secret) as webhook:
            webhook.send({"event": "alert.raised", "text": "ä"})
            await until(lambda: webhook.sent)
            for headers, body in server.got:
                told = standardwebhooks.Webhook(key).verify(body, headers)
                assert told == json.loads(body)
                assert headers["webhook-id"] == told["id"]
                later = str(int(headers["webhook-timestamp"]) + 1)
                for changed in ({"webhook-id": "other"}, {"webhook-timestamp": later}):
                    with pytest.raises(standardwebhooks.WebhookVerificationError):
                        standardwebhooks.Webhook(key).verify(body, headers | changed)
                with pytest.raises(standardwebhooks.WebhookVerificationError):
                    standardwebhooks.Webhook(b"another key").verify(body, headers)

    asyncio.run(main())


def test_without_a_secret_nothing_is_signed() -> None:
    async def main() -> None:
        async with serving() as server, sending(server.url, "") as webhook:
            webhook.send({})
            await until(lambda: webhook.sent)
            headers = server.got[0][0]
            assert "Chromepool-Signature" not in headers
            assert "webhook-signature" not in headers
            assert headers["webhook-id"]

    asyncio.run(main())


def test_it_is_tried_again_with_the_same_id() -> None:
    async def main() -> None:
        async with serving(500, 429, 200) as server, sending(server.url) as webhook:
            webhook.send({})
            await until(lambda: webhook.sent)
            assert len(server.got) == 3
            assert len({json.loads(body)["id"] for _, body in server.got}) == 1
            assert all(verify(headers, body, SECRET) for headers, body in server.got)
            assert (webhook.sent, webhook.failed) == (1, 0)

    asyncio.run(main())


@pytest.mark.parametrize(("answer", "tries"), [(503, TRIES), (404, 1), (400, 1), ("redirect", 1)])
def test_what_is_not_taken_is_given_up_and_the_next_is_sent(answer: int | str, tries: int) -> None:
    async def main() -> None:
        async with serving(*[answer] * tries, 200) as server, sending(server.url) as webhook:
            webhook.send({"number": 1})
            webhook.send({"number": 2})
            await until(lambda: webhook.sent)
            assert server.numbers() == [1] * tries + [2]
            assert (webhook.sent, webhook.failed) == (1, 1)
            assert server.elsewhere == 0

    asyncio.run(main())


def test_they_arrive_in_order() -> None:
    async def main() -> None:
        async with serving(200, 500, 500, 200, 500, 200) as server, sending(server.url) as webhook:
            for number in range(20):
                webhook.send({"number": number})
            await until(lambda: webhook.sent == 20)
            assert list(dict.fromkeys(server.numbers())) == list(range(20))

    asyncio.run(main())


def test_a_server_that_hangs_delays_nothing_and_each_try_ends() -> None:
    async def main() -> None:
        answers = ["hang"] * TRIES + [200]
        async with serving(*answers) as server, sending(server.url, try_s=0.1) as webhook:
            began = time.monotonic()
            for number in range(50):
                webhook.send({"number": number})
            assert time.monotonic() - began < 0.1
            await until(lambda: webhook.failed == 1)
            assert server.numbers()[:TRIES] == [0] * TRIES
            await until(lambda: webhook.sent == 49)

    asyncio.run(main())


def test_the_queue_is_bounded_and_the_oldest_goes(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving("hang", 200) as server, sending(server.url) as webhook:
            webhook.send({"number": -1})
            await until(lambda: server.got)
            for number in range(MAX_WAITING + 7):
                webhook.send({"number": number})
            assert (webhook.waiting, webhook.dropped) == (MAX_WAITING, 7)
            assert caplog.text.count("webhook.dropped") == 7
            server.hangs.set()
            await until(lambda: webhook.sent == MAX_WAITING + 1)
            assert server.numbers() == [-1, *range(7, MAX_WAITING + 7)]

    asyncio.run(main())


def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving() as server:
            url = server.url
        url = url.replace("http://", "http://user:password@") + "?key=hidden"
        async with sending(url) as webhook:
            webhook.send({})
            await until(lambda: webhook.failed)
        async with sending("http://[::1:1/") as webhook:
            webhook.send({})
            await until(lambda: webhook.failed)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    told = "".join(logs.JsonFormatter().format(record) for record in caplog.records)
    assert "webhook.failed" in told
    for secret in ("password", "hidden", "/hook", SECRET):
        assert secret not in told


def test_without_an_url_nothing_is_kept() -> None:
    async def main() -> None:
        webhook = Webhook("", "")
        webhook.send({})
        assert webhook.waiting == 0

    asyncio.run(main())


def test_it_can_be_stopped_while_it_sends() -> None:
    async def main() -> None:
        async with serving("hang") as server, sending(server.url) as webhook:
            webhook.send({})
            await until(lambda: server.got)
        assert (webhook.sent, webhook.failed) == (0, 0)

    asyncio.run(main())


def test_what_is_not_sent_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving("hang") as server, sending(server.url) as webhook:
            webhook.send({})
            await until(lambda: server.got)
            webhook.send({})
        webhook.close()
        webhook.close()
        assert (webhook.waiting, webhook.dropped) == (0, 2)

    asyncio.run(main())
    assert caplog.text.count("webhook.dropped") == 1


def test_nothing_is_said_where_all_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving() as server, sending(server.url) as webhook:
            webhook.send({})
            await until(lambda: webhook.sent)
        webhook.close()

    asyncio.run(main())
    assert "webhook.dropped" not in caplog.text


def test_what_may_be_shown_of_an_url() -> None:
    assert loggable("https://u:p@example.org:8443/a/b?c#d") == "https://example.org:8443"


# -- settings --


@pytest.mark.parametrize(
    "url", ["", "http://example.org", "https://u:p@[::1]:8443/x?y=z", "HTTPS://example.org/"]
)
def test_urls(url: str) -> None:
    assert config_sources.load({"webhook_url": url}, {}).webhook_url == url


@pytest.mark.parametrize(
    "url",
    [
        "example.org",
        "ftp://u:hush@example.org",
        "file:///etc/hush",
        "http://",
        "http:///hush",
        "http://example.org:x/hush",
        "http://example.org:99999/hush",
        "http://[::1/hush",
        "http://example.org/a hush",
        "http://example.org/\nhush",
    ],
)
def test_what_is_no_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="--webhook-url: webhook_url is not an http") as caught:
        config_sources.load({"webhook_url": url}, {})
    assert "hush" not in str(caught.value)


def _key(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "key"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_the_key_is_read_from_a_file(tmp_path: Path) -> None:
    assert tokens.load_secret("") == ""
    assert tokens.load_secret(_key(tmp_path, f"  {SECRET}\n")) == SECRET


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_key_that_everybody_can_read_is_none(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="by every user"):
        tokens.load_secret(_key(tmp_path, SECRET, mode))


@pytest.mark.parametrize("text", ["", "short", " " * 40, "k" * 2000])
def test_a_key_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="16 to 1024"):
        tokens.load_secret(_key(tmp_path, text))


@pytest.mark.parametrize("text", ["whsec_not base64", "whsec_AAAAAAAAAAAAA", "whsec_" + "ä" * 16])
def test_a_key_that_is_not_base64_after_its_prefix(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="not base64 after whsec_") as caught:
        tokens.load_secret(_key(tmp_path, text))
    assert text not in str(caught.value)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"webhook_secret_file .*: No such file"):
        tokens.load_secret(str(tmp_path / "none"))
