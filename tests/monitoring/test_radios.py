from __future__ import annotations

import pickle
import queue
import socket

import pytest

from parsl.curvezmq import create_certificates
from parsl.monitoring import outlet, radios
from parsl.monitoring.errors import MonitoringRouterStartError
from parsl.monitoring.message_type import MessageType
from parsl.monitoring.radios.base import MonitoringRadioReceiver, MonitoringRadioSender, RadioConfig
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.monitoring.radios.htex import HTEXRadio
from parsl.monitoring.radios.udp import UDPRadio
from parsl.monitoring.radios.zmq import ZMQRadioReceiver, ZMQRadioSender
from tests.monitoring.databases import SOON

MESSAGE = (MessageType.RESOURCE_INFO, {"task_id": 1, "try_id": 0})


@pytest.mark.parametrize("make", [lambda: UDPRadio(address="127.0.0.1"), FilesystemRadio], ids=["udp", "files"])
def test_a_message_comes_through_to_a_sender_that_was_pickled(tmp_path, make):
    radio = make()
    messages = queue.Queue()
    receiver = radio.create_receiver(run_dir=str(tmp_path), resource_msgs=messages)
    sender = pickle.loads(pickle.dumps(radio)).create_sender()
    assert isinstance(receiver, MonitoringRadioReceiver)
    assert isinstance(sender, MonitoringRadioSender)
    assert isinstance(radio, RadioConfig)
    sender.send(MESSAGE)
    assert messages.get(timeout=SOON) == MESSAGE
    # What is on its way at the end is taken in.
    sender.send(MESSAGE)
    receiver.shutdown()
    assert messages.get(timeout=SOON) == MESSAGE
    assert repr(make()) == repr(make())


@pytest.mark.parametrize("make", [lambda: UDPRadio(address="127.0.0.1"), FilesystemRadio], ids=["udp", "files"])
def test_a_sender_needs_a_receiver(make):
    with pytest.raises(RuntimeError, match="no receiver yet"):
        make().create_sender()


def test_forged_datagrams_are_dropped(tmp_path, caplog):
    radio = UDPRadio(address="127.0.0.1")
    messages = queue.Queue()
    receiver = radio.create_receiver(run_dir=str(tmp_path), resource_msgs=messages)
    forger = UDPRadio(address="127.0.0.1", port=radio.port)
    forger.hmac_key = b"guessed"
    forger.create_sender().send(MESSAGE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in (b"", b"x", b"x" * 1000):
            stranger.sendto(datagram, ("127.0.0.1", radio.port))
    radio.create_sender().send(MESSAGE)
    assert messages.get(timeout=SOON) == MESSAGE
    receiver.shutdown()
    assert messages.empty()
    assert len([r for r in caplog.records if "signature" in r.message]) == 1


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(MonitoringRouterStartError, match=f"port {port}"):
            UDPRadio(address="127.0.0.1", port=port).create_receiver(run_dir=str(tmp_path), resource_msgs=queue.Queue())


def test_a_hash_that_there_is_not_is_told():
    with pytest.raises(ValueError, match="sha0"):
        UDPRadio(address="127.0.0.1", hmac_digest="sha0")


def test_a_file_that_is_no_message_is_dropped(tmp_path, caplog):
    messages = queue.Queue()
    radio = FilesystemRadio()
    receiver = radio.create_receiver(run_dir=str(tmp_path), resource_msgs=messages)
    (tmp_path / "monitoring" / "radio" / "new" / "0").write_bytes(b"nothing of ours")
    radio.create_sender().send(MESSAGE)
    receiver.shutdown()
    assert messages.get(timeout=SOON) == MESSAGE
    assert "cannot be read" in caplog.text
    assert list((tmp_path / "monitoring" / "radio" / "new").iterdir()) == []


def test_zmq_carries_messages_of_those_who_have_the_certificates(tmp_path):
    certificates = create_certificates(tmp_path)
    messages = queue.Queue()
    receiver = ZMQRadioReceiver("127.0.0.1", None, certificates, messages)
    sender = ZMQRadioSender("127.0.0.1", receiver.port, certificates)
    stranger = ZMQRadioSender("127.0.0.1", receiver.port, None)
    stranger.send("forged")
    sender.send(MESSAGE)
    assert messages.get(timeout=SOON) == MESSAGE
    sender.close()
    stranger._socket.close(0)
    stranger._context.term()
    receiver.shutdown()
    assert messages.empty()


def test_the_pilots_radio_works_on_its_workers_only(monkeypatch):
    sent = []
    sender = HTEXRadio().create_sender()
    with pytest.raises(RuntimeError, match="workers"):
        sender.send(MESSAGE)
    monkeypatch.setattr(outlet, "send", sent.append)
    sender.send(MESSAGE)
    assert len(sent) == 1
    HTEXRadio().create_receiver(run_dir=".", resource_msgs=None).shutdown()


def test_senders_of_the_earlier_release(tmp_path, monkeypatch):
    radio = UDPRadio(address="127.0.0.1")
    messages = queue.Queue()
    receiver = radio.create_receiver(run_dir=str(tmp_path), resource_msgs=messages)
    url = f"udp://127.0.0.1:{radio.port}"
    with pytest.raises(ValueError, match="PARSL_MONITORING_KEY"):
        radios.UDPRadioSender(url)
    monkeypatch.setenv(radios.KEY_VARIABLE, radio.hmac_key.hex())
    with pytest.raises(ValueError, match="udp://"):
        radios.UDPRadioSender("127.0.0.1")
    radios.UDPRadioSender(url, timeout=3).send(MESSAGE)
    assert messages.get(timeout=SOON) == MESSAGE
    receiver.shutdown()
    files = FilesystemRadio()
    receiver = files.create_receiver(run_dir=str(tmp_path), resource_msgs=messages)
    radios.FilesystemRadioSender(monitoring_url="", run_dir=str(tmp_path)).send(MESSAGE)
    receiver.shutdown()
    radios.MultiprocessingQueueRadioSender(messages).send(MESSAGE)
    assert [messages.get(timeout=SOON) for _ in range(2)] == [MESSAGE] * 2
