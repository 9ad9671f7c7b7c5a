"""The node's log: one line an event, as text or JSON, written by a thread of its own.

Law: the loop never waits for whoever reads the log (I-75): records go through a bounded
queue, and what does not fit is counted and said later. Nor does the end of the process.
"""

import json
import logging
import logging.handlers
import queue
import sys
import threading
import time

_QUEUE_MAX = 10_000
# At the end, for a reader to take what it has not read yet.
_STOP_S = 2.0
_FULL_S = 0.05


class Sparing:
    """Lets so many lines of one kind pass in ten seconds: others can make them."""

    SECONDS = 10.0

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._since_s = -self.SECONDS
        self._lines = 0

    def passes(self, now_s: float) -> bool:
        if now_s - self._since_s >= self.SECONDS:
            self._since_s, self._lines = now_s, 0
        self._lines += 1
        return self._lines <= self._lines_max


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = (
            f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower():<7}"
            f" {record.getMessage()}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event: dict[str, object] | None = getattr(record, "event", None)
        if event is not None:
            fields.update(event)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class _Bounded(logging.handlers.QueueHandler):
    """Drops rather than waits."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return
        if self.dropped:
            count, self.dropped = self.dropped, 0
            logging.getLogger("quorate").warning("%d log lines were dropped", count)


class LogWriter(logging.handlers.QueueListener):
    """The thread that writes what is queued."""

    def stop_in_time(self) -> bool:
        """Write what waits, and end; False when the reader stands still.

        Then the thread is in a write that may never return, and holds the locks of
        standard error: an end of the interpreter in good order would wait for them.
        """
        stopping = threading.Thread(target=self._stop, daemon=True)
        stopping.start()
        stopping.join(_STOP_S)
        return not stopping.is_alive()

    def _stop(self) -> None:
        while True:
            try:
                self.stop()
            except queue.Full:
                # That it shall stop is said behind all lines.
                time.sleep(_FULL_S)
            else:
                return


def start_logging(form: str, level: str) -> LogWriter:
    """Send the log to standard error; call `.stop_in_time()` at the end."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Json() if form == "json" else _Text())
    lines: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUE_MAX)
    root = logging.getLogger()
    root.handlers = [_Bounded(lines)]
    root.setLevel(level.upper())
    writer = LogWriter(lines, stream)
    writer.start()
    return writer
