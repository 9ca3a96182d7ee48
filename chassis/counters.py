"""What a program counts, in the form Prometheus scrapes."""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram, start_http_server

__all__ = ["Counter", "Gauge", "Histogram", "serve_metrics"]


class MetricsServer:
    """The running /metrics endpoint."""

    def __init__(self, server: Any, thread: Any) -> None:
        """Wrap what prometheus_client started."""
        self._server, self._thread = server, thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def serve_metrics(listen: str) -> MetricsServer | None:
    """Serve /metrics on `listen` ("host:port"); an empty string serves nothing.

    Raises:
        OSError: the port is in use.
    """
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), addr=host or "127.0.0.1")
    return MetricsServer(server, thread)
