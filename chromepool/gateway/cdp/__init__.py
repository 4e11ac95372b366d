"""The DevTools protocol without I/O: envelopes, framing, and the multiplexer."""
