"""The parts of the gateway that own sessions, as one value."""

from __future__ import annotations

import dataclasses

from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.admission import Admission
from chromepool.gateway.sessions.connection import Connector
from chromepool.gateway.sessions.creation import Creation
from chromepool.gateway.sessions.creation_stats import CreationStats
from chromepool.gateway.sessions.gate import Gate
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.starter import Starter
from chromepool.gateway.sessions.termination import Termination
from chromepool.gateway.sessions.warm_chromes import WarmChromes
from chromepool.gateway.sessions.warm_pool import WarmPool


@dataclasses.dataclass(frozen=True, slots=True)
class Pool:
    """For those who need several of these; who needs one or two is given just those."""

    runtime: Runtime
    registry: SessionRegistry
    gate: Gate
    stats: CreationStats
    warm: WarmChromes
    latency: CdpLatency
    connector: Connector
    termination: Termination
    admission: Admission
    starter: Starter
    warm_pool: WarmPool
    creation: Creation


def make_pool(runtime: Runtime, next_key: int = 1) -> Pool:
    """Create the parts, none of which listens to anything yet."""
    registry = SessionRegistry(runtime.clock, runtime.bus.publish, next_key)
    gate = Gate(runtime.bus.publish)
    stats = CreationStats()
    warm = WarmChromes()
    latency = CdpLatency()
    connector = Connector(runtime, latency)
    termination = Termination(runtime, registry, gate)
    admission = Admission(runtime, registry, gate, warm, stats.waited.add)
    starter = Starter(runtime, registry, admission, connector, termination)
    warm_pool = WarmPool(runtime, warm, admission, starter, termination)
    creation = Creation(runtime, admission, warm_pool, starter, stats)
    return Pool(
        runtime,
        registry,
        gate,
        stats,
        warm,
        latency,
        connector,
        termination,
        admission,
        starter,
        warm_pool,
        creation,
    )
