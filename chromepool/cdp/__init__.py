"""The DevTools protocol as bytes: framing, envelopes, routing. No I/O, no asyncio, no clock."""
