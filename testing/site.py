"""A web site for tests."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable

PAGE = """<!doctype html><title>chromepool</title><body style="background: teal">
<h1>A page</h1><p>with some words to take a picture of"""
FRAMES = """<!doctype html><title>frames</title>
<iframe src="/page?near"></iframe><iframe src="http://localhost:{port}/page?far"></iframe>"""
EARLY = """<!doctype html><title>early</title>
<script>window.seen = [window.theirs ?? 0, window.mine ?? 0]</script>"""
WORKERS = """<!doctype html><title>workers</title><script>
new Worker('/worker.js').onmessage = () => { document.title = 'told'; };
new SharedWorker('/shared_worker.js');
</script>"""
SCRIPT = "self.postMessage?.(1)"
SERVICE_WORKER = "onmessage = (event) => event.source.postMessage(eval(event.data))"
COOKIES = ("a=1", "b=x=2; Path=/; Max-Age=9; Expires=Fri, 01 Jan 2100 00:00:00 GMT; HttpOnly")

FILE_BYTES = 200_000


class Site(http.server.ThreadingHTTPServer):
    """A few pages for the clients to visit, and a place for the test to act while they do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages_are_gone = False
        """Switch that makes every page 404 from now on."""
        self.on_visit: Callable[[], None] = lambda: None
        """Called before a page under ``/stop`` is given out."""
        self.file_may_end = threading.Event()
        """Until then ``/file`` has given out its first half and no more."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/stop":
            self.server.on_visit()
        elif path == "/redirect":
            self._redirect()
            return
        elif path == "/file":
            self._give_file()
            return
        pages = {"/page": PAGE, "/stop": PAGE, "/frames": FRAMES, "/early": EARLY, "/cookies": PAGE}
        pages |= {"/workers": WORKERS, "/worker.js": SCRIPT, "/shared_worker.js": SCRIPT}
        pages |= {"/service_worker.js": SERVICE_WORKER}
        if path == "/bytes":
            pages[path] = "x" * int(self.path.partition("?")[2])
        if self.server.pages_are_gone:
            pages = {}
        body = pages.get(path, "").replace("{port}", str(self.server.server_port)).encode()
        self.send_response(200 if body else 404)
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        self.send_header("Content-Type", kind)
        for cookie in COOKIES if path == "/cookies" else ():
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _redirect(self) -> None:
        """To a page, by way of another redirect when it is asked to."""
        self.send_response(302)
        self.send_header("Location", "/redirect?2" if self.path == "/redirect?1" else "/page")
        self.send_header("Set-Cookie", f"by={self.path[-1]}")
        self.end_headers()

    def _give_file(self) -> None:
        half = b"x" * (FILE_BYTES // 2)
        self.send_response(200)
        self.send_header("Content-Disposition", "attachment; filename=slow.bin")
        self.send_header("Content-Length", str(2 * len(half)))
        self.end_headers()
        self.wfile.write(half)
        if self.server.file_may_end.wait(60):
            self.wfile.write(half)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
