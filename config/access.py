"""The access log: one line a request, none a frame, and no query strings, which may hold what nobody should read."""

import logging
from typing import Any

logger = logging.getLogger("access")


def log_action(protocol: str, action: str, details: dict[str, Any]) -> None:
    """Write the line of a finished HTTP request or of a WebSocket that was opened or refused; daphne calls this."""
    if protocol == "http" and action == "complete":
        logger.info(
            "%s %s %s %d %.1f ms",
            details["client"],
            details["method"],
            details["path"].partition("?")[0],
            details["status"],
            details["time_taken"] * 1000,
        )
    elif protocol == "websocket" and action in {"connected", "rejected"}:
        logger.info("%s WebSocket %s %s", details["client"], details["path"], action)
