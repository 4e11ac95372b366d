"""What a session keeps, with real Chrome: responses, console, stderr, downloads, pictures."""

from __future__ import annotations

import asyncio
import datetime
import functools
import itertools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chromepool.gateway.sessions.downloads import MOST_LARGEST
from testing.cdp import Cdp, connect, run
from testing.daemon import Answer, Daemon, wait_for
from testing.node import script
from testing.site import COOKIES, FILE_BYTES, Site

NewSession = Callable[..., dict[str, Any]]


def _get(daemon: Daemon, session: dict[str, Any], path: str, method: str = "GET") -> Answer:
    return daemon.ask(method, f"/v1/sessions/{session['id']}{path}")


def _responses(daemon: Daemon, session: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _get(daemon, session, f"/responses{query}").json["responses"]
    return found


async def _visit(client: Cdp, url: str) -> str:
    _, page = await client.open_page()
    await client.call("Page.enable", session=page)
    await client.call("Page.navigate", {"url": url}, page)
    await client.wait_event("Page.loadEventFired")
    return page


def _open(session: dict[str, Any], url: str, then: str = "0") -> Any:
    async def drive() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            return await client.evaluate(then, await _visit(client, url))

    return run(drive())


# -- responses --


def test_what_the_network_answered_is_kept_with_its_body(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session = new_session(capture={})
    fetch = f"fetch('{site.url('/none?x=1')}').then(r => r.status)"
    assert _open(session, site.url("/page"), fetch) == 404
    wait_for(lambda: len(_responses(shared_daemon, session)) >= 2, "both are kept")
    page = _responses(shared_daemon, session, "?type=Document")[0]
    assert (page["url"], page["method"], page["status"]) == (site.url("/page"), "GET", 200)
    assert page["mime_type"] == "text/html"
    assert page["response_headers"]["Cache-Control"] == "no-store"
    assert "User-Agent" in page["request_headers"]
    assert page["remote_address"] == "127.0.0.1"
    path = f"/responses/{page['number']}"
    wait_for(lambda: _get(shared_daemon, session, path).json["body_bytes"], "its body is fetched")
    assert _get(shared_daemon, session, path).json["duration_ms"] > 0
    body = _get(shared_daemon, session, f"{path}/body")
    assert body.headers["Content-Type"] == "text/html"
    assert b"<h1>A page</h1>" in body.body
    assert body.headers["X-Content-Type-Options"] == "nosniff"
    missing = _responses(shared_daemon, session, "?status=4xx")
    assert [r["url"] for r in missing] == [site.url("/none?x=1")]
    assert _responses(shared_daemon, session, "?url=*/page&url=*/nowhere") == [
        _get(shared_daemon, session, path).json
    ]


def test_only_what_was_asked_for_is_kept(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    wanted = {"urls": ["*/none*"], "statuses": ["4xx"], "types": ["Fetch"], "bodies": False}
    session, silent = new_session(capture=wanted), new_session()
    for each in (session, silent):
        _open(each, site.url("/page"), f"fetch('{site.url('/none')}').then(r => r.text())")
    wait_for(lambda: _responses(shared_daemon, session), "it is kept")
    (kept,) = _responses(shared_daemon, session)
    assert (kept["type"], kept["status"]) == ("Fetch", 404)
    body = _get(shared_daemon, session, f"/responses/{kept['number']}/body")
    assert (body.status, body.json["code"]) == (404, "item_not_found")
    assert _responses(shared_daemon, silent) == []


def test_one_sessions_responses_are_no_others_and_go_with_it(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    mine, other = new_session(capture={}), new_session(capture={})
    _open(mine, site.url("/page"))
    wait_for(lambda: _responses(shared_daemon, mine), "it is kept")
    assert _responses(shared_daemon, other) == []
    shared_daemon.delete(mine["id"])
    assert _get(shared_daemon, mine, "/responses").status == 404


def test_they_are_deleted_one_by_one_and_all(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session = new_session(capture={})
    _open(session, site.url("/page"), f"fetch('{site.url('/none')}').then(r => r.text())")
    wait_for(lambda: len(_responses(shared_daemon, session)) >= 2, "both are kept")
    first = _responses(shared_daemon, session)[0]["number"]
    assert _get(shared_daemon, session, f"/responses/{first}", "DELETE").status == 204
    assert _get(shared_daemon, session, f"/responses/{first}", "DELETE").status == 404
    assert _get(shared_daemon, session, f"/responses/{first}").status == 404
    assert _get(shared_daemon, session, "/responses", "DELETE").status == 204
    assert _responses(shared_daemon, session) == []


def test_the_oldest_go_first_by_number_and_by_time(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o755)
    settings = {"response_store_items": 3, "response_store_ttl_s": 2}
    with Daemon(tmp_path, **settings) as daemon:
        session = daemon.new(capture={"types": ["Fetch"]})
        many = f"Promise.all([1,2,3,4,5].map(n => fetch('{site.url('/none')}?' + n)))"
        _open(session, site.url("/page"), f"{many}.then(all => all.length)")
        wait_for(lambda: _get(daemon, session, "/responses").json["dropped"] >= 2, "all came")
        assert len(_responses(daemon, session)) <= 3
        wait_for(lambda: not _responses(daemon, session), "their time is up")
        assert _get(daemon, session, "/responses").json["dropped"] == 5


def test_bodies_up_to_their_bound_and_one_byte_more(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, response_body_bytes=1000) as daemon:
        session = daemon.new(capture={"types": ["Fetch"]})
        for size in (1000, 1001):
            _open(
                session,
                site.url("/page"),
                f"fetch('{site.url(f'/bytes?{size}')}').then(r => r.text()).then(() => 1)",
            )

        def found() -> list[tuple[int | None, str]]:
            return [(r["body_bytes"], r["body_error"]) for r in _responses(daemon, session)]

        wait_for(lambda: len(found()) == 2 and all(any(each) for each in found()), "both are told")
        assert found() == [(1000, ""), (None, "the body has over 1000 bytes")]


def test_the_oldest_go_first_when_their_bodies_take_too_much(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, response_store_bytes=1 << 20) as daemon:
        session = daemon.new(capture={"types": ["Fetch"]})

        def is_there(number: int) -> bool:
            found = _responses(daemon, session)
            return [r["body_bytes"] for r in found if r["number"] == number] == [300_000]

        for number in range(1, 6):
            get = f"fetch('{site.url('/bytes?300000')}').then(r => r.text()).then(() => 1)"
            _open(session, site.url("/page"), get)
            wait_for(functools.partial(is_there, number), "it is kept, with its body")
        assert [r["number"] for r in _responses(daemon, session)] == [3, 4, 5]
        assert _get(daemon, session, "/responses").json["dropped"] == 2


def test_as_har(shared_daemon: Daemon, new_session: NewSession, site: Site) -> None:
    session = new_session(capture={})
    _open(session, site.url("/page?a=1&b=x%20y"))
    wait_for(lambda: _responses(shared_daemon, session), "it is kept")
    number = _responses(shared_daemon, session)[0]["number"]
    path = f"/responses/{number}"
    wait_for(lambda: _get(shared_daemon, session, path).json["body_bytes"], "its body is fetched")
    log = _get(shared_daemon, session, "/har").json["log"]
    assert (log["version"], log["creator"]["name"]) == ("1.2", "chromepool")
    entry = log["entries"][0]
    assert entry["request"]["queryString"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "x y"},
    ]
    assert "<h1>A page</h1>" in entry["response"]["content"]["text"]
    assert datetime.datetime.fromisoformat(entry["startedDateTime"]).tzinfo is not None


def _judge(har: Path) -> list[str]:
    """What the schema of HAR 1.2 has against a file."""
    found: list[str] = script("har_schema.mjs", str(har))
    return found


def test_the_schema_of_har_has_nothing_against_it(
    shared_daemon: Daemon, new_session: NewSession, site: Site, tmp_path: Path
) -> None:
    session = new_session(capture={})
    for path in ("/cookies", "/frames", "/cookies"):
        _open(session, site.url(path), f"fetch('{site.url('/none')}').then(r => r.text())")

    def entries() -> Any:
        return _get(shared_daemon, session, "/har").json["log"]["entries"]

    def is_whole() -> bool:
        return len(entries()) >= 8 and all(entry["time"] > 0 for entry in entries())

    wait_for(is_whole, "pages, frames and what they asked for have ended")
    for entry in entries():
        phases = {k: v for k, v in entry["timings"].items() if k != "ssl" and v != -1}
        assert abs(sum(phases.values()) - entry["time"]) < 0.01, entry
        assert min(phases.values()) >= 0
        assert phases["wait"] > 0
    har = tmp_path / "session.har"
    har.write_bytes(_get(shared_daemon, session, "/har").body)
    assert _judge(har) == []
    har.write_text(har.read_text().replace('"send":', '"sent":'))
    assert any("must have required property 'send'" in wrong for wrong in _judge(har))


def test_cookies_are_in_the_har_one_by_one(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session = new_session(capture={})
    for _ in range(2):
        _open(session, site.url("/cookies"))

    def entries() -> Any:
        return _get(shared_daemon, session, "/har").json["log"]["entries"]

    def are_told() -> bool:
        told = entries()
        cookies = [entry["response"]["cookies"] for entry in told]
        return len(told) == 2 and all(cookies) and bool(told[1]["request"]["cookies"])

    wait_for(are_told, "both pages, the second one with the cookies of the first")
    first, second = entries()
    headers = [h for h in first["response"]["headers"] if h["name"] == "Set-Cookie"]
    assert [header["value"] for header in headers] == list(COOKIES)
    assert first["response"]["cookies"] == [
        {"name": "a", "value": "1"},
        {
            "name": "b",
            "value": "x=2",
            "path": "/",
            "expires": "2100-01-01T00:00:00.000+00:00",
            "httpOnly": True,
        },
    ]
    sent = {cookie["name"]: cookie["value"] for cookie in second["request"]["cookies"]}
    assert sent == {"a": "1", "b": "x=2"}


def test_playwright_replays_the_har(
    shared_daemon: Daemon, new_session: NewSession, site: Site, tmp_path: Path
) -> None:
    """An outside reader, which is strict: what is not in it is not answered."""
    session = new_session(capture={})
    _open(session, site.url("/page"))
    wait_for(lambda: _responses(shared_daemon, session), "it is kept")
    path = f"/responses/{_responses(shared_daemon, session)[0]['number']}"
    wait_for(lambda: _get(shared_daemon, session, path).json["body_bytes"], "its body is fetched")
    har = tmp_path / "session.har"
    har.write_bytes(_get(shared_daemon, session, "/har").body)
    gone = site.url("/page")
    site.pages_are_gone = True
    seen = script("har.mjs", session["webSocketDebuggerUrl"], str(har), gone)
    expected = {"title": "chromepool", "text": "A page", "missing": "aborted"}
    assert seen == expected


# -- console --


def test_what_pages_say_and_what_they_fail_at(
    shared_daemon: Daemon, new_session: NewSession
) -> None:
    session = new_session(console=True)
    script = "console.log('hello', 1, {a: 1}); console.warn('careful'); setTimeout(() => nope())"
    _open(session, f"data:text/html,<script>{script}</script>")

    def messages(query: str = "") -> list[tuple[str, str]]:
        found = _get(shared_daemon, session, f"/console{query}").json["messages"]
        return [(m["level"], m["text"]) for m in found]

    wait_for(lambda: len(messages()) >= 3, "all three are there")
    assert ("log", "hello 1 Object") in messages()
    assert ("warning", "careful") in messages()
    (error,) = messages("?level=exception")
    assert "ReferenceError: nope is not defined" in error[1]
    assert _get(shared_daemon, session, "/console", "DELETE").status == 204
    assert messages() == []


def test_a_flood_is_bounded(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, console_messages=50) as daemon:
        session = daemon.new(console=True)
        script = "for (let n = 0; n < 500; n++) console.log(n + 'x'.repeat(20000))"
        _open(session, f"data:text/html,<script>{script}</script>")
        wait_for(lambda: _get(daemon, session, "/console").json["dropped"] >= 450, "all came")
        kept = _get(daemon, session, "/console").json["messages"]
        assert len(kept) <= 50
        assert kept[-1]["text"].startswith("499x")
        assert max(len(m["text"]) for m in kept) <= 8192


def test_stderr_of_one_that_runs_and_of_one_that_is_over(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    assert _get(shared_daemon, session, "/stderr").headers["Content-Type"].startswith("text/plain")
    shared_daemon.delete(session["id"])
    assert _get(shared_daemon, session, "/stderr").status == 200


# -- downloads --

SAVE = (
    "(() => { const a = document.createElement('a');"
    "a.href = URL.createObjectURL(new Blob(['{text}'])); a.download = '{name}'; a.click(); }})()"
)


def _save(session: dict[str, Any], site: Site, name: str, text: str = "saved") -> None:
    script = SAVE.replace("{name}", name).replace("{text}", text).replace("}}", "}")
    _open(session, site.url("/page"), script)


def _names(daemon: Daemon, session: dict[str, Any]) -> list[str]:
    return [d["name"] for d in _get(daemon, session, "/downloads").json["downloads"]]


def test_downloads_are_listed_fetched_and_deleted(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session, other = new_session(downloads="allow"), new_session(downloads="allow")
    _save(session, site, "file ä.txt")
    wait_for(lambda: _names(shared_daemon, session) == ["file ä.txt"], "it is there")
    path = "/downloads/file%20%C3%A4.txt"
    fetched = _get(shared_daemon, session, path)
    assert (fetched.status, fetched.body) == (200, b"saved")
    assert "file%20%C3%A4.txt" in fetched.headers["Content-Disposition"]
    assert _get(shared_daemon, other, path).status == 404
    assert _get(shared_daemon, session, path, "DELETE").status == 204
    assert _get(shared_daemon, session, path).json["code"] == "item_not_found"
    assert _names(shared_daemon, session) == []


def test_only_whole_files_are_listed_and_given(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session = new_session(downloads="allow")
    _save(session, site, "first.txt")
    wait_for(lambda: _names(shared_daemon, session) == ["first.txt"], "it is there")
    (folder,) = shared_daemon.state_dir.glob("profiles/*/Downloads")
    owner = folder.stat()
    old = folder / "of an earlier life.txt"
    old.write_text("old")
    os.chown(old, owner.st_uid, owner.st_gid)
    os.utime(old, (0, 0))
    before = ["first.txt", old.name]
    _open(session, site.url("/page"), f"location = '{site.url('/file')}'; 0")
    wait_for(lambda: len(list(folder.iterdir())) > len(before), "another is under way")
    assert _names(shared_daemon, session) == before
    for unfinished in {file.name for file in folder.iterdir()} - set(before):
        answer = _get(shared_daemon, session, f"/downloads/{unfinished}")
        assert (answer.status, answer.json["code"]) == (404, "item_not_found")
    assert _get(shared_daemon, session, "/downloads/of%20an%20earlier%20life.txt").body == b"old"
    _save(session, site, "quick.txt")
    wait_for(lambda: _names(shared_daemon, session) == ["quick.txt", *before], "it overtakes")
    site.file_may_end.set()
    wait_for(lambda: "slow.bin" in _names(shared_daemon, session), "it is whole")
    assert len(_get(shared_daemon, session, "/downloads/slow.bin").body) == FILE_BYTES
    assert len(_names(shared_daemon, session)) == 4


def test_a_file_is_listed_once_it_is_whole(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    """Asked for all the time, while Chrome makes it and at the moment at which it is done."""
    session = new_session(downloads="allow")
    for number in range(10):
        _save(session, site, f"{number}.txt")

        def is_listed(name: str = f"{number}.txt") -> bool:
            found = _get(shared_daemon, session, "/downloads").json["downloads"]
            assert [file for file in found if file["size"] != len("saved")] == []
            return name in [file["name"] for file in found]

        wait_for(is_listed, "it is there")
        assert _get(shared_daemon, session, f"/downloads/{number}.txt").body == b"saved"


@pytest.mark.parametrize(
    "name", ["..%2Fsecret", "%2Fetc%2Fpasswd", "..", "%2e%2e%2f%2e%2e%2fx", "a%00b", "link", "pipe"]
)
def test_a_name_never_leads_out_of_the_folder(
    shared_daemon: Daemon, new_session: NewSession, site: Site, name: str
) -> None:
    session = new_session(downloads="allow")
    _save(session, site, "own.txt")
    wait_for(lambda: _names(shared_daemon, session) == ["own.txt"], "the folder is there")
    (folder,) = shared_daemon.state_dir.glob("profiles/*/Downloads")
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    for method in ("GET", "DELETE") if name not in ("link", "pipe") else ("GET",):
        answer = _get(shared_daemon, session, f"/downloads/{name}", method)
        assert answer.status in (400, 404), (method, answer.body)
        assert b"root:" not in answer.body
    assert _names(shared_daemon, session) == ["own.txt"]
    assert (folder.parent / "secret").exists()


def test_a_download_over_the_limit_is_cancelled(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, download_bytes=1_000_000) as daemon:
        session = daemon.new(downloads="allow")
        _save(session, site, "small.txt")
        big = "'+'x'.repeat(3000000)+'"
        _save(session, site, "big.txt", big)
        wait_for(lambda: "small.txt" in _names(daemon, session), "the small one is there")

        def big_is_gone() -> bool:
            folder = next(daemon.state_dir.glob("profiles/*/Downloads"))
            return not [f for f in folder.iterdir() if f.stat().st_size > 1_000_000]

        wait_for(big_is_gone, "the big one is not kept")
        assert "big.txt" not in _names(daemon, session)
        assert ("big.txt", "over 1000000 bytes") in _failures(daemon)


def test_downloads_as_large_as_they_may_be_and_the_oldest_goes_first(
    tmp_path: Path, site: Site
) -> None:
    tmp_path.chmod(0o755)
    with Daemon(tmp_path, download_bytes=50_000) as daemon:
        session = daemon.new(downloads="allow")
        names = [f"{number}.bin" for number in range(MOST_LARGEST)]

        def is_there(name: str) -> bool:
            return name in _names(daemon, session)

        for name in names:
            _save(session, site, name, "'+'x'.repeat(50000)+'")
            wait_for(functools.partial(is_there, name), "it is there")
        assert _names(daemon, session) == names[::-1]
        _save(session, site, "small.txt", "1")
        wait_for(lambda: names[0] not in _names(daemon, session), "the oldest is gone")
        assert _names(daemon, session) == ["small.txt", *names[:0:-1]]
        (folder,) = daemon.state_dir.glob("profiles/*/Downloads")
        assert {file.name for file in folder.iterdir()} == {"small.txt", *names[1:]}


def _failures(daemon: Daemon) -> list[tuple[str, str]]:
    """Downloads that failed, as the events tell."""

    async def read() -> list[tuple[str, str]]:
        connector = aiohttp.UnixConnector(str(daemon.control_socket))
        async with (
            aiohttp.ClientSession("http://localhost", connector=connector) as http,
            http.get("/v1/events?after=0") as answer,
        ):
            while b"session.download_failed" not in (line := await answer.content.readline()):
                assert line
            data = json.loads((await answer.content.readline()).removeprefix(b"data: "))
            return [(data["file"], data["why"].removeprefix("it is "))]

    return run(asyncio.wait_for(read(), 60))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_fails_the_download_and_not_the_session(tmp_path: Path, site: Site) -> None:
    tmp_path.chmod(0o755)
    disk = tmp_path / "state"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        with Daemon(tmp_path) as daemon:
            session = daemon.new(downloads="allow")
            _save(session, site, "big.txt", "'+'x'.repeat(9e7)+'")
            assert _failures(daemon) == [("big.txt", "Chrome gave it up")]
            assert daemon.show(session["id"])["state"] == "ready"
            assert _open(session, site.url("/page"), "6 * 7") == 42
            assert _names(daemon, session) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- pictures --


def test_a_picture_a_pdf_and_the_text_of_its_page(
    shared_daemon: Daemon, session: dict[str, Any]
) -> None:
    _open(session, "data:text/html,<body style='height:3000px'><p id=a>hello")
    content = _get(shared_daemon, session, "/content")
    assert b'<p id="a">hello' in content.body
    assert "sandbox" in content.headers["Content-Security-Policy"]
    kinds = {"png": b"\x89PNG", "jpeg": b"\xff\xd8", "webp": b"RIFF"}
    for kind, magic in kinds.items():
        answer = _get(shared_daemon, session, f"/screenshot?format={kind}")
        assert (answer.headers["Content-Type"], answer.body[: len(magic)]) == (
            f"image/{kind}",
            magic,
        )
    full = _get(shared_daemon, session, "/screenshot?full=1").body
    assert int.from_bytes(full[20:24], "big") >= 3000
    assert _get(shared_daemon, session, "/pdf").body[:5] == b"%PDF-"
    assert _get(shared_daemon, session, "/screenshot?format=bmp").status == 400
    assert _get(shared_daemon, session, "/content?target=none").json["code"] == "target_not_found"
    assert shared_daemon.show(session["id"])["clients"] == 0


def test_a_page_that_goes_from_one_document_to_the_next_is_waited_for(
    shared_daemon: Daemon, session: dict[str, Any], site: Site
) -> None:
    hosts = ("127.0.0.1", "localhost")  # each in a process of its own

    async def wander(stop: asyncio.Event) -> None:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Page.enable", session=page)
            for number in itertools.count():
                if stop.is_set():
                    return
                url = site.url("/page", hosts[number % 2])
                await client.call("Page.navigate", {"url": url}, page)
                await client.wait_event("Page.loadEventFired")
                await asyncio.sleep(0.02)

    def look() -> list[int]:
        paths = ("/content", "/screenshot", "/screenshot?full=1", "/pdf") * 5
        return [_get(shared_daemon, session, path).status for path in paths]

    async def scenario() -> list[int]:
        stop = asyncio.Event()
        wandering = asyncio.create_task(wander(stop))
        try:
            return await asyncio.to_thread(look)
        finally:
            stop.set()
            await wandering

    assert set(run(scenario())) == {200}


def test_a_page_that_has_only_just_been_opened_is_waited_for(
    shared_daemon: Daemon, session: dict[str, Any], site: Site
) -> None:
    for path in ("/screenshot?full=1", "/content", "/screenshot", "/pdf") * 5:
        opened = shared_daemon.get(f"/sessions/{session['id']}/json/new?{site.url('/page')}", "PUT")
        answer = _get(shared_daemon, session, path)
        assert answer.status == 200, (path, answer.body)
        shared_daemon.get(f"/sessions/{session['id']}/json/close/{opened.json['id']}")


def test_a_page_that_is_closed_while_it_is_looked_at_is_not_there(
    shared_daemon: Daemon, session: dict[str, Any], site: Site
) -> None:
    base = f"/sessions/{session['id']}/json"
    wanted = shared_daemon.get(f"{base}/new?about:blank", "PUT").json["id"]

    async def scenario() -> Answer:
        looking = asyncio.create_task(
            asyncio.to_thread(_get, shared_daemon, session, f"/pdf?target={wanted}")
        )
        await asyncio.to_thread(shared_daemon.get, f"{base}/close/{wanted}")
        return await looking

    answer = run(scenario())
    assert answer.status == 200 or answer.json["code"] == "target_not_found", answer.body


def test_the_capture_option_is_checked(shared_daemon: Daemon) -> None:
    for wrong in ({"types": ["Nothing"]}, {"statuses": ["9xx"]}, {"urls": [""]}, {"url": "*"}):
        answer = shared_daemon.ask("POST", "/v1/sessions", {"capture": wrong})
        assert answer.status == 400, wrong
        assert "capture" in answer.json["detail"]


def test_it_does_not_disturb_a_client_that_intercepts(
    shared_daemon: Daemon, new_session: NewSession, site: Site
) -> None:
    session = new_session(capture={}, console=True)

    async def scenario() -> Any:
        async with connect(session["webSocketDebuggerUrl"]) as client:
            _, page = await client.open_page()
            await client.call("Fetch.enable", {"patterns": [{"urlPattern": "*made-up*"}]}, page)
            expression = f"fetch('{site.url('/made-up')}', {{mode: 'no-cors'}}).then(() => 1)"
            sent = await client.send("Runtime.evaluate", {"expression": "1"}, page)
            await client.answer(sent)
            waiting = asyncio.create_task(client.evaluate(expression, page))
            await asyncio.sleep(0)
            while not (p := [e for e in client.events if e.get("method") == "Fetch.requestPaused"]):
                await asyncio.sleep(0.01)
            body = {"requestId": p[0]["params"]["requestId"], "responseCode": 418}
            await client.send("Fetch.fulfillRequest", body, page)
            return await waiting

    assert run(scenario()) == 1
    wait_for(
        lambda: [r["status"] for r in _responses(shared_daemon, session)] == [418],
        "what the client made up is kept as an answer",
    )
