from __future__ import annotations

import gc

import pytest

from parsl.executors.high_throughput.function_book import FunctionBook
from parsl.serialize import facade
from parsl.serialize.errors import SerializationError


def make():
    def twice(x):
        return 2 * x

    return twice


def test_a_function_is_packed_and_sent_once():
    book, twice = FunctionBook(), make()
    number = book.number_of(twice)
    assert number > 0
    assert book.number_of(twice) == number
    new = book.take_new()
    assert facade.deserialize(new[number])(4) == 8
    assert book.take_new() == {}


def test_what_may_change_has_no_number():
    class Callable:
        def __call__(self):
            return 1

    assert FunctionBook().number_of(Callable()) == 0


def test_another_interchange_is_sent_all_that_are_alive():
    book, first, second = FunctionBook(), make(), make()
    numbers = {book.number_of(first), book.number_of(second)}
    book.take_new()
    del second
    gc.collect()
    assert book.some_dead
    (dead,) = book.take_dead()
    assert not book.some_dead
    book.renew()
    assert set(book.take_new()) == numbers - {dead}


def test_one_that_cannot_be_packed_is_an_error_each_time():
    book = FunctionBook()
    held = (n for n in range(3))

    def broken():
        return next(held)

    for _ in range(2):
        with pytest.raises(SerializationError):
            book.number_of(broken)
    assert book.take_new() == {}
