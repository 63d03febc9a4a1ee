"""A user's program, for type checkers: mypy reads it in tests/test_typing.py, nobody runs it.

A line that must be an error says which with an ignore: one that is not needed is an error as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from typing_extensions import assert_type

import parsl
from parsl import AUTO_LOGNAME, Config, File, bash_app, join_app, python_app
from parsl.app.futures import DataFuture
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.taskrecord import TaskRecord
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor

# -- python apps ------------------------------------------------------------------------------------------------------


@python_app
def double(x: int, *, times: int = 1) -> int:
    return 2 * x * times


@python_app(executors=["threads"], cache=True, ignore_for_cache=["x"])
def halve(x: int) -> float:
    return x / 2


@python_app()
def nothing() -> None: ...


@python_app
async def fetch(url: str) -> bytes:
    await asyncio.sleep(0)
    return url.encode()


@parsl.python_app(data_flow_kernel=None)
async def fetch_with_options(url: str) -> list[str]:
    return [url]


@python_app
def either(x: int | Future[int], inputs: list[Future[int]] | None = None) -> str:
    return str(x)


class Model:
    @python_app
    def predict(self, x: float) -> float:
        return x


assert_type(double(1), AppFuture[int])
assert_type(double(1, times=2).result(), int)
assert_type(double(1).exception(timeout=1.5), BaseException | None)
assert_type(halve(1), AppFuture[float])
assert_type(nothing(), AppFuture[None])
assert_type(fetch("x"), AppFuture[bytes])
assert_type(fetch_with_options("x"), AppFuture[list[str]])
assert_type(either(double(1), inputs=[double(2)]), AppFuture[str])
assert_type(Model().predict(1.0), AppFuture[float])
assert_type(python_app(len)("abc"), AppFuture[int])

double("x")  # type: ignore[arg-type]
double()  # type: ignore[call-arg]
double(1, tims=2)  # type: ignore[call-arg]
double(1, 2)  # type: ignore[call-arg]
halve("x")  # type: ignore[arg-type]
fetch(3)  # type: ignore[arg-type]
fetch_with_options(b"x")  # type: ignore[arg-type]
python_app(walltime=1)  # type: ignore[call-overload]
python_app(executors=3)  # type: ignore[call-overload]
python_app(3)  # type: ignore[call-overload]

# -- bash apps --------------------------------------------------------------------------------------------------------


@bash_app
def say(word: str, stdout: str | int = AUTO_LOGNAME) -> str:
    return f"echo {word}"


@bash_app(cache=True)
def make(outputs: list[File]) -> str:
    return f"touch {outputs[0]}"


assert_type(say("hello"), AppFuture[int])
assert_type(make([File("x")]), AppFuture[int])
assert_type(make([File("x")]).outputs, list[DataFuture])
assert_type(make([File("x")]).outputs[0].result(), File)

say(3)  # type: ignore[arg-type]
make("x")  # type: ignore[arg-type]


@bash_app  # type: ignore[arg-type]
def no_command() -> int:
    return 0


# -- join apps --------------------------------------------------------------------------------------------------------


@join_app
def one(n: int) -> AppFuture[int]:
    return double(n)


@join_app
def many(n: int) -> list[AppFuture[int]]:
    return [double(i) for i in range(n)]


@join_app(cache=True)
def plain() -> Future[str]:
    return Future()


@join_app(ignore_for_cache=["n"])
def files(n: int) -> list[DataFuture]:
    return []


@join_app
async def awaited() -> list[AppFuture[int]]:
    first = await double(1)
    return [double(first)]


@join_app(cache=False)
async def awaited_alone() -> Future[int]:
    return double(1)


assert_type(one(1), AppFuture[int])
assert_type(awaited(), AppFuture[list[int]])
assert_type(awaited_alone(), AppFuture[int])
assert_type(many(3), AppFuture[list[int]])
assert_type(plain(), AppFuture[str])
assert_type(files(1), AppFuture[list[File]])

one("x")  # type: ignore[arg-type]
join_app(executors=["threads"])  # type: ignore[call-overload]


@join_app  # type: ignore[arg-type]
def no_future() -> int:
    return 1


# -- futures ----------------------------------------------------------------------------------------------------------


async def main() -> None:
    assert_type(await double(1), int)
    assert_type(await fetch("x"), bytes)
    assert_type(await make([File("x")]).outputs[0], File)


def told(future: Future[int]) -> None:
    print(future.result())


double(1).add_done_callback(told)
assert_type(double(1)["key"], AppFuture[object])  # type: ignore[assert-type]
assert_type(double(1).cancel(), bool)
assert_type(double(1).tid, int)

# -- kernels ----------------------------------------------------------------------------------------------------------


def price(exception: Exception, task: TaskRecord) -> float:
    return 0.5 if isinstance(exception, OSError) else 1


config = Config(
    executors=[ThreadPoolExecutor(max_threads=4), HighThroughputExecutor(label="htex")],
    retries=2,
    retry_handler=price,
    exit_mode="wait",
    strategy=None,
)
Config(exit_mode="explode")  # type: ignore[arg-type]
Config(retries="2")  # type: ignore[arg-type]

with parsl.load(config) as kernel:
    assert_type(kernel, DataFlowKernel)
    assert_type(parsl.dfk(), DataFlowKernel)
    parsl.wait_for_current_tasks()
parsl.clear()

own: Callable[[int], AppFuture[float]] = python_app(data_flow_kernel=kernel)(lambda x: x / 2)
