"""Settings: every kind of mistake from every source, and who wins over whom."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chromepool import config, config_sources
from chromepool.config import FIELDS, Settings, env_of, flag_of
from chromepool.errors import ConfigError
from chromepool.setting import MIB

Load = Callable[[str, str], Settings]


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    return config_sources.load(flags or {}, environ or {}, file)


def _sources(tmp_path: Path) -> dict[str, Load]:
    def from_file(name: str, value: str) -> Settings:
        path = tmp_path / "settings.yaml"
        path.write_text(f"{name}: {value}\n")
        return load(file=path)

    return {
        "flag": lambda name, value: load({name: value}),
        "environment": lambda name, value: load(environ={env_of(name): value}),
        "file": from_file,
    }


@pytest.fixture(params=["flag", "environment", "file"])
def load_one(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    """``load_one(name, text)`` gives one setting through one of the three sources."""
    return _sources(tmp_path)[request.param]


def _kind(name: str) -> str:
    return type(FIELDS[name].default).__name__


NUMBERS = [name for name in FIELDS if _kind(name) in ("int", "float")]
WHOLE = [n for n in FIELDS if _kind(n) == "int" and not FIELDS[n].metadata["size"]]
SIZES = [name for name in FIELDS if FIELDS[name].metadata["size"]]


def refused(load_one: Load, name: str, text: str) -> str:
    """The error's text; that the mistake went through is the failure."""
    try:
        load_one(name, text)
    except ConfigError as error:
        return error.detail
    raise AssertionError(f"{name} = {text[:50]!r} was taken")


def test_what_is_no_number_is_refused_by_name(load_one: Load) -> None:
    for name in NUMBERS:
        for bad in ("-", "ten", "1,5", "nan", "inf", "-inf", "1 2", "[1]", "{a: 1}", "1e999"):
            assert name in refused(load_one, name, bad)


def test_other_types_are_refused() -> None:
    values: list[object] = [True, False, [], {}, [1], "", b"1", 1 + 2j, object(), float("nan")]
    for name in NUMBERS:
        assert load({name: None}) == load()  # a flag that was not given
        for value in values:
            with pytest.raises(ConfigError, match=name):
                load({name: value})


NOT_ALONE = {"longest_idle_timeout_s": {"idle_timeout_s": 0}}
"""Settings whose lowest value does not go together with the defaults of others."""


def test_bounds_are_held_and_included(load_one: Load) -> None:
    for name in NUMBERS:
        real = _kind(name) == "float"
        low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
        as_text = str if real else (lambda number: str(int(number)))
        if name in NOT_ALONE:
            assert load({name: as_text(low)} | NOT_ALONE[name]).values()[name] == low
        else:
            assert load_one(name, as_text(low)).values()[name] == low
        step = 0.5 if real else 1
        assert name in refused(load_one, name, as_text(low - step))
        if math.isfinite(high):
            assert name in refused(load_one, name, as_text(high + step))
            others = {"gateway_uid": 9, "max_sessions": 10_000, "longest_idle_timeout_s": "2592000"}
            assert load(others | {name: as_text(high)}).values()[name]


def test_whole_numbers_are_whole(load_one: Load) -> None:
    for name in WHOLE:
        for bad in ("1.5", "100.0", "1e3", "9" * 5000):
            refused(load_one, name, bad)


def test_sizes(load_one: Load) -> None:
    for text, size in {
        "536870912": 512 * MIB,
        "512MiB": 512 * MIB,
        "512Mi": 512 * MIB,
        "512mib": 512 * MIB,
        " 512 MiB ": 512 * MIB,
        "1GiB": 1024 * MIB,
        "1g": 1000**3,
        "1GB": 1000**3,
        "600MB": 600 * 1000**2,
        "700000k": 700_000_000,
        "700000KiB": 700_000 * 1024,
        "700000000b": 700_000_000,
    }.items():
        assert load_one("pool_memory_bytes", text).pool_memory_bytes == size


def test_bad_sizes(load_one: Load) -> None:
    bad = ["512XiB", "MiB", "0.5GiB", "-1GiB", "1GiBB", "1TiB", "1 G i B", "1GiB2", "9" * 400]
    for name in SIZES:
        for text in (*bad, "9" * 5000, "9" * 30 + "GiB", str(2**62 + 1)):
            refused(load_one, name, text)


def test_true_and_false(load_one: Load) -> None:
    for text in ("1", "true", "TRUE", "yes", "Yes", "on", " on "):
        assert load_one("no_sandbox", text).no_sandbox is True
    for text in ("0", "false", "False", "no", "off", " OFF "):
        assert load_one("no_sandbox", text).no_sandbox is False
    for text in ("2", "-1", "maybe", "truee", "y", "[]", "1.0"):
        assert "no_sandbox" in refused(load_one, "no_sandbox", text)


def test_text_in_the_file_is_text(tmp_path: Path) -> None:
    from_file = _sources(tmp_path)["file"]
    for name in ("host", "chrome", "state_dir", "allowed_hosts"):
        for value in ("5", "null", "true", "[a]", "{a: b}", "2020-01-01", "1.5"):
            assert "is not text" in refused(from_file, name, value)


def test_log_level_is_one_of_four(load_one: Load) -> None:
    for bad in ("loud", "INFO", "info ", "10", "warn"):
        assert "log_level" in refused(load_one, "log_level", f"'{bad}'")


# -- the file --

BAD_FILES = {
    "a list": b"- port: 1\n",
    "an empty list": b"[]\n",
    "false": b"false\n",
    "zero": b"0\n",
    "an empty text": b"''\n",
    "a number": b"5\n",
    "a text": b"hello\n",
    "not YAML": b"port: [1\n",
    "a tab": b"a:\n\t- b\n",
    "a tag": b"port: !!python/object/apply:os.getpid []\n",
    "an alias to nothing": b"port: *x\n",
    "two documents": b"port: 1\n---\nport: 2\n",
    "a list as key": b"? [a]\n: b\n",
    "not UTF-8": b"host: \xff\xfe\n",
    "a NUL": b"host: a\0b\n",
    "a day that is none": b"chrome: 2020-13-45\n",
    "an endless number": b"port: " + b"9" * 5000 + b"\n",
    "depth": b"port: " + b"[" * 3000 + b"\n",
    "an unknown key": b"prot: 1\n",
    "a number as key": b"1: 2\n",
    "null as key": b"~: 2\n",
    "another spelling": b"max-sessions: 2\n",
    "another case": b"Port: 2\n",
    "the variable's name": b"CHROMEPOOL_PORT: 2\n",
}


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for what, text in BAD_FILES.items():
        path.write_bytes(text)
        with pytest.raises(ConfigError) as caught:
            raise AssertionError(f"{what} was taken: {load(file=path)}")
        assert str(path) in caught.value.detail


LINES = {
    "an unknown setting": ("port: 1\nhots: a\n", 2, "Did you mean host?"),
    "nothing like it": ("port: 1\n\n\nzzz: a\n", 4, "no setting 'zzz'"),
    "a wrong type": ("# first\nport: many\n", 2, "port = 'many' is not a whole number"),
    "out of bounds": ("host: a\nport: 70000\n", 2, "is not between 0 and 65535"),
    "a list for a number": ("host: a\nport:\n  - 1\n", 2, "port = [1]"),
    "set twice": ("port: 1\nhost: a\nport: 2\n", 3, "a second time"),
    "no colon": ("port: 1\nhost\n", 2, "this is not YAML"),
    "an open bracket": ("port: 1\nhost: [a\n", 2, "this is not YAML"),
    "a tag": ("port: 1\nhost: !!python/object:os.system x\n", 2, "this is not YAML"),
    "a day that is none": ("port: 1\nchrome: 2020-13-45\n", 2, "month"),
    "a list": ("- port\n", 1, "name: value"),
    "more than another": ("port: 1\nwarm_sessions: 20\n", 2, "more than max_sessions = 10"),
    "a mode": ("port: 1\nsocket_mode: '0999'\n", 2, "not a mode"),
    "a level": ("log_level: loud\n", 1, "is not debug"),
    "needs another": ("port: 1\ncontrol_tcp: true\n", 2, "needs a tokens_file"),
    "a token without tokens": ("require_token: yes\n", 1, "needs a tokens_file"),
    "the gateway's uid": ("uid_base: 10\ngateway_uid: 11\n", 2, "one of the sessions' uids"),
    "idle too long": ("port: 1\nidle_timeout_s: 90000\n", 2, "longest_idle_timeout_s"),
}


@pytest.mark.parametrize("what", LINES)
def test_each_kind_of_mistake_is_told_with_its_line(tmp_path: Path, what: str) -> None:
    text, line, said = LINES[what]
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file=path)
    assert caught.value.detail.startswith(f"{path}:{line}: "), caught.value.detail
    assert said in caught.value.detail


def test_a_mistake_between_sources_names_the_source(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("max_sessions: 3\n")
    with pytest.raises(ConfigError, match="--warm-sessions: warm_sessions = 4 is more than"):
        load({"warm_sessions": 4}, file=path)
    with pytest.raises(ConfigError, match="CHROMEPOOL_WARM_SESSIONS: "):
        load(environ={"CHROMEPOOL_WARM_SESSIONS": "4"}, file=path)


def test_what_a_reload_changes_and_what_it_does_not() -> None:
    old = Settings(max_sessions=3, port=1, log_level="info", chrome="/a")
    new = Settings(max_sessions=4, port=2, log_level="debug", chrome="/b")
    merged, fixed = config.merge_live(old, new)
    assert (merged.max_sessions, merged.log_level) == (4, "debug")
    assert (merged.port, merged.chrome) == (1, "/a")
    assert fixed == ["port", "chrome"]
    assert config.merge_live(old, old) == (old, [])


def test_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    for text in ("", "\n", "# nothing\n", "---\n", "{}\n", "null\n"):
        path.write_text(text)
        assert load(file=path) == load()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(file=tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(file=tmp_path)


@given(st.binary(max_size=80))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_raises_anything_else(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text)
    with contextlib.suppress(ConfigError):
        load(file=path)


# -- the environment --

ALIASES = {name: f.metadata["alias"] for name, f in FIELDS.items() if f.metadata["alias"]}


def test_aliases() -> None:
    for name, alias in ALIASES.items():
        value = load().values()[name] + 1
        given = value / FIELDS[name].metadata["alias_unit"]
        assert load(environ={alias: f"{given:.0f}"}).values()[name] == value
        for variable in (alias, env_of(name)):
            detail = refused(lambda name, text: load(environ={name: text}), variable, "junk")
            assert detail.startswith(f"{variable}: ")


def test_the_long_name_beats_the_alias() -> None:
    environ = {"MAX_SESSIONS": "3", "CHROMEPOOL_MAX_SESSIONS": "4"}
    assert load(environ=environ).max_sessions == 4


def test_empty_variables_are_not_set() -> None:
    assert load(environ={env_of(name): "" for name in FIELDS}) == load()


def test_a_stranger_in_the_environment_is_nothing_to_us() -> None:
    assert load(environ={"PORT": "x", "port": "x", "CHROMEPOOL_": "x"}) == load()


# -- together --


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("port: 1\nmax_sessions: 1\nsession_pids: 101\n")
    environ = {"CHROMEPOOL_PORT": "2", "MAX_SESSIONS": "2"}
    loaded = load({"port": 3}, environ, path)
    assert (loaded.port, loaded.max_sessions, loaded.session_limits.pids) == (3, 2, 101)
    assert loaded.session_limits.files == FIELDS["session_files"].default


def test_a_false_flag_beats_a_true_variable() -> None:
    assert load({"no_sandbox": False}, {"CHROMEPOOL_NO_SANDBOX": "1"}).no_sandbox is False
    assert load({"port": 0}, {"CHROMEPOOL_PORT": "5"}).port == 0


def test_an_overridden_mistake_is_still_a_mistake() -> None:
    with pytest.raises(ConfigError, match="CHROMEPOOL_PORT"):
        load({"port": 3}, {"CHROMEPOOL_PORT": "x"})


def test_the_table() -> None:
    for name, field in FIELDS.items():
        assert flag_of(name) == "--" + name.replace("_", "-")
        assert env_of(name) == "CHROMEPOOL_" + name.upper()
        assert field.metadata["help"].endswith(".")
        if name in NUMBERS:
            assert field.metadata["low"] <= field.default <= field.metadata["high"]


def test_the_defaults_are_loadable_as_text() -> None:
    """What the reference page shows can be written back."""
    text = {env_of(name): str(field.default) for name, field in FIELDS.items()}
    assert load(environ=text) == load()


def test_folders_have_defaults() -> None:
    loaded = load()
    assert Path(loaded.runtime_dir).is_absolute()
    assert Path(loaded.state_dir).is_absolute()
    assert loaded.control_socket.parent == Path(loaded.runtime_dir)
    assert load({"state_dir": "/x"}).profiles_dir == Path("/x/profiles")


def test_session_limits_are_the_settings() -> None:
    limits = {name: value + 1 for name, value in dataclasses.asdict(load().session_limits).items()}
    written = {f"session_{name}": str(value) for name, value in limits.items()}
    assert dataclasses.asdict(load(written).session_limits) == limits
    assert written.keys() <= FIELDS.keys()


# -- what would make a session, or the gateway, root or each other's master --


def test_no_uid_is_root_or_nobody_at_all(load_one: Load) -> None:
    for name in ("uid_base", "gateway_uid"):
        for uid in (0, -1, 2**32 - 1, 2**32, 2**64 - 1):
            assert name in refused(load_one, name, str(uid))


def test_the_highest_uid_of_all_is_still_one() -> None:
    high = {name: FIELDS[name].metadata["high"] for name in ("uid_base", "uid_count")}
    assert sum(high.values()) < 2**32 - 1


def test_the_gateway_is_not_one_of_the_sessions() -> None:
    uids = {"uid_base": 1000, "uid_count": 10}
    for gateway in (1000, 1001, 1009):
        with pytest.raises(ConfigError, match="gateway_uid"):
            load(uids | {"gateway_uid": gateway})
    for beside in (999, 1010):
        load(uids | {"gateway_uid": beside})
