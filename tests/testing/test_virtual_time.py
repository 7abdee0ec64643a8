"""Virtual time waits for what really takes time."""

from __future__ import annotations

import asyncio
import threading

from penstock.testing.virtual import VirtualLoop, run


def test_threads_that_are_still_at_work_at_the_end_are_waited_for() -> None:
    """What ``asyncio.to_thread`` began ends with the loop, however long the thread takes to end."""
    ended = threading.Event()
    for _ in range(20):

        async def main(loop: VirtualLoop) -> None:
            begun = asyncio.Event()

            def work() -> None:
                loop.call_soon_threadsafe(begun.set)
                ended.wait(0.02)

            loop.run_in_executor(None, work)
            await begun.wait()

        run(main)
