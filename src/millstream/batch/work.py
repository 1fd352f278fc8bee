"""The work of a batch: its claims, and its runs from the input to the commit."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from millstream.batch.batch_run import BatchRun
from millstream.batch.beats import Beats
from millstream.batch.calling import call
from millstream.batch.claim import AT, BEAT, CANCEL, CLAIM, Claim, Watch, here, put, read_claim
from millstream.batch.files import Files, recover
from millstream.batch.handler import shape_of
from millstream.batch.inputs import Source, new_input
from millstream.batch.options import PLAIN, BatchOptions
from millstream.batch.registry import declare
from millstream.batch.runs import Input, Run, RunOutcome, RunResult, new_run_id, runs_topic_name
from millstream.engines.protocol import Append, GroupInfo, OffsetMove, StateChange
from millstream.errors import CommitConflictError, RunCancelledError, UsageError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.records import check_name, time_from_us, time_to_us

STATE: Final = b"state"
LAST: Final = b"last"
"""Of the group's state: when a run over new records succeeded last."""
RETRY: Final = b"retry"
"""A claim that failed, and when it is tried again."""

ERROR_CHARACTERS_MAX: Final = 4096
"""Of the error kept with a failed run; its traceback goes to whoever started the run."""


class Last(msgspec.Struct, frozen=True, array_like=True):
    """The last success."""

    run_id: str
    ended_us: int


class Again(msgspec.Struct, frozen=True):
    """A run that is tried again."""

    claim: Claim
    at_us: int


class BatchWork:
    """What a batch does when it runs; `Batch` adds what a program asks of it."""

    kind = "batch"

    def __init__(
        self,
        topic: Topic[Any] | Sequence[Topic[Any]],
        handler: Callable[..., Any],
        *,
        name: str,
        options: BatchOptions = PLAIN,
        on: Topic[Any] | None = None,
    ) -> None:
        self.topics: list[Topic[Any]] = [topic] if isinstance(topic, Topic) else [*topic]
        if not self.topics or len({one.name for one in self.topics}) < len(self.topics):
            raise UsageError(f"the batch {name!r} needs a topic, and each only once")
        self.topic = self.topics[0]
        self._shape = shape_of(handler, [one.name for one in self.topics])
        check_name("topic", runs_topic_name(name))
        self.name = check_name("batch", name)
        self.options = options
        self.on = on
        if options.when is not None:
            options.when.check(self.topic.engine)
        self._handler = handler
        self._running = threading.Lock()
        self._watch = Watch()
        self.process = here()
        """Host and process id, by which others tell whether this one lives."""
        self.current: BatchRun | None = None
        """The run in progress in this process."""
        self.look: Callable[[], object] = lambda: None
        """Called once a second while a run is in progress; of the scheduler."""
        functools.update_wrapper(self, handler, updated=())  # type: ignore[arg-type]

    @property
    def group(self) -> Group[Any]:
        """The consumer group of its (first) topic, created at the start of the log the first time."""
        return self.topic.group(self.name)

    def info(self) -> GroupInfo:
        """Return how far the runs came in the (first) topic and how much is new, without a scan."""
        return self.group.info()

    def infos(self) -> list[GroupInfo]:
        """Return the same for each topic."""
        return [topic.group(self.name).info() for topic in self.topics]

    @property
    def lag(self) -> int:
        """How many records are new, of all topics."""
        return sum(info.lag for info in self.infos())

    # --- a run over new records, by whoever has the claim -----------------------------------------------------------

    def take(
        self,
        trigger: str,
        *,
        due_us: int | None = None,
        state: Sequence[StateChange] = (),
        expect: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
    ) -> Claim:
        """Claim the next run, over the records up to now.

        Raises:
            CommitConflictError: Another process runs it, or was faster.
        """
        declare(self)
        group = self.group
        claim, raw, beat = read_claim(group)
        if claim is not None and not self._watch.dead(claim, beat, self._clock.monotonic_us()):
            raise CommitConflictError(
                f"batch {self.name!r} is being run by process {claim.process} (run {claim.run_id}); wait for it, or "
                f"`millstream batch cancel {self.name}`"
            )
        events = None if self.on is None else new_input(self.on.group(self.name).info())
        new = self._claim(trigger, due_us, [new_input(info) for info in self.infos()], events)
        crashed = [] if claim is None else self.records_of([self._ended(claim, RunOutcome.CRASHED, _DIED)])
        self._swap(raw, new, state=state, expect=expect, appends=[*appends, *crashed])
        return new

    def take_over(self, claim: Claim, raw: bytes) -> Claim:
        """Claim the run of a process that died: the same records again.

        Raises:
            CommitConflictError: Another process was faster.
        """
        host, pid = self.process
        new = msgspec.structs.replace(
            claim, token=secrets.token_hex(8), host=host, pid=pid, attempt=claim.attempt + 1, crashes=claim.crashes + 1
        )
        self._swap(raw, new, appends=self.records_of([self._ended(claim, RunOutcome.CRASHED, _DIED)]))
        return new

    def try_again(self, again: Again, raw: bytes) -> Claim:
        """Claim a run that failed and is to be tried again.

        Raises:
            CommitConflictError: Another process was faster.
        """
        host, pid = self.process
        new = msgspec.structs.replace(again.claim, token=secrets.token_hex(8), host=host, pid=pid)
        self._swap(None, new, state=[put(RETRY, None)], expect=[StateChange(AT, RETRY, raw)])
        return new

    def work(self, claim: Claim) -> RunResult:
        """Run what was claimed, to its commit; see `attempt`."""
        return self.attempt(claim, lambda error: None)

    def attempt(self, claim: Claim, again: Callable[[BaseException], Again | None]) -> RunResult:
        """Run what was claimed, to its commit.

        Args:
            again: Says when it is tried again after an error.

        Raises:
            CommitConflictError: Another process took it over.
            Exception: What the handler raised; the failure is recorded, and the claim given back.
        """
        try:
            return self._work(claim)
        except BaseException as error:
            self.give_back(claim, error, again(error))
            raise

    def give_back(self, claim: Claim, error: BaseException, again: Again | None = None) -> None:
        """Record a failure and give the claim back; nothing where another process has taken over."""
        outcome = RunOutcome.CANCELLED if isinstance(error, RunCancelledError) else RunOutcome.FAILED
        record = self.records_of([self._ended(claim, outcome, _text(error))])
        later = StateChange(AT, RETRY, None) if again is None else put(RETRY, again)
        try:
            self._swap(msgspec.msgpack.encode(claim), None, state=[later], appends=record)
        except CommitConflictError:
            pass

    def give_up(self, claim: Claim, raw: bytes, why: str) -> None:
        """Record that the run of a process that died is not begun again; its records go to the next one.

        Raises:
            CommitConflictError: Another process was faster.
        """
        self._swap(raw, None, appends=self.records_of([self._ended(claim, RunOutcome.CRASHED, why)]))

    def records_of(self, runs: Sequence[Run]) -> list[Append]:
        """Return runs as they are recorded with a commit."""
        return self._runs_topic().encode(runs)

    def _work(self, claim: Claim) -> RunResult:
        group = self.group
        held = put(CLAIM, claim)
        recover(group)
        files = self._files(claim.token, [held])
        blank = self._run_of(claim)
        run = self._batch_run(blank, claim.token, files, appends=True)
        before = msgspec.json.encode(run.state)
        try:
            with Beats(group, claim, held, run, self.look):
                rows, result = self._call(blank, run, threaded=claim.trigger != "call")
                blank = self._finish(blank, rows, run)
                moves = {one.topic: _moves(one) for one in claim.inputs}
                if claim.events is not None:
                    moves.setdefault(claim.events.topic, _moves(claim.events))
                state = [put(CLAIM, None), put(BEAT, None), put(CANCEL, None), *files.committed()]
                state.append(put(LAST, Last(claim.run_id, self._clock.now_us())))
                if (after := msgspec.json.encode(run.state)) != before:
                    state.append(StateChange(AT, STATE, after))
                first = moves.pop(self.topic.name)
                record = self.records_of([blank])
                group.commit(first, state=state, appends=[*record, *run.appends], others=moves, expect=[held])
        except BaseException:
            files.discard()
            raise
        files.publish()
        return RunResult(**_fields(blank), result=result)

    def _swap(
        self,
        raw: bytes | None,
        new: Claim | None,
        *,
        state: Sequence[StateChange] = (),
        expect: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
    ) -> None:
        self.group.commit(
            [],
            state=[put(CLAIM, new), put(BEAT, None), put(CANCEL, None), *state],
            expect=[StateChange(AT, CLAIM, raw), *expect],
            appends=appends,
        )

    def _claim(self, trigger: str, due_us: int | None, inputs: list[Input], events: Input | None) -> Claim:
        now_us = self._clock.now_us()
        host, pid = self.process
        return Claim(
            run_id=new_run_id(time_from_us(now_us)),
            token=secrets.token_hex(8),
            host=host,
            pid=pid,
            trigger=trigger,
            due_us=due_us,
            attempt=1,
            crashes=0,
            started_us=now_us,
            inputs=inputs,
            events=events,
        )

    # --- a run over old records ---------------------------------------------------------------------------------------

    def _loose(self, blank: Run, *, append: bool) -> RunResult:
        """Run without a claim: nothing moves, so nothing can be in its way."""
        declare(self)
        recover(self.group)
        token = secrets.token_hex(8)
        files = self._files(token, [])
        run = self._batch_run(blank, token, files, appends=append)
        try:
            rows, result = self._call(blank, run, threaded=False)
            blank = self._finish(msgspec.structs.replace(blank, moved=False), rows, run)
            self.group.commit([], state=files.committed(), appends=[*self.records_of([blank]), *run.appends])
        except BaseException as error:
            files.discard()
            failed = msgspec.structs.replace(self._finish(blank, 0, run), outcome=RunOutcome.FAILED, error=_text(error))
            self._runs_topic().append(failed)
            raise
        files.publish()
        return RunResult(**_fields(blank), result=result)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _call(self, blank: Run, run: BatchRun, *, threaded: bool) -> tuple[int, Any]:
        self.current, window = run, _window(blank)
        topics = {topic.name: topic for topic in self.topics}
        sources = {
            one.topic: Source(topics[one.topic], one.ranges, self.name, window)
            for one in blank.inputs(self.topic.name)
            if one.topic in topics
        }
        rows = sum(source.rows() for source in sources.values())
        return rows, call(self._handler, self._shape, sources, run, self.options.timeout_us, threaded=threaded)

    def _files(self, token: str, expect: Sequence[StateChange]) -> Files:
        return Files(self.group, token, self.process, expect)

    def _batch_run(self, blank: Run, token: str, files: Files, *, appends: bool) -> BatchRun:
        stored = self.group.state(AT, [STATE]).get(STATE)
        return BatchRun(
            id=blank.id,
            trigger=blank.trigger,
            due_us=None if blank.due is None else time_to_us(blank.due),
            attempt=blank.attempt,
            ranges={one.topic: one.ranges for one in blank.inputs(self.topic.name)},
            window=_window(blank),
            state={} if stored is None else msgspec.json.decode(stored),
            files=files,
            appends=appends,
            events=self._events(blank),
            begun_us=self._clock.monotonic_us(),
        )

    def _events(self, blank: Run) -> Source | None:
        if self.on is None or blank.events is None or blank.events.topic != self.on.name:
            return None
        return Source(self.on, blank.events.ranges, self.name, None)

    def _blank(self, inputs: list[Input], trigger: str) -> Run:
        host, pid = self.process
        now = time_from_us(self._clock.now_us())
        return Run(
            id=new_run_id(now),
            batch=self.name,
            ranges=inputs[0].ranges,
            more=inputs[1:],
            rows=0,
            started=now,
            duration_us=0,
            outcome=RunOutcome.DONE,
            trigger=trigger,
            process=f"{host}:{pid}",
        )

    def _run_of(self, claim: Claim) -> Run:
        return Run(
            id=claim.run_id,
            batch=self.name,
            ranges=claim.inputs[0].ranges,
            more=claim.inputs[1:],
            events=claim.events,
            rows=0,
            started=time_from_us(claim.started_us),
            duration_us=0,
            outcome=RunOutcome.DONE,
            moved=True,
            trigger=claim.trigger,
            due=None if claim.due_us is None else time_from_us(claim.due_us),
            attempt=claim.attempt,
            process=claim.process,
        )

    def _finish(self, blank: Run, rows: int, run: BatchRun) -> Run:
        took_us = self._clock.monotonic_us() - run.begun_us
        return msgspec.structs.replace(blank, rows=rows, duration_us=took_us, log=run.lines)

    def _ended(self, claim: Claim, outcome: RunOutcome, error: str) -> Run:
        took_us = max(0, self._clock.now_us() - claim.started_us)
        return msgspec.structs.replace(
            self._run_of(claim), outcome=outcome, error=error, duration_us=took_us, moved=False
        )

    @property
    def _clock(self) -> Any:
        return self.topic.log.clock

    def _runs_topic(self) -> Topic[Run]:
        return self.topic.log.topic(runs_topic_name(self.name), Run)


_DIED: Final = "its process died, or was not heard of any more"


def _window(run: Run) -> tuple[datetime, datetime] | None:
    return None if run.window_start is None or run.window_end is None else (run.window_start, run.window_end)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]


def _moves(one: Input) -> list[OffsetMove]:
    return [OffsetMove(r.partition, r.start, r.end) for r in one.ranges if r.end > r.start]


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__struct_fields__}
