"""Whose sessions are whose: uids on the Unix socket, tokens and addresses on TCP."""

from __future__ import annotations

import grp
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

import chromepool
from testing import uids
from testing.cdp import run
from testing.daemon import Answer, Daemon
from testing.daemon_pool import Daemons

ALICE, BOB, STAFF = (uids.user(number) for number in range(3))
TOKENS = {"alice": "a" * 32, "bob": "b" * 32}
Ask = Callable[..., Answer]


def _write_tokens(file: Path) -> Path:
    file.write_text("".join(f"{name} {token}\n" for name, token in TOKENS.items()))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_tokens(tmp_path_factory.mktemp("tokens") / "tokens")


def _as(uid: int, groups: tuple[int, ...] = ()) -> Callable[..., Answer]:
    """Asks as another user, with their own process."""

    def ask(daemon: Daemon, method: str, path: str, body: object = None) -> Answer:
        argv = ["curl", "-sS", "--unix-socket", str(daemon.control_socket), "-X", method]
        argv += ["-w", "\n%{http_code}", f"http://localhost{path}"]
        if body is not None:
            argv += ["-d", json.dumps(body)]
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}"]
        become += [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
        done = subprocess.run([*become, *argv], capture_output=True, timeout=60, check=False)
        if done.returncode:
            return Answer(0, {}, done.stderr)
        data, _, status = done.stdout.rpartition(b"\n")
        return Answer(int(status), {}, data)

    return ask


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")


@root_only
def test_users_see_and_end_their_own_and_root_all(folder: Path) -> None:
    alice, bob, root = _as(ALICE), _as(BOB), _as(0)
    with Daemon(folder, warm_sessions=1) as daemon:
        session = alice(daemon, "POST", "/v1/sessions", {"labels": {"of": "alice"}}).json
        assert session["owner"] == f"uid:{ALICE}"
        path = f"/v1/sessions/{session['id']}"
        for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/keepalive")):
            answer = bob(daemon, method, where)
            assert (answer.status, answer.json["code"]) == (404, "session_not_found")
        assert bob(daemon, "GET", "/v1/sessions?all=1").json == {"sessions": []}
        assert len(alice(daemon, "GET", "/v1/sessions?all=1").json["sessions"]) == 1
        assert root(daemon, "GET", path).json["id"] == session["id"]
        assert alice(daemon, "DELETE", path).status == 204
        own = bob(daemon, "POST", "/v1/sessions").json
        assert root(daemon, "DELETE", f"/v1/sessions/{own['id']}").status == 204
        assert alice(daemon, "GET", "/v1/sessions?all=1").json["sessions"][0]["id"] == session["id"]


@root_only
def test_a_profile_of_one_name_is_another_for_each_user(daemons: Daemons) -> None:
    daemon = daemons()
    for uid in (ALICE, BOB):
        answer = _as(uid)(daemon, "POST", "/v1/sessions", {"profile": "of-two"})
        assert answer.status == 201, answer.body
    assert len(list((daemon.state_dir / "kept").glob("*/of-two"))) == 2


@root_only
def test_members_of_the_services_group_see_everything(folder: Path) -> None:
    group = grp.getgrgid(next(g.gr_gid for g in grp.getgrall() if g.gr_gid not in (0, BOB)))
    with Daemon(folder, group=group.gr_name) as daemon:
        session = _as(ALICE)(daemon, "POST", "/v1/sessions").json
        path = f"/v1/sessions/{session['id']}"
        assert _as(BOB)(daemon, "GET", path).status == 404
        assert _as(BOB, (group.gr_gid,))(daemon, "GET", path).status == 200
        assert _as(BOB, (group.gr_gid + 1,))(daemon, "GET", path).status == 404
        assert daemon.control_socket.stat().st_gid == group.gr_gid


@root_only
def test_the_sockets_mode_can_keep_others_out(folder: Path) -> None:
    with Daemon(folder, socket_mode="0600") as daemon:
        assert _as(ALICE)(daemon, "GET", "/healthz").status == 0
        assert daemon.ask("GET", "/healthz").status == 200


@root_only
def test_the_limit_of_creations_is_each_users_own(folder: Path) -> None:
    with Daemon(folder, creations_per_minute=1) as daemon:
        for uid in (ALICE, BOB):
            assert _as(uid)(daemon, "POST", "/v1/sessions").status == 201
            assert _as(uid)(daemon, "POST", "/v1/sessions").status == 429


def test_a_group_that_is_not_there_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no group 'chromepool-nobody'"):
        Daemon(tmp_path, group="chromepool-nobody").start()


# -- TCP --


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _upgrade() -> dict[str, str]:
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }


def test_a_token_is_needed_to_connect_and_go_and_a_wrong_one_is_told_from_none(
    daemons: Daemons, tokens: Path
) -> None:
    daemon = daemons(tokens_file=tokens)
    for query, headers in (
        ("/", {}),
        ("/?token=wrong", {}),
        ("/?token=", {}),
        ("/", _bearer("x" * 32)),
        ("/", {"Authorization": f"Basic {TOKENS['alice']}"}),
        (f"/?token={TOKENS['alice']}x", {}),
    ):
        answer = daemon.get(query, headers=headers | _upgrade())
        assert (answer.status, answer.json["code"]) == (401, "unauthorized"), query
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert daemon.chromes() == []

    async def drive(query: str, headers: dict[str, str]) -> str:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(daemon.ws_url + query, headers=headers),
        ):
            sessions = daemon.ask("GET", "/v1/sessions").json["sessions"]
            return str(next(s["owner"] for s in sessions if s["state"] == "ready"))

    assert run(drive(f"?token={TOKENS['alice']}", {})) == "token:alice"
    assert run(drive("", _bearer(TOKENS["bob"]))) == "token:bob"
    for secret in TOKENS.values():
        assert secret not in daemon.text


def test_a_sessions_id_is_enough_unless_the_operator_wants_the_token_too(
    daemons: Daemons, tokens: Path
) -> None:
    daemon = daemons(tokens_file=tokens)
    path = f"/sessions/{daemon.new()['id']}/json/version"
    assert daemon.get(path).status == 200
    daemon = daemons(tokens_file=tokens, require_token=True, control_tcp=True)
    made = daemon.get("/v1/sessions", "POST", _bearer(TOKENS["alice"]))
    assert made.status == 201
    paths = [f"/sessions/{made.json['id']}/json/{what}" for what in ("version", "list")]
    paths.append(f"/sessions/{made.json['id']}/devtools/browser/x")
    for path in (*paths, "/json/protocol"):
        assert daemon.get(path).json["code"] == "unauthorized"
        assert daemon.get(path, headers=_bearer("z" * 32)).json["code"] == "unauthorized"
    for path in paths:
        assert daemon.get(path, headers=_bearer(TOKENS["bob"])).status == 404
    assert daemon.get(paths[0], headers=_bearer(TOKENS["alice"])).status == 200
    assert daemon.get(f"{paths[0]}?token={TOKENS['alice']}").status == 200


def test_where_tokens_are_required_a_users_session_takes_any_of_them(
    daemons: Daemons, tokens: Path
) -> None:
    daemon = daemons(tokens_file=tokens, require_token=True)
    path = f"/sessions/{daemon.new()['id']}/json/version"
    assert daemon.get(path).json["code"] == "unauthorized"
    assert daemon.get(path, headers=_bearer(TOKENS["bob"])).status == 200

    async def drive() -> str:
        token = TOKENS["alice"]
        async with (
            chromepool.Client(daemon.control_socket, token=token) as client,
            client.session() as session,
        ):
            return str(await (await session.pyppeteer()).version())

    assert "Chrome" in run(drive())


@root_only
def test_a_page_that_broke_out_of_its_chrome_is_no_client(daemons: Daemons) -> None:
    daemon = daemons()
    uid = int(str(daemon.settings["uid_base"]))
    answer = _as(uid + 1)(daemon, "POST", "/v1/sessions")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


def test_over_tcp_each_token_sees_its_own(daemons: Daemons, tokens: Path) -> None:
    daemon = daemons(tokens_file=tokens, control_tcp=True)
    assert daemon.get("/v1/sessions").json["code"] == "unauthorized"
    assert daemon.get("/v1/status").json["code"] == "unauthorized"
    alice, bob = _bearer(TOKENS["alice"]), _bearer(TOKENS["bob"])
    made = daemon.get("/v1/sessions", "POST", alice)
    assert made.json["owner"] == "token:alice"
    assert made.json["webSocketDebuggerUrl"].startswith(f"ws://{daemon.authority}/sessions/")
    path = f"/v1/sessions/{made.json['id']}"
    assert daemon.get(path, headers=bob).json["code"] == "session_not_found"
    assert daemon.get(path, "DELETE", bob).status == 404
    assert daemon.get("/v1/sessions?all=1", headers=bob).json == {"sessions": []}
    assert daemon.ask("GET", path).status == 200  # root, on the Unix socket
    assert daemon.get(path, "DELETE", alice).status == 204


def test_the_control_api_is_not_on_tcp_unless_asked_for(daemons: Daemons, tokens: Path) -> None:
    daemon = daemons(tokens_file=tokens)
    answer = daemon.get("/v1/sessions", headers=_bearer(TOKENS["alice"]))
    assert (answer.status, answer.json["code"]) == (404, "route_not_found")


def test_a_tokens_file_that_everybody_can_read_is_refused_at_start(
    folder: Path,
) -> None:
    tokens = _write_tokens(folder / "tokens")
    tokens.chmod(0o644)
    with pytest.raises(AssertionError, match="can be read or written by every user") as refused:
        Daemon(folder, tokens_file=tokens).start()
    assert TOKENS["alice"] not in str(refused.value)
