"""The tokens' file: what it takes, what it refuses, and that no error gives a token away."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chromepool import tokens
from chromepool.errors import ConfigError

ONE, TWO = "0123456789abcdef", "fedcba9876543210-and-more"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,9}", fullmatch=True)
SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=80)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


GOOD = "0123456789abcdef0123"


def refused(text: str) -> ConfigError:
    """The error; that the file went through is the failure."""
    with pytest.raises(ConfigError) as caught:
        tokens.parse(text, "/etc/tokens")
    return caught.value


# -- what is taken --


def test_names_and_digests_are_found() -> None:
    assert tokens.parse(f"ci {ONE}\ndev {TWO}\n", "f") == {"ci": digest(ONE), "dev": digest(TWO)}


def test_nothing_found_is_a_token() -> None:
    found = tokens.parse(f"ci {ONE}\n", "f")
    assert ONE not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        f"ci {ONE}",
        f"  ci \t {ONE}  \r\n",
        f"\n\n# for CI\nci {ONE}\n#dev {TWO}\n   # dev {TWO}\n",
        f"#\n \t\nci {ONE}\n##\n",
    ],
)
def test_blank_lines_spaces_and_comments_do_not_matter(text: str) -> None:
    assert tokens.parse(text, "f") == {"ci": digest(ONE)}


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody\n"])
def test_an_empty_file_has_no_tokens(text: str) -> None:
    assert tokens.parse(text, "f") == {}


@pytest.mark.parametrize("name", ["a", "0", "CI-2", "a" * 64, "a--"])
def test_names(name: str) -> None:
    assert tokens.parse(f"{name} {ONE}", "f") == {name: digest(ONE)}


@pytest.mark.parametrize(
    "name", ["-a", "a_b", "a.b", "a/b", "a:b", "ä", "a" * 65, "a\0", "\ufeffa"]
)
def test_what_is_no_name(name: str) -> None:
    error = refused(f"{name} {ONE}")
    assert "/etc/tokens:1: this is not a name" in error.detail
    assert ONE not in str(error)


def test_a_token_has_the_shortest_length_or_more() -> None:
    assert tokens.SHORTEST == len(ONE) == 16
    assert tokens.parse(f"ci {ONE}", "f")
    error = refused(f"ci {ONE[:15]}")
    assert "/etc/tokens:1: the token is shorter than 16" in error.detail
    assert "openssl rand" in error.remedy
    assert ONE[:15] not in str(error)


def test_a_token_of_other_letters_is_one() -> None:
    token = "пароль-и-пароль-🔑"
    assert tokens.parse(f"ci {token}", "f") == {"ci": digest(token)}


def test_a_token_may_begin_like_a_comment() -> None:
    assert tokens.parse(f"ci #{ONE}", "f") == {"ci": digest(f"#{ONE}")}


# -- what is refused, and where --

BROKEN = [
    "ci",
    ONE,
    f"ci {ONE} {TWO}",
    f"ci {ONE} # for CI",
    f"ci,{ONE}",
    f"ci={ONE}",
    f"ci:{ONE}",
    f"'ci' {ONE}",
    "ci tooshort",
]


@pytest.mark.parametrize("line", BROKEN)
@pytest.mark.parametrize("before", [0, 1, 7])
def test_the_error_names_the_line_and_no_token(line: str, before: int) -> None:
    lines = ["# comment", "", f"good {TWO}", "", "", "#", ""][:before]
    error = refused("\n".join([*lines, line, "bad", ""]))
    assert error.detail.startswith(f"/etc/tokens:{before + 1}: ")
    for secret in (ONE, TWO, "tooshort"):
        assert secret not in str(error)


def test_a_name_is_there_once() -> None:
    error = refused(f"ci {ONE}\n#\nci {TWO}\n")
    assert error.detail.startswith("/etc/tokens:3: the name or the token")
    assert ONE not in str(error)
    assert TWO not in str(error)


def test_a_token_belongs_to_one_name() -> None:
    error = refused(f"ci {ONE}\ndev {ONE}\n")
    assert error.detail.startswith("/etc/tokens:2: the name or the token")
    assert ONE not in str(error)


def test_names_that_differ_in_case_are_two() -> None:
    assert set(tokens.parse(f"ci {ONE}\nCI {TWO}", "f")) == {"ci", "CI"}


@settings(deadline=None)
@given(st.dictionaries(NAMES, SECRETS, max_size=8).filter(lambda d: len(set(d.values())) == len(d)))
def test_any_names_and_tokens_are_found_again(pairs: dict[str, str]) -> None:
    found = tokens.parse("".join(f"{name} {token}\n" for name, token in pairs.items()), "f")
    assert found == {name: digest(token) for name, token in pairs.items()}
    for name, token in pairs.items():
        assert tokens.owner_of(token, found) == name
        assert tokens.owner_of(token + "x", found) is None


@settings(deadline=None)
@given(st.text())
def test_any_text_gives_tokens_or_an_error_with_a_line(text: str) -> None:
    try:
        tokens.parse(text, "f")
    except ConfigError as error:
        assert re.match(r"f:[1-9]\d*: ", error.detail)  # noqa: PT017


# -- the file --


def _file(tmp_path: Path, data: bytes, mode: int = 0o600) -> str:
    path = tmp_path / "tokens"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o660])
def test_a_file_of_its_readers_is_read(tmp_path: Path, mode: int) -> None:
    assert tokens.load(_file(tmp_path, f"ci {ONE}\n".encode(), mode)) == {"ci": digest(ONE)}


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o777])
def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = _file(tmp_path, f"ci {ONE}\n".encode(), mode)
    with pytest.raises(ConfigError, match="read or written by every user") as caught:
        tokens.load(path)
    assert caught.value.remedy == f"Run `chmod o= {path}`."
    assert ONE not in str(caught.value)


def test_no_file_has_no_tokens() -> None:
    assert tokens.load("") == {}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = f"{tmp_path}/none"
    with pytest.raises(ConfigError) as caught:
        tokens.load(path)
    assert caught.value.detail == f"tokens_file {path}: No such file or directory."


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ConfigError, match="Is a directory"):
        tokens.load(str(tmp_path))


def test_what_is_not_text_is_an_error_that_keeps_the_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file is not text") as caught:
        tokens.load(_file(tmp_path, f"ci {ONE}\n".encode() + b"\xff\xfe\n"))
    assert ONE not in str(caught.value)


def test_an_error_in_the_file_names_it(tmp_path: Path) -> None:
    path = _file(tmp_path, b"#\nci short\n")
    with pytest.raises(ConfigError) as caught:
        tokens.load(path)
    assert caught.value.detail.startswith(f"{path}:2: ")


# -- who has a token --

KNOWN = {"ci": digest(ONE), "dev": digest(TWO)}


@dataclasses.dataclass
class Try:
    token: str
    owner: str | None


@pytest.mark.parametrize(
    "tried",
    [
        Try(ONE, "ci"),
        Try(TWO, "dev"),
        Try("", None),
        Try(" ", None),
        Try(ONE[:-1], None),
        Try(ONE + "0", None),
        Try(ONE.upper(), None),
        Try(f" {ONE}", None),
        Try(f"{ONE}\n", None),
        Try(f"{ONE}\0", None),
        Try("ci", None),
        Try(f"ci {ONE}", None),
        Try(digest(ONE), None),
        Try("\uff10123456789abcdef", None),
        Try("ключ" * 8, None),
        Try("\ud800" * 16, None),
        Try(ONE + "\udcff", None),
        Try("x" * 1_000_000, None),
    ],
    ids=lambda tried: ascii(tried.token[:20]),
)
def test_whose_a_token_is(tried: Try) -> None:
    assert tokens.owner_of(tried.token, KNOWN) == tried.owner


def test_where_there_are_no_tokens_none_is_right() -> None:
    for token in ("", ONE, digest("")):
        assert tokens.owner_of(token, {}) is None


def test_a_token_of_other_letters_is_known_by_them() -> None:
    known = tokens.parse("ci пароль-и-пароль-🔑", "f")
    assert tokens.owner_of("пароль-и-пароль-🔑", known) == "ci"
    assert tokens.owner_of("пароль-и-пароль-🔒", known) is None


def test_every_known_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many comparisons for the first, the last and a wrong one."""
    compared: list[str] = []

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for token in (ONE, TWO, "wrong"):
        compared.clear()
        tokens.owner_of(token, KNOWN)
        assert compared == list(KNOWN.values())


@settings(deadline=None)
@given(st.text(st.characters()))
def test_any_text_has_an_owner_or_none(token: str) -> None:
    assert tokens.owner_of(token, KNOWN) == {ONE: "ci", TWO: "dev"}.get(token)


def test_swapped_words_do_not_give_the_token_away() -> None:
    assert GOOD not in str(refused(f"{GOOD} ci\n"))
    assert GOOD not in str(refused(f"{GOOD} {GOOD}x\n{GOOD} {GOOD}y\n"))


def test_a_file_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ci {GOOD}\n")
    path.chmod(0o602)
    with pytest.raises(ConfigError, match="written by every user"):
        tokens.load(str(path))


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ConfigError):
        tokens.load("a\0b")
