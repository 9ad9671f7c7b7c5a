"""Sends the same to a real etcd and to a real node, and compares what they say.

Law: both get the same writes and no others, so that their revisions are the same at
each step, and this is checked. A sequence begins with two stores that have nothing,
at the same revision, with no past. What went wrong is told as curl would send it.
"""

import http.client
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias, cast

from ..harness import wait_for
from .asking import Body, Call, Step, Watch, resolved, written
from .comparing import (
    SPEAKER,
    Said,
    Sent,
    differences,
    for_etcd,
    watch_differences,
)

TIMEOUT_S = 10.0
EVERYTHING: Body = {"key": b"\0", "range_end": b"\0"}
# Written only to bring a store to a revision; it is gone before anything is asked.
FILLER = b"~"
FILLERS_MAX = 20
# The mark of a watch that is not told any.
NEVER = 2**63

# No request that is drawn has to be answered so.
UNAVAILABLE = (503, 504)
NO_LEADER = 14
# Sequences that are given up: so many, and one of a hundred.
INTERRUPTED_MAX = 3

Lines: TypeAlias = Iterator[Body]


class Differ(AssertionError):
    """They did not say the same."""


class Interrupted(Exception):
    """A node had no leader for a moment, as on a disk that stalls: nothing is known."""


class Server:
    """One of the two."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=TIMEOUT_S
        )
        self._speaker: Body = {}

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, text: str) -> Said:
        """One request, and all of its answer."""
        self._connection.request("POST", f"/v3/{path}", text)
        response = self._connection.getresponse()
        lines = response.read().decode().splitlines()
        try:
            replies = [json.loads(line) for line in lines]
        except ValueError:
            return Said(response.status, list(lines))
        if response.status in UNAVAILABLE:
            raise Interrupted(f"{self.name}: {replies}")
        for reply in replies:
            self._same_speaker(reply)
        return Said(response.status, replies)

    @contextmanager
    def watch(self, text: str) -> Generator[Lines]:
        """The lines of one stream."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self._port, timeout=TIMEOUT_S
        )
        try:
            connection.request("POST", "/v3/watch", text)
            yield self._lines(connection.getresponse())
        finally:
            connection.close()

    def _lines(self, response: http.client.HTTPResponse) -> Lines:
        for line in response:
            message = json.loads(line)
            if message.get("error", {}).get("grpc_code") == NO_LEADER:
                raise Interrupted(f"{self.name}: {message}")
            self._same_speaker(message.get("result"))
            yield message

    def _same_speaker(self, reply: object) -> None:
        """It names itself in each header, and never changes."""
        if not isinstance(reply, dict):
            return
        document = cast(Body, reply)
        header = document.get("result", document).get("header")
        if header is None:
            return
        speaker = {name: header[name] for name in SPEAKER}
        self._speaker = self._speaker or speaker
        assert speaker == self._speaker, f"{self.name} is another one now"


class Pair:
    """Both of them, at one revision."""

    def __init__(self, etcd: Server, here: Server) -> None:
        self.etcd = etcd
        self.here = here
        self.sequences = 0
        self.requests = 0
        self.refused = 0
        self.interrupted = 0
        self.watches = 0
        self._sent: list[str] = []
        self._revisions: dict[str, int] = {}
        self._began = 0.0

    def run(self, steps: list[Step]) -> None:
        """Raises Differ, with all that was sent until then."""
        self.sequences += 1
        wait_for(self._begun, "two stores that have nothing")
        try:
            self._compare(steps)
        except Interrupted:
            self.interrupted += 1
            if self.interrupted > INTERRUPTED_MAX + self.sequences // 100:
                raise

    def _compare(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, Watch):
                self._watch(step)
            else:
                self._call(step)
        self._call(Call("kv/range", EVERYTHING))
        self._call(Call("lease/leases", {}))

    # -- an empty beginning ------------------------------------------------------------

    def _begun(self) -> bool:
        """Have both nothing, not even a past, and the same revision?"""
        try:
            self._begin()
        except Interrupted:
            return False
        return True

    def _begin(self) -> None:
        both = (self.etcd, self.here)
        revisions = [_emptied(server) for server in both]
        for server, revision in zip(both, revisions, strict=True):
            for _ in range(max(revisions) - revision):
                _done(server, "kv/put", {"key": FILLER})
        at = {_revision(_done(each, "kv/deleterange", EVERYTHING)) for each in both}
        assert len(at) == 1, f"the revisions are not the same: {at}"
        (now,) = at
        for server in both:
            _done(server, "kv/compaction", {"revision": now})
        self._revisions = {"now": now, "compacted": now}
        self._sent = []
        self._began = time.monotonic()

    # -- one request -------------------------------------------------------------------

    def _call(self, call: Call) -> None:
        body = resolved(call.body, self._revisions)
        seconds = time.monotonic() - self._began
        sent = Sent(call.path, body, dict(self._revisions), seconds)
        text = written(body, call.style)
        self._sent.append(curl(call.path, text))
        instead = for_etcd(sent)
        asked = text
        if instead != body:
            asked = written(instead, call.style)
            self._sent.append(f"#   etcd: {curl(call.path, asked)}")
        etcd = self.etcd.ask(call.path, asked)
        here = self.here.ask(call.path, text)
        self.requests += 1
        self._judge(differences(sent, etcd, here))
        if etcd.status != 200:
            self.refused += 1
            return
        (reply,) = etcd.replies
        # A place in line is told with the revision at which it was taken.
        revision = _revision(reply.get("result", reply))
        self._revisions["now"] = max(self._revisions["now"], revision)
        if call.path == "kv/compaction":
            self._revisions["compacted"] = body["revision"]

    def _judge(self, found: list[str]) -> None:
        if found:
            raise Differ("\n".join([*found, "", *self._history()]))

    def _history(self) -> list[str]:
        start = f"# on two stores that have nothing; now at {self._revisions}"
        return [start, *self._sent]

    # -- watches -----------------------------------------------------------------------

    def _watch(self, step: Watch) -> None:
        """What is there, what is done meanwhile, and marks by which the end is seen."""
        creates = [resolved(each, self._revisions) for each in step.creates]
        bodies = [{"create_request": create} for create in creates]
        text = " ".join(written(body, step.style) for body in bodies)
        self._sent.append(curl("watch", text) + " &")
        self.watches += 1
        heard: tuple[list[Body], list[Body]] = ([], [])
        with self.etcd.watch(text) as etcd, self.here.watch(text) as here:
            names = (self.etcd.name, self.here.name)
            both = list(zip(names, (etcd, here), heard, strict=True))
            for each in both:
                self._hear(*each, lambda seen: created(seen, len(creates)))
            for call in step.during:
                self._call(call)
            marks = self._mark(creates)
            for each in both:
                self._hear(*each, lambda seen: marked(seen, marks))
        compacted = self._revisions["compacted"]
        self._judge(watch_differences(*heard, compacted))

    def _hear(
        self,
        name: str,
        lines: Lines,
        messages: list[Body],
        enough: Callable[[list[Body]], bool],
    ) -> None:
        """Read on until it is enough."""
        while not enough(messages):
            try:
                messages.append(next(lines))
            except (TimeoutError, StopIteration) as error:
                self._judge([f"{name} told {messages}, and then {error!r}"])

    def _mark(self, creates: list[Body]) -> list[int]:
        """Put and delete what is watched; the last revision of it that each is told."""
        for create in creates:
            while self._near(create.get("start_revision", 0)):
                for path in ("kv/put", "kv/deleterange"):
                    self._call(Call(path, {"key": FILLER}))
        revisions: dict[bytes, tuple[int, int]] = {}
        for key in dict.fromkeys(create["key"] or b"\0" for create in creates):
            self._call(Call("kv/put", {"key": key, "value": b"mark"}))
            put = self._revisions["now"]
            self._call(Call("kv/deleterange", {"key": key}))
            revisions[key] = (put, self._revisions["now"])
        compacted = self._revisions["compacted"]
        return [
            NEVER if _too_old(create, compacted) else _last(create, revisions)
            for create in creates
        ]

    def _near(self, start: int) -> bool:
        """Is it still to come, and soon?"""
        now = self._revisions["now"]
        return now + 1 < start < now + FILLERS_MAX


def curl(path: str, text: str) -> str:
    """The request as a line that a shell takes."""
    return f"curl -s $URL/v3/{path} -d '{text}'"


# -- what a stream has told ------------------------------------------------------------


def created(messages: list[Body], count: int) -> bool:
    """Has it answered to each request?"""
    return sum(bool(each["result"].get("created")) for each in messages) == count


def marked(messages: list[Body], marks: list[int]) -> bool:
    """Has each watch been told its mark, or that it has ended?"""
    results = [message["result"] for message in messages]
    begun = [each for each in results if each.get("created")]
    return all(
        any(_ended(each, watch.get("watch_id"), mark) for each in results)
        for watch, mark in zip(begun, marks, strict=False)
        if mark and not watch.get("canceled")
    )


def _ended(result: Body, watch_id: str | None, mark: int) -> bool:
    if result.get("watch_id") != watch_id or result.get("created"):
        return False
    events = result.get("events", ())
    revisions = (int(event["kv"]["mod_revision"]) for event in events)
    return bool(result.get("canceled")) or any(each >= mark for each in revisions)


def _too_old(create: Body, compacted: int) -> bool:
    """It can only be told that it has ended."""
    start = create.get("start_revision", 0)
    return bool(start) and start < compacted


def _last(create: Body, marks: Mapping[bytes, tuple[int, int]]) -> int:
    """The revision of the last mark that a watch is told; 0 if there is none."""
    filters = create.get("filters", ())
    revisions = [
        _told(filters, put, delete)
        for key, (put, delete) in marks.items()
        if _watched(key, create)
    ]
    newest = max(revisions, default=0)
    return newest if create.get("start_revision", 0) <= newest else 0


def _told(filters: Sequence[str], put: int, delete: int) -> int:
    if "NODELETE" not in filters:
        return delete
    return 0 if "NOPUT" in filters else put


def _watched(key: bytes, create: Body) -> bool:
    first, end = create["key"] or b"\0", create.get("range_end", b"")
    if end == b"\0":
        return first <= key
    return first <= key < end if end else first == key


# -- an empty beginning ----------------------------------------------------------------


def _done(server: Server, path: str, body: Body) -> Body:
    said = server.ask(path, written(body, 0))
    assert said.status == 200, f"{server.name}: {said}"
    return cast(Body, said.replies[0])


def _revision(reply: Body) -> int:
    return int(reply["header"]["revision"])


def _emptied(server: Server) -> int:
    """No lease is left, and the filler alone; the revision."""
    _done(server, "kv/deleterange", EVERYTHING)
    for lease in _done(server, "lease/leases", {}).get("leases", ()):
        _done(server, "lease/revoke", {"ID": int(lease["ID"])})
    return _revision(_done(server, "kv/put", {"key": FILLER}))
