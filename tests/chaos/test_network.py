"""A node is cut off by the network and joined again: hosts are network namespaces, links are dropped and restored."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests import cloud_services
from tests.chaos.report import ROOT, chaos_report
from tests.live import pilot

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def netns():
    """Give the script that makes hosts, and knows ours by a name of their own."""
    os.environ["NETNS_NAME"] = "chaos"
    try:
        with cloud_services.service("netns"):
            yield str(cloud_services.script_of("netns"))
    finally:
        del os.environ["NETNS_NAME"]


def link(netns, host, state):
    subprocess.run(["bash", netns, "link", str(host), state], check=True)


def test_a_node_that_is_cut_off(netns, tmp_path):
    gate = pilot.Gate(tmp_path / "gate")
    left = tmp_path / "left"
    address = subprocess.run(["bash", netns, "addr", "1"], check=True, capture_output=True, text=True).stdout.strip()
    script = subprocess.Popen(
        ["bash", netns, "exec", "1", sys.executable, "-m", "tests.chaos.cutoff", str(tmp_path), netns, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=pilot.script_environment(),
        cwd=ROOT,
        text=True,
    )

    def expect(*lines):
        assert [script.stdout.readline().strip() for _ in lines] == list(lines)

    def go_on():
        script.stdin.write("\n")
        script.stdin.flush()

    try:
        expect("running")
        # For less than the heartbeat threshold: what ends meanwhile arrives when the link is there again.
        link(netns, 2, "down")
        gate.let(2)
        pilot.wait_for(lambda: left.exists() and len(left.read_text().split()) == 2)
        began = time.monotonic()
        link(netns, 2, "up")
        go_on()
        expect("h2 h3")
        chaos_report("link of a node down, for less than the threshold", "nothing", time.monotonic() - began)

        expect("running again")
        began = time.monotonic()
        link(netns, 2, "down")
        go_on()
        expect("cut off")
        # One more, for the node that is cut off runs its task to the end; nobody counts that.
        gate.let(3)
        go_on()
        expect("h3 h3")
        chaos_report("link of a node down (threshold 3 s)", "nothing: runs elsewhere", time.monotonic() - began)
        expect("done")
        began = time.monotonic()
        link(netns, 2, "up")
        go_on()
        expect("stopped")
        seconds = time.monotonic() - began
        chaos_report("link of a node that was given up is back", "nothing: it is told to stop", seconds)
        gate.let(1)
        expect("h3")
        assert script.wait(20) == 0
    finally:
        link(netns, 2, "up")
        script.kill()
        script.communicate()
        gate.close()
