from __future__ import annotations

import errno
import io
import os
import pathlib
import pickle
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.executors.high_throughput import segments
from parsl.executors.high_throughput.messages import Payload, Segment
from parsl.executors.high_throughput.segments import INLINE_BYTES, SegmentStore, read_token, remove_partial

LARGE = bytes(range(256)) * 1024


@pytest.fixture
def store():
    store = SegmentStore()
    yield store
    store.close()
    assert not os.path.exists(store.folder)


@pytest.fixture
def other():
    store = SegmentStore()
    yield store
    store.close()


def through_the_wire(payload):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(payload), type=Payload)


def files(store):
    return sorted(set(os.listdir(store.folder)) - {"token"})


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# -- the folder --------------------------------------------------------------------------------------------------------


def test_nobody_else_can_look_into_a_store(store):
    payload = store.payload(LARGE)
    assert mode(store.folder) == 0o700
    assert mode(os.path.join(store.folder, "token")) == 0o600
    assert mode(os.path.join(store.folder, payload.segment.name)) == 0o600


def test_modes_do_not_depend_on_the_umask():
    before = os.umask(0)
    try:
        store = SegmentStore()
        name = store.payload(LARGE).segment.name
    finally:
        os.umask(before)
    assert mode(store.folder) == 0o700
    assert mode(os.path.join(store.folder, name)) == 0o600
    store.close()


def test_who_joins_a_store_shares_token_and_segments(store):
    joined = SegmentStore(store.folder)
    assert (joined.folder, joined.token, joined.owned) == (store.folder, store.token, False)
    payload = through_the_wire(joined.payload(b"head", [LARGE]))
    assert store.open(payload) == (b"head", [LARGE])
    store.drop(payload)
    joined.close()
    assert os.path.isdir(store.folder)
    assert files(store) == []


def test_tokens_tell_stores_apart(store, other):
    assert len(store.token) == 32
    assert store.token != other.token
    assert read_token(store.folder) == store.token


def test_no_token_where_there_is_no_store(tmp_path):
    assert read_token(str(tmp_path)) is None
    assert read_token(str(tmp_path / "missing")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_reads_no_token(store):
    code = (
        f"import os, sys; os.setuid(65534)\ntry: open({store.folder + '/token'!r})\nexcept PermissionError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-S", "-c", code], check=False).returncode == 7


def test_writers_of_one_store_do_not_collide(store):
    joined = [SegmentStore(store.folder) for _ in range(3)]
    names = {s.payload(LARGE).segment.name for s in joined for _ in range(4)}
    assert len(names) == 12


def test_without_shared_memory_the_temporary_folder_serves(monkeypatch, tmp_path):
    monkeypatch.setattr(segments, "_SHARED_MEMORY", str(tmp_path / "missing"))
    monkeypatch.setattr(segments.tempfile, "tempdir", str(tmp_path))
    store = SegmentStore()
    assert os.path.dirname(store.folder) == str(tmp_path)
    store.close()


def test_little_shared_memory_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(segments, "_SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(segments, "_LEAST_ROOM", 2**80)
    store = SegmentStore()
    assert os.path.dirname(store.folder) != str(tmp_path)
    store.close()


def test_closing_twice_and_after_somebody_else_removed_it():
    store = SegmentStore()
    store.close()
    store.close()
    assert not os.path.exists(store.folder)


def test_nothing_is_left_although_somebody_still_writes():
    store = SegmentStore()
    writer = SegmentStore(store.folder)
    first = threading.Event()

    def write():
        try:
            while True:
                writer.payload(LARGE)
                first.set()
        except OSError as e:
            errors.append(e)

    errors = []
    thread = threading.Thread(target=write)
    thread.start()
    assert first.wait(10)
    store.close()
    thread.join(10)
    assert not thread.is_alive()
    assert errors[0].errno == errno.ENOENT
    assert [n for n in os.listdir(os.path.dirname(store.folder)) if n.startswith(os.path.basename(store.folder))] == []


def make_store_and_die(parent):
    """Make a store in a process that is killed; return its folder."""
    code = f"""
import os, signal
from parsl.executors.high_throughput import segments
segments._SHARED_MEMORY, segments._LEAST_ROOM = {str(parent)!r}, 0
store = segments.SegmentStore()
store.payload(bytes(100_000))
print(store.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def test_the_next_store_removes_those_of_killed_processes_only(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "_SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(segments, "_LEAST_ROOM", 0)
    live = SegmentStore()
    dead = make_store_and_die(tmp_path)
    shutil.copytree(dead, tmp_path / "parsl-99-half0ne_-closed")
    no_store = tmp_path / "parsl-123-abcdefgh"
    no_store.mkdir()
    (no_store / "token").write_text("somebody's file")
    (tmp_path / "parsl-results").mkdir()
    assert os.path.isdir(dead)
    store = SegmentStore()
    left = {p.name for p in tmp_path.iterdir()}
    kept = {os.path.basename(s.folder) for s in (live, store)}
    assert left == kept | {"parsl-123-abcdefgh", "parsl-results"}
    store.close()
    live.close()


# -- payloads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES])
def test_small_bodies_travel_in_the_message(store, size):
    payload = through_the_wire(store.payload(b"x" * size))
    assert payload == Payload(b"x" * size)
    assert store.open(payload) == (b"x" * size, [])
    assert files(store) == []


def test_large_bodies_and_all_buffers_lie_in_a_segment(store):
    for body, buffers in ((b"x" * (INLINE_BYTES + 1), []), (b"x", [b"y"])):
        payload = through_the_wire(store.payload(body, buffers))
        assert payload.body == b""
        assert files(store) == [payload.segment.name]
        assert store.open(payload) == (body, buffers)
        assert store.open(payload) == (body, buffers), "opening does not use it up"
        store.drop(payload)
        store.drop(payload)
        assert files(store) == []


def test_what_could_be_written_to_can_be_written_to_again(store):
    payload = store.payload(b"head", [b"fixed", bytearray(b"loose"), memoryview(bytearray(b"view"))])
    body, (fixed, loose, view) = store.open(through_the_wire(payload))
    assert type(body) is bytes
    assert type(fixed) is bytes
    loose[0:1] = b"L"
    view[0:1] = b"V"
    assert (body, fixed, loose, view) == (b"head", b"fixed", b"Loose", b"View")


def test_pickle_buffers(store):
    matrix = memoryview(bytearray(range(24))).cast("B", (4, 6))
    payload = store.payload(b"head", [pickle.PickleBuffer(matrix), memoryview(b"12345678").cast("d")])
    assert payload.segment.sizes == [4, 24, 8]
    assert payload.segment.writable == [False, True, False]
    assert store.open(payload) == (b"head", [bytearray(range(24)), b"12345678"])


@given(
    st.integers(0, INLINE_BYTES * 3).map(lambda n: b"b" * n),
    st.lists(st.binary(max_size=50) | st.integers(0, 100_000).map(bytearray), max_size=4),
)
def test_any_payload_survives_its_way_in_a_node_and_between_two(body, buffers):
    here, there = SegmentStore(), SegmentStore()
    try:
        payload = here.payload(body, buffers)
        opened = [(here.open(through_the_wire(payload)))]
        frames = [b"the message"]
        shipped = through_the_wire(here.ship(payload, frames))
        here.drop(payload)
        landed = there.land(shipped, frames)
        opened.append(there.open(landed))
        for got, parts in opened:
            assert got == body
            assert parts == buffers
            assert [type(p) for p in parts] == [type(b) for b in buffers]
        there.drop(landed)
        assert files(here) == files(there) == []
    finally:
        here.close()
        there.close()


# -- between nodes -----------------------------------------------------------------------------------------------------


def test_several_payloads_of_one_message(store, other):
    payloads = [store.payload(b"small"), store.payload(LARGE), store.payload(b"h", [b"1", bytearray(b"22")])]
    frames = [b"the message"]
    shipped = [through_the_wire(store.ship(p, frames)) for p in payloads]
    assert [len(f) for f in frames] == [11, len(LARGE), 4]
    assert [p.segment and p.segment.name for p in shipped] == [None, "frame:1", "frame:2"]
    received = [memoryview(bytes(f)) for f in frames]
    landed = [other.land(p, received) for p in shipped]
    assert [other.open(p) for p in landed] == [(b"small", []), (LARGE, []), (b"h", [b"1", bytearray(b"22")])]
    assert len(files(other)) == 2


def test_what_has_not_left_its_node_does_not_land(store):
    payload = store.payload(LARGE)
    assert store.land(payload, [b"the message"]) == payload
    assert store.land(Payload(b"x"), [b"the message"]) == Payload(b"x")


@pytest.mark.parametrize("name", ["frame:7", "frame:-9", "frame:", "frame:x"])
def test_a_frame_that_is_not_there(store, name):
    with pytest.raises((IndexError, ValueError)):
        store.land(Payload(b"", Segment(name, [1], [False])), [b"the message"])
    assert files(store) == []


# -- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../token", "/etc/passwd", "a/b", ".", "..", ".hidden", ""])
def test_names_that_lead_out_of_the_store_are_refused(store, name):
    payload = Payload(b"", Segment(name, [3], [False]))
    for use in (store.open, lambda p: store.ship(p, [])):
        with pytest.raises(ValueError, match="is no segment's name"):
            use(payload)
    if name:
        with pytest.raises(ValueError, match="is no segment's name"):
            store.drop(payload)
    assert os.path.exists(os.path.join(store.folder, "token"))


def test_a_segment_that_is_gone(store):
    payload = store.payload(LARGE)
    store.drop(payload)
    with pytest.raises(FileNotFoundError):
        store.open(payload)
    with pytest.raises(FileNotFoundError):
        store.ship(payload, [])


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_segment_that_is_too_short(store, kind):
    payload = store.payload(b"head", [kind(LARGE)])
    os.truncate(os.path.join(store.folder, payload.segment.name), 1000)
    with pytest.raises(EOFError, match="shorter than said"):
        store.open(payload)


class Dribbling(io.BytesIO):
    """A raw file that gives at most seven bytes at a time, as a real one does with more than two gigabytes."""

    def read(self, size=-1):
        return super().read(min(size, 7))

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:7])


@pytest.mark.parametrize("writable", [False, True])
def test_files_that_give_their_bytes_piece_by_piece(writable):
    assert segments._read(Dribbling(LARGE), len(LARGE), writable=writable) == LARGE
    with pytest.raises(EOFError):
        segments._read(Dribbling(LARGE), len(LARGE) + 1, writable=writable)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A store on a file system of 64 kB, or where no such thing can be made, with a limit on the size of files."""
    monkeypatch.setattr(segments, "_SHARED_MEMORY", str(tmp_path))
    monkeypatch.setattr(segments, "_LEAST_ROOM", 0)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60 * 1024, before[1]))
    try:
        store = SegmentStore()
        yield store
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if mounted:
            subprocess.run(["umount", str(tmp_path)], check=True)


def test_what_a_killed_writer_has_begun_is_removed_and_nothing_else(store):
    writer = SegmentStore(store.folder, "m-1")
    whole = writer.payload(b"", [b"x"])
    (name,) = [n for n in os.listdir(store.folder) if n.startswith("m-1-")]
    for part in (f"{name}.part", "m-10-ab-1.part", "m-1", "other.part"):
        (pathlib.Path(store.folder) / part).touch()
    before = set(os.listdir(store.folder))
    remove_partial(store.folder, "m-1")
    assert before - set(os.listdir(store.folder)) == {f"{name}.part"}
    assert store.open(whole)[1] == [b"x"]
    remove_partial(f"{store.folder}-nowhere", "m-1")


def test_no_room(tiny):
    with pytest.raises(OSError, match=f"no room for {len(LARGE) + 4} bytes of a task in {tiny.folder}") as caught:
        tiny.payload(b"head", [LARGE])
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert files(tiny) == [], "what was begun is removed"
    fits = tiny.payload(b"head", [LARGE[:20_000]])
    assert tiny.open(fits) == (b"head", [LARGE[:20_000]])


def test_no_room_on_the_other_node(tiny):
    frames = [b"the message", LARGE]
    shipped = Payload(b"", Segment("frame:1", [len(LARGE)], [False]))
    with pytest.raises(OSError, match="no room"):
        tiny.land(shipped, frames)
    assert files(tiny) == []
