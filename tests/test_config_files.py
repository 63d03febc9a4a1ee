from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from parsl.config import Config
from parsl.config_files import arguments_from
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.doctor.loading import load_config
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.executors.high_throughput.executor import HighThroughputExecutor
from parsl.executors.high_throughput.manager_selector import RandomManagerSelector
from parsl.executors.threads import ThreadPoolExecutor
from parsl.launchers import SrunLauncher
from parsl.logconfigs.file import FileLogging
from parsl.providers import LocalProvider, SlurmProvider
from tests.plugin_package import install

needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")

TOML = """
retries = 2
run_dir = "runs"
strategy = "none"
retry_handler = {object = "parsl.utils.wtime_to_minutes"}
initialize_logging = {class = "parsl.logconfigs.file.FileLogging", level = 10}

[[executors]]
class = "HighThroughputExecutor"
label = "nodes"
max_workers_per_node = 4
worker_port_range = [50000, 50100]
storage_access = [{class = "NoOpFileStaging"}]
manager_selector = {class = "parsl.executors.high_throughput.manager_selector.RandomManagerSelector"}

[executors.provider]
class = "SlurmProvider"
partition = "debug"
nodes_per_block = 2
launcher = {class = "SrunLauncher", overrides = "--mem=0"}

[[executors]]
class = "parsl.executors.threads.ThreadPoolExecutor"
max_threads = 3
"""


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return write


@needs_toml
def test_a_whole_configuration_in_toml(write):
    from parsl.utils import wtime_to_minutes

    config = Config.from_file(write(TOML, "mine.toml"))
    assert (config.retries, config.run_dir, config.strategy) == (2, "runs", "none")
    assert config.retry_handler is wtime_to_minutes
    assert isinstance(config.initialize_logging, FileLogging)
    nodes, threads = config.executors
    assert isinstance(nodes, HighThroughputExecutor)
    assert (nodes.label, nodes.max_workers_per_node, nodes.worker_port_range) == ("nodes", 4, (50000, 50100))
    assert [type(s) for s in nodes.storage_access] == [NoOpFileStaging]
    assert isinstance(nodes.manager_selector, RandomManagerSelector)
    assert isinstance(nodes.provider, SlurmProvider)
    assert (nodes.provider.partition, nodes.provider.nodes_per_block) == ("debug", 2)
    assert isinstance(nodes.provider.launcher, SrunLauncher)
    assert nodes.provider.launcher.overrides == "--mem=0"
    assert isinstance(threads, ThreadPoolExecutor)
    assert threads.max_threads == 3


@needs_toml
def test_json_says_the_same(write, tmp_path):
    import tomllib

    from_toml = Config.from_file(write(TOML, "mine.toml"))
    from_json = Config.from_file(write(tomllib.loads(TOML)))
    # All but what has no text of its own, such as the address of an object.
    assert re.sub(" at 0x[0-9a-f]+", "", repr(from_json)) == re.sub(" at 0x[0-9a-f]+", "", repr(from_toml))
    assert Config.from_file(tmp_path / "mine.json").retries == 2


def test_an_empty_file_is_the_default(write):
    assert repr(Config.from_file(write({}))) == repr(Config())


def test_a_plug_in_by_its_short_name(write, tmp_path, monkeypatch):
    install(tmp_path / "site", "[parsl.executors]\nMine = plugged3:PluggedExecutor\n", name="plugged3")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (executor,) = Config.from_file(write({"executors": [{"class": "Mine", "label": "m"}]})).executors
    assert (type(executor).__module__, executor.label) == ("plugged3", "m")
    monkeypatch.delitem(sys.modules, "plugged3")


def test_tables_without_a_class_are_dictionaries(write):
    arguments = arguments_from(write({"executors": [], "anything": {"a": {"b": [1, {"c": 2}]}}}))
    assert arguments == {"executors": [], "anything": {"a": {"b": [1, {"c": 2}]}}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is not well formed: "),
        ("[1]", "holds a list, but it must be one table of settings"),
        ({"retrys": 1}, "unexpected keyword argument 'retrys'"),
        ({"retries": "1"}, "parameter 'retries' takes int, but got str: '1'"),
        ({"retries": -1}, "parameter 'retries' must be at least 0"),
        (
            {"executors": [{"class": "ThreadPoolExecutr"}]},
            "executors[0]: there is no executor 'ThreadPoolExecutr' (did",
        ),
        ({"executors": [{"class": 5}]}, "executors[0]: 'class' must be a name in quotes, but is 5"),
        (
            {"executors": [{"class": "ThreadPoolExecutor"}, {"class": "ThreadPoolExecutor", "threads": 3}]},
            "executors[1]: ThreadPoolExecutor cannot be made: ",
        ),
        (
            {"executors": [{"class": "ThreadPoolExecutor", "max_threads": 0}]},
            "executors[0]: ThreadPoolExecutor cannot be made: ThreadPoolExecutor: parameter 'max_threads' must be",
        ),
        (
            {"executors": [{"class": "HighThroughputExecutor", "provider": {"class": "SlurmProvidr"}}]},
            "executors[0].provider: there is no provider 'SlurmProvidr' (did you mean 'SlurmProvider'?)",
        ),
        (
            {"executors": [{"class": "HighThroughputExecutor", "provider": {"class": "no.such.Provider"}}]},
            "executors[0].provider: 'no.such.Provider' cannot be used: importing 'no.such' raises",
        ),
        ({"initialize_logging": {"class": "FileLogging"}}, "initialize_logging: 'class' must be a full path"),
        ({"retry_handler": {"object": "parsl.utils.nothing"}}, "retry_handler: 'parsl.utils.nothing' cannot be used"),
        ({"retry_handler": {"object": "handler"}}, "retry_handler: 'object' stands alone, with a full path"),
        ({"retry_handler": {"object": "a.b", "more": 1}}, "retry_handler: 'object' stands alone, with a full path"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(write, content, text):
    path = write(content)
    with pytest.raises(ConfigurationError) as info:
        Config.from_file(path)
    assert str(info.value).startswith(f"the configuration {path}")
    assert text in str(info.value)


def test_files_that_cannot_be_read(tmp_path, write):
    with pytest.raises(ConfigurationError, match=r"cannot read the configuration .*none\.json: No such file"):
        Config.from_file(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match=r"must be a \.toml or \.json file"):
        Config.from_file(write("", "mine.yaml"))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigurationError, match="is not well formed"):
        Config.from_file(tmp_path / "bytes.json")
    (tmp_path / "bad.toml").write_text("a = \n")
    if sys.version_info >= (3, 11):
        with pytest.raises(ConfigurationError, match="is not well formed"):
            Config.from_file(tmp_path / "bad.toml")


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="has tomllib")
def test_toml_before_python_3_11_needs_tomli(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(OptionalModuleMissing, match="tomli"):
        Config.from_file(write("", "mine.toml"))


# -- where commands take such files ------------------------------------------------------------------------------------


def test_commands_read_them_with_what_lies_beside_them(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_config.py").write_text(
        "from parsl.executors.threads import ThreadPoolExecutor\nclass Mine(ThreadPoolExecutor): pass\n"
    )
    (executor,) = load_config(write({"executors": [{"class": "beside_config.Mine", "label": "x"}]})).executors
    assert (type(executor).__name__, executor.label) == ("Mine", "x")
    with pytest.raises(ConfigurationError, match="cannot read the configuration"):
        load_config(str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError, match=r"executors\[0\]: there is no executor 'Nine'"):
        load_config(write({"executors": [{"class": "Nine"}]}))


def test_local_blocks_from_a_file(write):
    provider = {"class": "LocalProvider", "init_blocks": 0, "max_blocks": 2}
    config = Config.from_file(write({"executors": [{"class": "HighThroughputExecutor", "provider": provider}]}))
    (executor,) = config.executors
    assert isinstance(executor.provider, LocalProvider)
    assert (executor.provider.init_blocks, executor.provider.max_blocks) == (0, 2)


@needs_toml
def test_the_example_of_the_documentation(write):
    page = (Path(__file__).parent.parent / "docs/how-to/configure-from-a-file.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    nodes, here = Config.from_file(write(example, "my_machine.toml")).executors
    assert (nodes.label, nodes.provider.partition, here.max_threads) == ("nodes", "debug", 4)
