"""The Python client: over the Unix socket and over TCP, with real Chrome."""

from __future__ import annotations

from pathlib import Path

import pytest

import chromepool
from chromepool.errors import InvalidRequest
from testing.cdp import run
from testing.daemon import Daemon
from testing.daemon_pool import Daemons

TOKEN = "t" * 32


def test_a_session_for_a_block(shared_daemon: Daemon) -> None:
    async def scenario() -> str:
        async with chromepool.Client(shared_daemon.control_socket) as client:
            async with client.session(labels={"job": "7"}, timezone="Asia/Tokyo") as session:
                assert session.url.startswith("ws://")
                assert session.devtools_url.endswith(session.id)
                browser = await session.pyppeteer()
                page = await browser.newPage()
                zone = await page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
                assert zone == "Asia/Tokyo"
                assert (await session.refresh()).clients == 1
                await session.keepalive()
                assert [s.id for s in await client.find({"job": "7"})] == [session.id]
                assert await client.find({"job": "8"}) == ()
                assert [s.id for s in await client.list()] == [session.id]
            ended = await client.show(session.id)
            assert ended.exit is not None
            assert ended.clients == 0
            await session.close()
            return ended.exit.reason

    assert run(scenario()) == "deleted"


def test_the_session_ends_with_the_block_also_when_that_fails(shared_daemon: Daemon) -> None:
    async def scenario() -> None:
        async with chromepool.Client(str(shared_daemon.control_socket)) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.session() as session:
                    raise ZeroDivisionError
            assert (await client.show(session.id)).state == "closed"

    run(scenario())


def test_over_tcp_with_a_token(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"ci {TOKEN}\n")

    async def scenario(url: str) -> None:
        async with chromepool.Client(url, token=TOKEN) as client:
            async with client.session(wait_s=5) as session:
                assert session.info.owner == "token:ci"
            assert (await client.status()).sessions.now == 0
            assert await client.queue() == ()
        async with chromepool.Client(url, token="wrong" * 8) as stranger:
            with pytest.raises(chromepool.ApiError) as refused:
                await stranger.create()
            assert (refused.value.status, refused.value.code) == (401, "unauthorized")

    with Daemon(tmp_path, tokens_file=tokens, control_tcp=True) as daemon:
        run(scenario(daemon.http_url))


def test_refusals_are_errors_that_say_what_and_when(daemons: Daemons) -> None:
    async def scenario(daemon: Daemon) -> None:
        async with chromepool.Client(daemon.control_socket) as client:
            for wrong in ({"timezone": 5}, {"colour": "red"}, {"viewport": {"width": 0}}):
                with pytest.raises(InvalidRequest, match="options"):
                    await client.create(**wrong)
            async with client.session():
                with pytest.raises(chromepool.ApiError) as refused:
                    await client.create()
            assert (refused.value.status, refused.value.code) == (503, "pool_full")
            assert refused.value.retry_after_s == 5
            with pytest.raises(chromepool.ApiError, match="no session"):
                await client.show("../status")

    daemon = daemons(max_sessions=1)
    run(scenario(daemon))
