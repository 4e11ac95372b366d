"""What memory is left, by the files of groups and of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from chromepool.gateway.capacity import memory

V1_UNLIMITED = 9223372036854771712
"""What v1 writes for no limit: 2^63 less a byte, rounded down to pages."""


def _group(folder: Path, files: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").touch()
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return folder


def v2(folder: Path, cap: object, used: object, cache: int = 0) -> Path:
    stat = f"anon 7\nfile 9000\nactive_file 4000\ninactive_file {cache}\ntotal_inactive_file 77"
    return _group(folder, {"memory.max": cap, "memory.current": used, "memory.stat": stat})


def v1(folder: Path, cap: object, used: object, cache: int = 0) -> Path:
    stat = f"cache 9000\ninactive_file 77\ntotal_active_file 4000\ntotal_inactive_file {cache}"
    files = {"memory.limit_in_bytes": cap, "memory.usage_in_bytes": used, "memory.stat": stat}
    return _group(folder, files)


@pytest.fixture(params=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def group(version: str, folder: Path, cap: object, used: object, cache: int = 0) -> Path:
    return (v1 if version == "v1" else v2)(folder, cap, used, cache)


# -- one group --


def test_what_is_left_is_the_cap_less_what_is_used(version: str, tmp_path: Path) -> None:
    assert memory.group_left(group(version, tmp_path, 1000, 300)) == 700


def test_page_cache_counts_as_free(version: str, tmp_path: Path) -> None:
    assert memory.group_left(group(version, tmp_path, 1000, 900, cache=250)) == 350


def test_there_is_never_more_left_than_the_cap(version: str, tmp_path: Path) -> None:
    """The files are read one after the other, so the cache may seem larger than all of it."""
    assert memory.group_left(group(version, tmp_path, 1000, 100, cache=101)) == 1000


def test_a_full_group_has_nothing_left(version: str, tmp_path: Path) -> None:
    assert memory.group_left(group(version, tmp_path, 1000, 1000)) == 0


def test_over_its_cap_there_is_less_than_nothing(version: str, tmp_path: Path) -> None:
    """After the cap was lowered."""
    assert memory.group_left(group(version, tmp_path, 1000, 1600, cache=100)) == -500


def test_a_cap_of_nothing_is_a_cap(version: str, tmp_path: Path) -> None:
    assert memory.group_left(group(version, tmp_path, 0, 0)) == 0


@pytest.mark.parametrize("cap", ["max", V1_UNLIMITED, (1 << 63) - 1, 1 << 63, 1 << 60, "-1", ""])
def test_no_cap_is_no_number(version: str, tmp_path: Path, cap: object) -> None:
    assert memory.group_left(group(version, tmp_path, cap, 300)) is None


def test_the_largest_machines_cap_is_still_a_cap(version: str, tmp_path: Path) -> None:
    most = (1 << 60) - 1
    assert memory.group_left(group(version, tmp_path, most, 1)) == most - 1


@pytest.mark.parametrize("name", ["memory.max", "memory.current"])
def test_without_its_file_a_v2_group_tells_nothing(tmp_path: Path, name: str) -> None:
    (v2(tmp_path, 1000, 300) / name).unlink()
    assert memory.group_left(tmp_path) is None


@pytest.mark.parametrize("name", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
def test_without_its_file_a_v1_group_tells_nothing(tmp_path: Path, name: str) -> None:
    (v1(tmp_path, 1000, 300) / name).unlink()
    assert memory.group_left(tmp_path) is None


def test_without_its_stat_a_group_has_no_page_cache(version: str, tmp_path: Path) -> None:
    folder = group(version, tmp_path, 1000, 900, cache=250)
    (folder / "memory.stat").unlink()
    assert memory.group_left(folder) == 100


def test_a_stat_without_that_line_is_no_page_cache(version: str, tmp_path: Path) -> None:
    folder = group(version, tmp_path, 1000, 900, cache=250)
    (folder / "memory.stat").write_text("anon 7\n")
    assert memory.group_left(folder) == 100


def test_a_folder_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert memory.group_left(tmp_path / "gone") is None


# -- the machine --

MEMINFO = "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  {}\nHugePages_Total:  0\n"


def test_the_machine_has_what_is_available(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO.format("500 kB"))
    assert memory.machine_left(path) == 512_000


def test_a_machine_with_nothing_available_has_nothing_left(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO.format("0 kB"))
    assert memory.machine_left(path) == 0


@pytest.mark.parametrize("text", ["", "MemFree: 10 kB\n", MEMINFO.format("lots kB")])
def test_a_machine_that_does_not_say_has_no_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meminfo"
    path.write_text(text)
    assert memory.machine_left(path) is None
    assert memory.machine_left(tmp_path / "gone") is None


def test_this_machine_says() -> None:
    left = memory.machine_left()
    assert left is not None
    assert left > 1 << 20


# -- all of them --


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 10,000 bytes left."""
    monkeypatch.setattr(memory, "machine_left", lambda: 10_000)


@pytest.mark.usefixtures("machine")
def test_without_a_group_it_is_the_machine() -> None:
    assert memory.left("") == 10_000


@pytest.mark.usefixtures("machine")
def test_a_group_that_is_gone_leaves_the_machine(tmp_path: Path) -> None:
    assert memory.left(str(tmp_path / "gone")) == 10_000


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("caps", "least"),
    [
        ((100, 5000, 5000), 100),
        ((5000, 100, 5000), 100),
        ((5000, 5000, 100), 100),
        (("max", 5000, "max"), 5000),
        (("max", "max", "max"), 10_000),
        ((50_000, 50_000, 50_000), 10_000),
        ((V1_UNLIMITED, 300, V1_UNLIMITED), 300),
    ],
)
def test_the_tightest_wins(
    version: str, tmp_path: Path, caps: tuple[object, ...], least: int
) -> None:
    folder = tmp_path
    for depth, cap in enumerate(caps):
        folder = group(version, folder / str(depth), cap, 0)
    assert memory.left(str(folder)) == least


@pytest.mark.usefixtures("machine")
def test_what_neighbours_use_counts_in_the_group_above(version: str, tmp_path: Path) -> None:
    above = group(version, tmp_path / "above", 1000, 990)
    assert memory.left(str(group(version, above / "pool", 800, 0))) == 10


@pytest.mark.usefixtures("machine")
def test_a_group_without_a_word_between_two_hides_neither(version: str, tmp_path: Path) -> None:
    group(version, tmp_path / "above", 400, 0)
    silent = _group(tmp_path / "above" / "silent", {})
    assert memory.left(str(group(version, silent / "pool", 800, 0))) == 400


@pytest.mark.usefixtures("machine")
def test_the_way_up_ends_where_no_group_is(version: str, tmp_path: Path) -> None:
    above = group(version, tmp_path / "above", 1, 0)
    (above / "cgroup.procs").unlink()
    assert memory.left(str(group(version, above / "pool", 800, 0))) == 800


def test_where_nothing_can_tell_there_is_no_number(
    monkeypatch: pytest.MonkeyPatch, version: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "machine_left", lambda: None)
    assert memory.left("") is None
    assert memory.left(str(group(version, tmp_path, "max", 5))) is None
    assert memory.left(str(group(version, tmp_path, 100, 5))) == 95


@pytest.mark.parametrize(
    ("caps", "lowest"),
    [
        ((300, 200, 100), 100),
        ((100, "max", 300), 100),
        (("max", 7, "max"), 7),
        (("max",) * 3, None),
    ],
)
def test_the_lowest_cap_holds(
    version: str, tmp_path: Path, caps: tuple[object, ...], lowest: int | None
) -> None:
    folder = tmp_path
    for depth, cap in enumerate(caps):
        folder = group(version, folder / str(depth), cap, 0)
    assert memory.cap(str(folder)) == lowest


def test_without_a_group_there_is_no_cap(tmp_path: Path) -> None:
    assert memory.cap("") is None
    assert memory.cap(str(tmp_path / "gone")) is None
