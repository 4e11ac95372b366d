"""The Chrome DevTools Protocol (CDP) without I/O: envelopes, framing and the multiplexer."""
