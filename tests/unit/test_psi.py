"""Pressure as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

from chromepool.psi import read_stall_s


def test_pressure_is_read_where_there_is_some(tmp_path: Path) -> None:
    file = tmp_path / "memory.pressure"
    assert read_stall_s(file) is None
    file.write_text(
        "some avg10=0.00 avg60=1.50 avg300=0.00 total=2500000\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    assert read_stall_s(file) == 2.5
    file.write_text("some\n")
    assert read_stall_s(file) is None
