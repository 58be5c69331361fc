"""``cdp up``: start everything in order, keep it running, stop it in the reverse order.

A part that ends is started again after a pause that doubles. When *we* are killed, the kernel ends every part (see
launch.py), so the worst a SIGKILL leaves behind is a file that says we were here.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cdp.core.settings import Settings
from cdp.embedded.layout import Layout, create, layout_of, leave
from cdp.embedded.lock import Record, held, write_record
from cdp.embedded.own import OwnProcess, environment_of, own_processes
from cdp.embedded.parts import Kept, start_all, stop_all
from cdp.embedded.ports import choose_port
from cdp.embedded.process import ProcessFailed, start
from cdp.embedded.servers import servers_of

TICK_S = 0.2

Say = Callable[[str], None]


class Stopped(BaseException):
    """We were asked to stop. Not an Exception, so that nothing on the way swallows it."""


@dataclass
class Stack:
    """The running parts of one ``cdp up`` and their record on disk."""

    path: Path
    url: str
    say: Say
    since: float = field(default_factory=time.time)
    running: list[Kept] = field(default_factory=list)

    def write(self, *, is_ready: bool) -> None:
        """Tell ``cdp status`` what runs."""
        parts = tuple(kept.record() for kept in self.running)
        write_record(self.path, Record(os.getpid(), self.since, self.url, is_ready=is_ready, parts=parts))

    def keep_running(self) -> NoReturn:
        """Tend every part for ever; ends only by Stopped."""
        while True:
            for kept in self.running:
                news = kept.tend(time.monotonic())
                if news:
                    self.say(news)
                    self.write(is_ready=True)
            time.sleep(TICK_S)


def up(settings: Settings, *, with_processes: bool, say: Say) -> None:
    """Run the stack in the foreground until SIGINT, SIGTERM or SIGHUP.

    Servers, then migrations, then worker and API. Anything that fails on the way up stops what was started and raises;
    once everything is up, parts that end are restarted. Raises AlreadyRunning when another supervisor holds the folder.
    """
    layout = layout_of(settings)
    create(layout)
    with ExitStack() as cleanup:
        cleanup.enter_context(held(layout.lock))
        cleanup.callback(leave, layout)
        layout.record.unlink(missing_ok=True)  # of one that was killed
        cleanup.callback(layout.record.unlink, missing_ok=True)
        if layout.is_moved:
            say(layout.notice)
        if with_processes:
            settings = settings.model_copy(update={"port": choose_port(settings)})
        stack = Stack(layout.record, settings.url if with_processes else "", say)
        try:
            with stoppable():
                _run(settings, layout, stack, with_processes=with_processes)
        except Stopped:
            say("stopped")


def _run(settings: Settings, layout: Layout, stack: Stack, *, with_processes: bool) -> None:
    try:
        start_all(servers_of(settings, layout), stack.running)
        stack.write(is_ready=False)
        if with_processes:
            _migrate(settings, layout)
            start_all(own_processes(settings, layout), stack.running)
        stack.write(is_ready=True)
        stack.say(f"ready: {stack.url}" if with_processes else "ready: the servers alone")
        stack.keep_running()
    finally:
        stop_all(stack.running)


def _migrate(settings: Settings, layout: Layout) -> None:
    """In a process of its own, so that the supervisor stays small and a failed migration cannot take it along."""
    verb = OwnProcess("migrate", environment_of(settings, layout), patience_s=10.0)
    child = start(verb.command())
    try:
        code = child.process.wait()
    finally:
        child.stop()
    if code != 0:
        raise ProcessFailed(f"cdp migrate ended with code {code}")


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal to stop into Stopped; later ones are ignored, stopping has its own time limits.

    Stopped may strike between a fork and its note in a list. That child is not lost: it dies with us.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
