"""How a log record looks: one line on stderr, so that every log collector keeps it whole."""

import logging
import time


class LineFormatter(logging.Formatter):
    """Time in UTC, level, process, logger and message; line ends within the record are written as backslash-n."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        """Set the one format of all records."""
        super().__init__("{asctime} {levelname} {process} {name}: {message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        """The record and its traceback in a single line."""
        return super().format(record).replace("\r", "\\r").replace("\n", "\\n")
