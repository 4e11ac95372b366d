"""The parts of the gateway that own sessions, as one value."""

from chromepool.gateway.histogram import CdpLatency
from chromepool.gateway.runtime import Runtime
from chromepool.gateway.sessions.admission import Admission, Gate
from chromepool.gateway.sessions.connection import Connector
from chromepool.gateway.sessions.creation import Creation, CreationStats
from chromepool.gateway.sessions.registry import SessionRegistry
from chromepool.gateway.sessions.starter import Starter
from chromepool.gateway.sessions.termination import Termination
from chromepool.gateway.sessions.warm_pool import WarmPool


class Pool:
    """Registry, gate, admission and the rest, for users of several; others are given one or two.
    No part listens to anything yet: ``gateway/main.py`` subscribes them."""

    def __init__(self, runtime: Runtime, next_key: int = 1) -> None:
        """Create the parts; ``next_key`` is the lowest session number that was never given out."""
        self.runtime = runtime
        self.registry = SessionRegistry(runtime.clock, runtime.bus.publish, next_key)
        self.gate = Gate(runtime.bus.publish)
        self.stats = CreationStats()
        self.latency = CdpLatency()
        self.connector = Connector(runtime, self.latency)
        self.termination = Termination(runtime, self.registry, self.gate)
        self.admission = Admission(runtime, self.registry, self.gate, self.stats.waited.add)
        self.warm = self.admission.warm
        self.starter = Starter(
            runtime, self.registry, self.admission, self.connector, self.termination
        )
        self.warm_pool = WarmPool(runtime, self.admission, self.starter, self.termination)
        self.creation = Creation(runtime, self.admission, self.warm_pool, self.starter, self.stats)
