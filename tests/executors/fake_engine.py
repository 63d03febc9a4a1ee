"""An engine that runs each task in its own folder at once, in the manager's process: what the library does, small."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections import deque
from pathlib import Path

from parsl.executors.cctools_messages import End, Task
from parsl.executors.cctools_task import run


class FakeEngine:
    """Runs tasks in turn; one whose category is in `ends` ends as that says, and one called `waiting` never begins."""

    def __init__(self, folder: str, *, ends: dict[str, list[object]] | None = None, broken: str = "") -> None:
        if broken:
            raise RuntimeError(broken)
        self._folder = folder
        self._ends = ends or {}
        self._queue: deque[tuple[int, Task]] = deque()
        self._submitted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def submit(self, task: Task) -> int:
        if task.category == "refused":
            raise ValueError("not this one")
        self._submitted += 1
        self._queue.append((self._submitted, task))
        return self._submitted

    def collect(self) -> tuple[int, End] | None:
        ready = next((entry for entry in self._queue if entry[1].category != "waiting"), None)
        if ready is None:
            return None
        self._queue.remove(ready)
        number, task = ready
        if task.category == "crash":
            os._exit(7)
        if task.category in self._ends:
            result, status, detail = self._ends[task.category]
            return number, End(0, str(result), int(str(status)), str(detail))
        self._run(task)
        return number, End(0, "success", 0)

    def _run(self, task: Task) -> None:
        before = os.getcwd()
        with tempfile.TemporaryDirectory(dir=self._folder) as sandbox:
            os.chdir(sandbox)
            for transfer in task.inputs:
                shutil.copy(transfer.local, transfer.remote)
            call = Path(task.call_path).read_bytes() if task.call_path else task.call
            Path("call").write_bytes(call)
            run("call", "answer")
            shutil.move("answer", task.result_path)
            for transfer in task.outputs:
                if os.path.exists(transfer.remote):
                    shutil.move(transfer.remote, transfer.local)
            os.chdir(before)

    def cancel(self, engine_id: int) -> bool:
        found = next((entry for entry in self._queue if entry[0] == engine_id), None)
        if found is None:
            return False
        self._queue.remove(found)
        return True

    def close(self) -> None:
        self._listener.close()
