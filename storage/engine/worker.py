"""Flush and compaction in a process of their own: no loop and no GIL is shared.

Law: the process belongs to one engine. It is started when first needed and ends when
its pipe closes, so a killed owner leaves no orphan; it writes into a folder of its own
alone, which goes after it, and only its owner gives files their names and edits the
manifest. Frames go both ways: length u32 | msgpack array, whose first number says what
it is. The owner's side never blocks but in `wait`.

    to the process    [0, job, keys, records]               a slice of a memtable
                      [1, job]                              that was all: flush it
                      [2, job, directory, runs, blobs, droppable, oldest]
                                                            merge these runs; values in
                                                            these files are rewritten
                      [3, job]                              nobody wants it any more
                      [4, job]                              what it has made was taken
    from it           [0, job, [tables, blobs]]
                      [1, job, kind, arguments]             it failed
"""

import concurrent.futures
import fcntl
import os
import select
import struct
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import accumulate, islice
from typing import Any, Final
from weakref import WeakSet

import msgspec

from ..env import RealEnv, os_error, parent_of
from ..errors import CorruptionError, Unreadable, WorkerFailed, is_no_space
from .edit import remove
from .jobs import InlineJobs, Job, JobDropped, T
from .manifest import BlobMeta, Made, TableMeta
from .memtable import Memtable
from .merge import Chunk, Droppable, in_order
from .opening import clean_work
from .options import EngineOptions
from .version import Version, open_version

_LENGTH: Final = struct.Struct("<I")
_SLICE_KEYS: Final = 500
# A slice ends with the entry that reaches this size.
_ENTRIES_BYTES: Final = 256 << 10
_SLICE_BYTES: Final = 256 << 10
_READ_BYTES: Final = 1 << 18
_PIPE_BYTES: Final = 1 << 20
_NICE: Final = 10
# So long the process waits for the next slice of a memtable that has begun to come.
_COMING_S: Final = 0.001

_ENTRIES, _FLUSH, _MERGE, _DROP, _TAKEN = range(5)
_DONE, _FAILED = range(2)


class _Frames:
    """Bytes that came, cut into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            end = at + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield msgspec.msgpack.decode(self._buffer[at + _LENGTH.size : end])
            at = end
        del self._buffer[:at]


def _frame(value: object) -> bytes:
    data = msgspec.msgpack.encode(value)
    return _LENGTH.pack(len(data)) + data


# -- the owner's side ------------------------------------------------------------------


class Worker:
    """`Jobs` that a process does."""

    def __init__(self, work: str, options: EngineOptions) -> None:
        self._work = work
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        # Of the process that runs, or is being started.
        self._folder = ""
        # What is there of finished jobs, for as long as somebody is about to name it.
        self._taken: WeakSet[Made] = WeakSet()
        self._out = bytearray()
        self._frames = _Frames()
        self._answers: dict[int, list[Any]] = {}
        self._job = 0
        # For what blocks and must not be the process's: edits, and to start it.
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[Any] | None = None
        self._starting: Future[subprocess.Popen[bytes]] | None = None

    @staticmethod
    def _pipes(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdin.fileno(), process.stdout.fileno()

    def _started(self) -> Generator[int]:
        """Until the process runs; to start one takes long where much else runs."""
        while self._process is None:
            if self._starting is None:
                self._starting = self._in_thread(self._spawn)
            if not self._starting.done():
                yield 0
                continue
            starting, self._starting = self._starting, None
            try:
                self._process = starting.result()
            except OSError as error:
                if is_no_space(error):
                    # Room is waited for; another process would find none either.
                    raise
                raise WorkerFailed(f"the worker can't be started: {error}") from error

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self._folder = f"{parent_of(self._work)}/{os.urandom(16).hex()}"
        RealEnv().make_directory(self._folder)
        try:
            process = subprocess.Popen(
                [
                    # No module of the folder that the owner was started in.
                    *(sys.executable, "-P", "-m", __name__.rpartition(".")[0]),
                    self._folder,
                    msgspec.json.encode(self._options),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Signals of the terminal are the owner's to act on.
                start_new_session=True,
            )
        except OSError:
            RealEnv().remove_directory(self._folder)
            raise
        for pipe in self._pipes(process):
            os.set_blocking(pipe, False)
            # A slice fits, so that one look a tick at the pipe is enough. Where the
            # system allows less, it takes more looks.
            with suppress(OSError, AttributeError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return process

    def _send(self, value: object) -> None:
        self._out += _frame(value)
        self._pump()

    def _pump(self) -> None:
        """Hand over and take what the pipes have room for."""
        if self._process is None:
            return
        to, back = self._pipes(self._process)
        try:
            while self._out:
                done = os.write(to, memoryview(self._out)[:_READ_BYTES])
                del self._out[:done]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._ended()
        while True:
            try:
                data = os.read(back, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._ended()
            for kind, job, *rest in self._frames.feed(data):
                self._answers[job] = [kind, *rest]

    def _ended(self) -> None:
        """The process is gone: its jobs are lost, the next one starts another."""
        process = self._process
        assert process is not None
        self._stop()
        kept = {file.name for made in self._taken for file in made.files()}
        self._in_thread(partial(clean_work, RealEnv(), self._folder, kept))
        raise WorkerFailed(f"the worker process ended with {process.returncode}")

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._out.clear()
        self._frames = _Frames()
        self._answers.clear()
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            # It may be in the middle of a merge that nobody wants any more.
            process.kill()
            process.wait()

    def flush(self, memtable: Memtable) -> Job:
        yield from self._started()
        with self._new_job() as job:
            process = self._process
            for step in self._hand_over(job, memtable):
                yield step
                self._check(process)
            return (yield from self._result(job, process))

    @contextmanager
    def _new_job(self) -> Generator[int]:
        """Its number; the process hears of it when the job is given up."""
        self._job += 1
        job = self._job
        try:
            yield job
        except (GeneratorExit, JobDropped):
            self._answers.pop(job, None)
            if self._process is not None:
                with suppress(WorkerFailed):
                    self._send((_DROP, job))
            raise

    def _hand_over(self, job: int, memtable: Memtable) -> Generator[int]:
        """In slices, no faster than the process takes them."""
        for keys, records in _slices(memtable):
            self._send((_ENTRIES, job, keys, records))
            yield sum(map(len, keys)) + sum(map(len, records))
            while len(self._out) > _SLICE_BYTES:
                self._pump()
                if len(self._out) > _SLICE_BYTES:
                    yield 0
        self._send((_FLUSH, job))

    def merge(
        self,
        source: Version,
        sparse: Collection[bytes],
        droppable: Sequence[Droppable],
        *,
        oldest: bool,
    ) -> Job:
        directory = parent_of(source.runs[0].tables[0].path)
        runs = [run.metas() for run in source.runs]
        blobs = [source.blobs[file_id].meta for file_id in sparse]
        yield from self._started()
        with self._new_job() as job:
            process = self._process
            self._send((_MERGE, job, directory, runs, blobs, droppable, oldest))
            return (yield from self._result(job, process))

    def _result(self, job: int, process: "subprocess.Popen[bytes] | None") -> Job:
        while job not in self._answers:
            self._check(process)
            self._pump()
            if job not in self._answers:
                yield 0
        kind, *rest = self._answers.pop(job)
        if kind == _FAILED:
            _raise(*rest)
        made = msgspec.convert(rest[0], Made)
        self._taken.add(made)
        with suppress(WorkerFailed):
            self._send((_TAKEN, job))
        return made

    def _check(self, process: "subprocess.Popen[bytes] | None") -> None:
        """Is it the one that the job began with? Another one knows nothing of it."""
        if self._process is not process:
            raise WorkerFailed("the worker process of this job is gone")

    def run(self, function: Callable[[], T]) -> Generator[int, None, T]:
        """In a thread: the process may not touch what the manifest names."""
        future = self._in_thread(function)
        while not future.done():
            yield 0
        return future.result()

    def _in_thread(self, function: Callable[[], T]) -> Future[T]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="quorate-engine")
        future = self._running = self._thread.submit(function)
        return future

    def wait(self) -> None:
        if self._running is not None and not self._running.done():
            concurrent.futures.wait([self._running], timeout=1.0)
        elif self._process is not None:
            to, back = self._pipes(self._process)
            # Not `select`, which knows no descriptor from 1,024 on: a node with many
            # clients has such.
            poll = select.poll()
            poll.register(back, select.POLLIN)
            if self._out:
                poll.register(to, select.POLLOUT)
            poll.poll(1000)

    def close(self) -> None:
        if self._thread is not None:
            # What is on its way to the disk comes there before the lock is released.
            self._thread.shutdown()
        if self._starting is not None and self._starting.exception() is None:
            self._process, self._starting = self._starting.result(), None
        self._stop()


def _raise(kind: str, arguments: list[Any]) -> None:
    """The error that the process met, as if it had been met here."""
    match kind, arguments:
        case "corruption", [path, offset, reason]:
            raise CorruptionError(path, offset, reason)
        case "unreadable", [path, offset, code]:
            raise Unreadable(path, offset, os_error(code, path))
        case "os", [code, path]:
            raise os_error(code, path)
        case _:
            raise WorkerFailed(f"{kind}: {arguments}")


def _slices(memtable: Memtable) -> Iterator[Chunk]:
    """Its entries, so many at a time that handing one slice over holds nobody up."""
    every, each = iter(memtable.data), iter(memtable.data.values())
    while keys := [*islice(every, _SLICE_KEYS)]:
        records = [*islice(each, _SLICE_KEYS)]
        ends = [*accumulate(map(len, records))]
        # Large ones among them: fewer at a time.
        start, taken = 0, 0
        while ends[-1] - taken > _ENTRIES_BYTES:
            stop = bisect_left(ends, taken + _ENTRIES_BYTES, start) + 1
            yield keys[start:stop], records[start:stop]
            start, taken = stop, ends[stop - 1]
        if start < len(keys):
            yield keys[start:], records[start:]


# -- the process -----------------------------------------------------------------------


class _Process:
    """Flushes first; a merge goes on, slice by slice, when none waits."""

    def __init__(
        self, work: str, options: EngineOptions, answer: Callable[[object], None]
    ) -> None:
        self._answer = answer
        self._env = RealEnv()
        self._jobs = InlineJobs(self._env, work, lambda: os.urandom(16), options)
        # Of memtables, as far as they have come: keys and records.
        self._entries: dict[int, Chunk] = {}
        self._flushes: dict[int, Job] = {}
        self._merges: dict[int, Job] = {}
        # What finished jobs have made and nobody has taken yet.
        self._made: dict[int, Made] = {}

    @property
    def expecting(self) -> bool:
        """Is a part of a memtable here, and nothing to be flushed before the rest?"""
        return bool(self._entries) and not self._flushes

    def take(self, frame: list[Any]) -> None:
        kind, job, *rest = frame
        if kind == _ENTRIES:
            keys, records = self._entries.setdefault(job, ([], []))
            keys += rest[0]
            records += rest[1]
        elif kind == _FLUSH:
            chunks = in_order(*self._entries.pop(job, ([], [])))
            self._flushes[job] = self._jobs.write(chunks)
        elif kind == _MERGE:
            directory, runs, blobs, droppable, oldest = rest
            source = open_version(
                self._env,
                directory,
                msgspec.convert(runs, list[tuple[TableMeta, ...]]),
                msgspec.convert(blobs, list[BlobMeta]),
            )
            sparse = source.blobs.keys()
            drops = msgspec.convert(droppable, list[Droppable])
            self._merges[job] = self._jobs.merge(source, sparse, drops, oldest=oldest)
        elif kind == _TAKEN:
            self._made.pop(job, None)
        else:
            self._entries.pop(job, None)
            if job in self._made:
                remove(self._env, self._made.pop(job).paths())
            for jobs in (self._flushes, self._merges):
                dropped = jobs.pop(job, None)
                if dropped is not None:
                    with suppress(JobDropped):
                        dropped.throw(JobDropped)

    def step(self) -> bool:
        """Do a slice; False when nothing is to be done."""
        jobs = self._flushes or self._merges
        if not jobs:
            return False
        job, work = next(iter(jobs.items()))
        try:
            next(work)
        except StopIteration as end:
            del jobs[job]
            self._made[job] = end.value
            self._answer((_DONE, job, end.value))
        except (CorruptionError, OSError) as error:
            del jobs[job]
            self.fail(job, error)
        return True

    def fail(self, job: int, error: CorruptionError | OSError) -> None:
        if isinstance(error, Unreadable):
            told = ("unreadable", [error.path, error.offset, error.error.errno])
        elif isinstance(error, CorruptionError):
            told = ("corruption", [error.path, error.offset, error.reason])
        else:
            told = ("os", [error.errno, error.filename])
        self._answer((_FAILED, job, *told))


def main() -> None:
    """Serve until the pipe closes; arguments: the work directory and the options."""
    os.nice(_NICE)
    work = sys.argv[1]
    options = msgspec.json.decode(sys.argv[2], type=EngineOptions)
    source, target = sys.stdin.fileno(), sys.stdout.fileno()

    def answer(value: object) -> None:
        data = memoryview(_frame(value))
        try:
            while data:
                data = data[os.write(target, data) :]
        except BrokenPipeError:
            raise SystemExit from None  # the owner is gone, and with it the work

    process, frames = _Process(work, options, answer), _Frames()
    busy = False
    while True:
        # A memtable that is on its way comes before any slice of a merge: else the
        # pipe, and with it the next flush, waits for one slice after the other.
        patience_s = (_COMING_S if process.expecting else 0.0) if busy else None
        if not select.select([source], [], [], patience_s)[0]:
            busy = process.step()
            continue
        data = os.read(source, _READ_BYTES)
        if not data:
            return
        for frame in frames.feed(data):
            try:
                process.take(frame)
            except (CorruptionError, OSError) as error:
                process.fail(frame[1], error)
        busy = True
