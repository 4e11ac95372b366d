"""Handler of ``GET /metrics``, and the count of problem documents that it shows."""

from __future__ import annotations

from aiohttp import web

from chromepool.gateway.http.problems import PROBLEM
from chromepool.gateway.monitor.metrics import CONTENT_TYPE, Metrics

METRICS = web.AppKey("metrics", Metrics)


def count_problems(app: web.Application, metrics: Metrics) -> None:
    """Have an application count its problem documents, and give its handlers the metrics."""

    async def count(_: web.Request, response: web.StreamResponse) -> None:
        code = response.get(PROBLEM)
        if code is not None:
            metrics.count_problem(code)

    app[METRICS] = metrics
    app.on_response_prepare.append(count)


async def serve_metrics(request: web.Request) -> web.Response:
    """Send the metrics in Prometheus' text format."""
    body = await request.app[METRICS].scrape()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
