"""Distribution of tests over the processes of a parallel run."""

from __future__ import annotations

import functools

from xdist.scheduler import LoadScopeScheduling

from testing import ROOT


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests go to whichever process is free. Those of a module that makes something once for all of
    its tests go to one process together.

    xdist's own groups are lost with pytest 9.2: they are appended to the ids of tests, which can no
    longer be set.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _makes_something_once(file) else nodeid


@functools.cache
def _makes_something_once(file: str) -> bool:
    return 'scope="module"' in (ROOT / file).read_text()
