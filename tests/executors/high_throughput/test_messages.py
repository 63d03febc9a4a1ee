from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput import messages
from parsl.executors.high_throughput.messages import (
    DONE,
    MANAGER_LOST,
    OLDEST_PROTOCOL,
    PROTOCOL_VERSION,
    Answer,
    Cancel,
    Codec,
    Drain,
    Drained,
    Draining,
    Emptied,
    Heartbeat,
    Held,
    Hold,
    Leaving,
    Locate,
    Located,
    Loss,
    Managers,
    ManagerView,
    Monitoring,
    Payload,
    PlacedTask,
    Query,
    Received,
    Refused,
    Register,
    Registered,
    Reintroduce,
    Result,
    Results,
    Segment,
    Setup,
    Stop,
    Submit,
    Task,
    Tasks,
    Trouble,
    WorkerDone,
    WorkerReady,
)

CODECS = {
    "from_client": messages.from_client(),
    "to_client": messages.to_client(),
    "from_manager": messages.from_manager(),
    "to_manager": messages.to_manager(),
    "from_worker": Codec(messages.FromWorker),
    "task": Codec(Task),
    "placed": Codec(PlacedTask),
    "setup": Codec(Setup),
}

SEGMENT = Segment("12-ab-1", [10, 40_000], [False, True])
TASK = Task(7, 3, Payload(b"body"), {"priority": 1.5})
LARGE = Task(2**40, 0, Payload(b"", SEGMENT))
RESULT = Result(7, DONE, Payload(b"42"), 0.25)
REGISTER = Register("m", 1, "0", "node", 4, 6, "3.12.1", "2026.11.0", "/s", "tok", 99, 1e9, {"parsl": "2026.11.0"})
VIEW = ManagerView("m", "0", 4, 2, 1.5, True, False, "2026.11.0", "3.12.1", "node", 99, 6, {"parsl": "2026.11.0"})

# Every message with a value in every field, by the direction in which it goes.
SAMPLES = {
    "from_client": [
        Submit([TASK, LARGE], {3: b"code"}, [1, 2]),
        Hold("m"),
        Drain("4"),
        Cancel([7, 8], True),
        Query(2, "MANAGERS"),
        Heartbeat(),
        Stop(),
    ],
    "to_client": [
        Results([RESULT], 5, 3),
        Held("m", [7, 9]),
        Heartbeat(),
        Managers([VIEW], ["gone"]),
        Emptied("4"),
        Answer(2, {"a": [1, None, "é", b"\0", 2.5, True]}),
        Trouble("version", "text"),
        Monitoring(b"raw"),
    ],
    "from_manager": [
        REGISTER,
        Results([RESULT], 5),
        Heartbeat(),
        Draining(),
        Leaving("why"),
        Monitoring(b"raw"),
        Located(3, {"free": 1}),
    ],
    "to_manager": [
        Registered(["/a", "/b"], True, "/shm/x"),
        Tasks([TASK, LARGE], {3: b"code"}, [1], 3),
        Received(3),
        Locate(3, 7),
        Reintroduce(),
        Cancel([7], False),
        Heartbeat(),
        Drained(),
        Refused("why"),
        Stop(),
    ],
    "from_worker": [WorkerReady(), WorkerDone(RESULT), Monitoring(b"raw")],
    "task": [TASK, LARGE],
    "placed": [PlacedTask(7, 3, Payload(b"body"), {"priority": 1.5}, Payload(b"", SEGMENT))],
    "setup": [Setup(["/a"], "/shm/x", "/shm/x/f", "/shm/x/claims", 3, "m-3")],
}


@pytest.mark.parametrize(("direction", "message"), [(d, m) for d, kinds in SAMPLES.items() for m in kinds])
def test_round_trip(direction, message):
    codec = CODECS[direction]
    back = codec.decode(codec.encode(message))
    assert type(back) is type(message)
    assert back == message


def test_a_worker_reads_a_task_as_it_came_and_a_manager_one_that_has_been_placed():
    assert CODECS["placed"].decode(CODECS["task"].encode(TASK)) == PlacedTask(7, 3, Payload(b"body"), {"priority": 1.5})
    placed = CODECS["placed"].encode(PlacedTask(7, 3, Payload(b"body"), {"priority": 1.5}, Payload(b"variables")))
    assert CODECS["task"].decode(placed) == TASK


def test_samples_cover_every_message():
    known = {
        kind for kind in vars(messages).values() if isinstance(kind, type) and kind.__module__ == messages.__name__
    }
    parts = {Segment, Payload, Result, Loss, ManagerView, Codec, messages._Message}
    sampled = {type(m) for kinds in SAMPLES.values() for m in kinds}
    assert known - parts == sampled


def test_tags_are_unique():
    tags = [kind.__struct_config__.tag for kind in messages._Message.__subclasses__()]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("direction", ["from_client", "to_client", "from_manager", "to_manager", "from_worker"])
def test_messages_of_other_directions_are_refused(direction):
    own = {type(m) for m in SAMPLES[direction]}
    others = {type(m): m for kinds in SAMPLES.values() for m in kinds if type(m) not in own and type(m) is not Task}
    assert others
    for message in others.values():
        with pytest.raises(msgspec.DecodeError):
            CODECS[direction].decode(CODECS[direction].encode(message))


# -- any content -------------------------------------------------------------------------------------------------------

numbers = st.integers(0, 2**63 - 1)
segments = st.integers(0, 3).flatmap(
    lambda n: st.builds(
        Segment, st.text(), st.lists(numbers, min_size=n, max_size=n), st.lists(st.booleans(), min_size=n, max_size=n)
    )
)
payloads = st.builds(Payload, st.binary(), st.none() | segments)
specifications = st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text())
tasks = st.builds(Task, numbers, numbers, payloads, st.none() | specifications)
results = st.builds(Result, numbers, st.integers(0, 4), payloads, st.floats(allow_nan=False))


@given(st.lists(tasks), st.dictionaries(numbers, st.binary()), st.lists(numbers))
def test_any_submit_round_trips(calls, functions, forget):
    for codec, message in (
        (CODECS["from_client"], Submit(calls, functions, forget)),
        (CODECS["to_manager"], Tasks(calls, functions, forget)),
    ):
        assert codec.decode(codec.encode(message)) == message


@given(st.lists(results), st.integers(0, 2**31))
def test_any_results_round_trip(ends, credit):
    for codec in (CODECS["to_client"], CODECS["from_manager"]):
        assert codec.decode(codec.encode(Results(ends, credit))) == Results(ends, credit)


def test_decoding_takes_what_sockets_give():
    data = CODECS["task"].encode(TASK)
    assert CODECS["task"].decode(memoryview(bytearray(data))) == TASK


class Half(float):
    pass


class Name(str):
    __slots__ = ()


def test_kinds_of_plain_values_are_sent_as_plain_values():
    sent = Task(7, 3, Payload(b""), {"priority": Half(0.5), "count": type("Three", (int,), {})(3), "name": Name("n")})
    read = CODECS["task"].decode(CODECS["task"].encode(sent))
    assert read.resources == {"priority": 0.5, "count": 3, "name": "n"}
    assert [type(v) for v in read.resources.values()] == [float, int, str]


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (2**64, OverflowError), (len, TypeError)])
def test_what_cannot_be_sent_is_an_error_of_the_sender(value, error):
    with pytest.raises(error):
        CODECS["task"].encode(Task(7, 3, Payload(b""), {"priority": value}))


# -- garbage -----------------------------------------------------------------------------------------------------------


def decode_everywhere(data):
    """Have every codec read `data`; nothing but DecodeError may come out of it."""
    for codec in CODECS.values():
        try:
            codec.decode(data)
        except msgspec.DecodeError:
            continue


@given(st.binary(max_size=200))
def test_garbage_raises_decode_error_only(data):
    decode_everywhere(data)


@given(st.data())
def test_damaged_messages_raise_decode_error_only(data):
    direction = data.draw(st.sampled_from(sorted(SAMPLES)))
    whole = bytearray(CODECS[direction].encode(data.draw(st.sampled_from(SAMPLES[direction]))))
    for position in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[position] = data.draw(st.integers(0, 255))
    decode_everywhere(bytes(whole))


@pytest.mark.parametrize("direction", sorted(SAMPLES))
def test_truncated_messages_raise_decode_error(direction):
    for message in SAMPLES[direction]:
        whole = CODECS[direction].encode(message)
        for size in range(len(whole)):
            with pytest.raises(msgspec.DecodeError):
                CODECS[direction].decode(whole[:size])
        with pytest.raises(msgspec.DecodeError):
            CODECS[direction].decode(whole + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x92\x02\xa2\xff\xfe", id="text that is not UTF-8"),
        pytest.param(b"\x93\x09\x01" + b"\x91" * 100_000 + b"\xc0", id="nested too deep"),
        pytest.param(b"\x94\x01\xdd\xff\xff\xff\xff", id="a list of four thousand million tasks"),
        pytest.param(b"\x93\x09\x01\xc7\x0c\xff" + b"\xff" * 12, id="a time out of range"),
        pytest.param(b"{}", id="an empty JSON object"),
        pytest.param(b"\x80\x04}.", id="a pickle"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_hostile_frames(data):
    decode_everywhere(data)
    with pytest.raises(msgspec.DecodeError):
        CODECS["from_manager"].decode(data)


# -- losses ------------------------------------------------------------------------------------------------------------


def test_a_loss_is_the_result_of_a_lost_call():
    loss = Loss("manager-1", "node", "it was silent", "block 0")
    result = messages.lost(7, MANAGER_LOST, loss)
    assert (result.id, result.status, result.seconds) == (7, MANAGER_LOST, 0.0)
    assert messages.read_loss(result.payload) == loss


def test_a_payload_that_is_no_loss():
    with pytest.raises(msgspec.DecodeError):
        messages.read_loss(Payload(b"garbage"))


# -- versions ----------------------------------------------------------------------------------------------------------
#
# Client and interchange come from one installation; interchange and manager may not. OLDEST_PROTOCOL to
# PROTOCOL_VERSION is the range of numbers that an interchange takes from a manager. Within the range both sides can
# read each other: a later one may only have added fields at the end of a message, with defaults. The older reader
# skips them, and the later reader fills them in. Whoever changes a message in another way raises both numbers.


def test_the_range_is_one():
    assert OLDEST_PROTOCOL <= PROTOCOL_VERSION


def array(tag, *fields):
    return msgspec.msgpack.encode([tag, *fields])


def test_fields_that_a_later_writer_added_are_skipped():
    assert CODECS["to_manager"].decode(array(17, "a field of tomorrow")) == Drained()
    assert CODECS["to_manager"].decode(array(18, "why", {"more": [1]}, 2)) == Refused("why")
    later = [7, DONE, [b"42", None, "later"], 0.25, b"", "later", None]
    assert CODECS["from_manager"].decode(array(7, [later], 5, 0, "later")) == Results([RESULT], 5)
    fields = msgspec.structs.astuple(REGISTER)
    assert CODECS["from_manager"].decode(array(12, *fields, "later")) == REGISTER


def test_fields_that_an_earlier_writer_did_not_have_are_filled_in():
    fields = msgspec.structs.astuple(REGISTER)[:11]
    read = CODECS["from_manager"].decode(array(12, *fields))
    assert read == Register(*fields, seconds_left=None, packages={})
    assert CODECS["from_manager"].decode(array(7, [[7, DONE, [b"42"]]])) == Results([Result(7, DONE, Payload(b"42"))])
    assert CODECS["task"].decode(msgspec.msgpack.encode([7, 3, [b"body"]])) == Task(7, 3, Payload(b"body"))


def test_a_missing_field_without_a_default_is_an_error():
    with pytest.raises(msgspec.DecodeError):
        CODECS["from_manager"].decode(array(12, *msgspec.structs.astuple(REGISTER)[:10]))


def test_a_message_of_a_later_kind_is_an_error_that_the_reader_can_skip():
    with pytest.raises(msgspec.DecodeError):
        CODECS["to_manager"].decode(array(99, "unheard of"))


# What travels between interchange and manager, as it has been since protocol 3. A line that no longer holds means that
# managers of earlier releases in the range read something else: add fields at the end, or raise the numbers.
WIRE = {
    3: [
        ("from_manager", Heartbeat(), "910d"),
        ("from_manager", Draining(), "910e"),
        ("from_manager", Leaving("why"), "9216a3776879"),
        ("from_manager", Results([RESULT], 5), "94079195070092c4023432c0cb3fd0000000000000c4000500"),
        (
            "from_manager",
            Register("m", 1, "0", "n", 4, 6, "3.12.1", "2026.11.0", "s", "t", 99),
            "9f0ca16d01a130a16e0406a6332e31322e31a9323032362e31312e30a173a17463c080c0",
        ),
        (
            "from_manager",
            Register("m", 2, "0", "n", 4, 6, "3.12.1", "2026.11.0", "s", "t", 99, 570.5),
            "9f0ca16d02a130a16e0406a6332e31322e31a9323032362e31312e30a173a17463cb4081d4000000000080c0",
        ),
        ("to_manager", Registered(["/a"], True, "s"), "950f91a22f61c3a173c0"),
        ("to_manager", Tasks([Task(7, 3, Payload(b"b"))], {3: b"c"}, [1]), "95109194070392c40162c0c08103c40163910100"),
        ("to_manager", Received(7), "921e07"),
        ("to_manager", Reintroduce(), "911f"),
        ("to_manager", Drained(), "9111"),
        ("to_manager", Refused("why"), "9212a3776879"),
        ("to_manager", Stop(), "9105"),
        ("task", LARGE, "94cf00000100000000000092c40093a731322d61622d31920acd9c4092c2c3c0"),
    ],
}


# Written before there were fields for monitoring at the ends of these.
WITHOUT_MONITORING = [
    ("from_manager", Results([RESULT], 5), "93079194070092c4023432c0cb3fd000000000000005"),
    ("to_manager", Registered(["/a"], True, "s"), "940f91a22f61c3a173"),
]


@pytest.mark.parametrize(("direction", "message", "written"), WITHOUT_MONITORING)
def test_messages_of_writers_without_monitoring_are_read(direction, message, written):
    assert CODECS[direction].decode(bytes.fromhex(written)) == message


@pytest.mark.parametrize("version", range(OLDEST_PROTOCOL, PROTOCOL_VERSION + 1))
def test_the_wire_form_of_each_version_in_the_range_is_still_read(version):
    for direction, message, written in WIRE[version]:
        assert CODECS[direction].encode(message).hex() == written
        assert CODECS[direction].decode(bytes.fromhex(written)) == message
