"""``make chaos``: ``SEED=7 ROUNDS=40 make chaos`` does again what was done."""

from __future__ import annotations

import os
import random
import sys

from bench.chaos.runner import play
from bench.chaos.schedule import plan

_ROUNDS, _PLACES = 20, 6
_CAPACITY_S = 10.0
_HEALTH_S = 2.0


def main() -> None:
    """Print the seed and the ledger; the exit code tells whether the books balance."""
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    rounds = int(os.environ.get("ROUNDS") or _ROUNDS)
    print(f"SEED={seed} ROUNDS={rounds}", flush=True)
    pages = play(plan(seed, rounds, _PLACES), _PLACES, health_timeout_s=_HEALTH_S)
    broken = [wrong for page in pages for wrong in page.broken]
    slow = [page.recovered_s for page in pages if page.recovered_s > _CAPACITY_S]
    print(f"SEED={seed} ROUNDS={rounds}: {sum(len(p.entries) for p in pages)} entries, ", end="")
    print(
        f"{len(broken)} broken, {len(slow)} of {len(pages)} rounds over {_CAPACITY_S:g} s", end=""
    )
    print(f", the slowest {max(page.recovered_s for page in pages)} s")
    sys.exit(1 if broken or slow else 0)


if __name__ == "__main__":
    main()
