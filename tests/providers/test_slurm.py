from __future__ import annotations

import pytest

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers.errors import SubmitException
from parsl.providers.slurm.answers import STATES, read_sacct, read_scontrol, read_squeue
from parsl.providers.slurm.slurm import SlurmProvider, batched
from tests.providers.recorded import Commands, recorded, script_of, states

NO_ACCOUNTS = (1, "", "Slurm accounting storage is disabled\n")


def make(tmp_path, **options):
    provider = SlurmProvider(launcher=SimpleLauncher(), **options)
    provider.script_dir = str(tmp_path)
    provider.execute_wait = Commands(
        sbatch=(0, "Submitted batch job 41\n", ""), squeue=(0, "", ""), sacct=(0, "", ""), scancel=(0, "", "")
    )
    return provider


def options_of(provider):
    lines = script_of(provider, provider.submit("true", 1, "block")).splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    return [option for option in options if not option.startswith("--job-name=block.")]


@pytest.mark.parametrize("name", ["sbatch", "sbatch-clusters"])
def test_the_job_id_is_found(name):
    _, out, _ = recorded(f"slurm-22.05/{name}")
    assert SlurmProvider().parse_job_id(out) == out.split()[3]


def test_the_job_id_is_found_among_banners():
    text = "*** Project m123 has 4 hours left ***\nSubmitted batch job 4711 on cluster big\nHave a nice day\n"
    assert SlurmProvider().parse_job_id(text) == "4711"


def test_a_site_may_print_something_else():
    provider = SlurmProvider(regex_job_id=r"job=(?P<id>\d+)")
    assert provider.parse_job_id("ok job=12, queue=x") == "12"
    assert provider.parse_job_id("Submitted batch job 12") is None


@pytest.mark.parametrize("regex", [r"job (\d+)", "("])
def test_a_pattern_that_finds_no_id_is_refused(regex):
    with pytest.raises(ConfigurationError, match="regex_job_id"):
        SlurmProvider(regex_job_id=regex)


def test_squeue():
    _, out, _ = recorded("slurm-22.05/squeue")
    found = read_squeue(out)
    assert sorted(states(found).values()) == ["COMPLETED", "FAILED", "FAILED", "HELD", "PENDING", "RUNNING"]
    (pending,) = [status for status in found.values() if status.state is JobState.PENDING]
    assert "PartitionTimeLimit" in pending.message


def test_squeue_of_an_array():
    _, out, _ = recorded("slurm-22.05/squeue-array")
    assert [job_id.partition("_")[2] for job_id in read_squeue(out)] == ["0", "1", "2"]


def test_squeue_of_several_clusters():
    assert states(read_squeue("CLUSTER: big\n12|RUNNING|None\n")) == {"12": "RUNNING"}
    assert read_squeue("CLUSTER: big\n") == {}


def test_sacct():
    _, out, _ = recorded("slurm-22.05/sacct")
    found = [(status.state.name, status.exit_code) for status in read_sacct(out).values()]
    assert found == [
        ("COMPLETED", 0),
        ("FAILED", 7),
        ("CANCELLED", None),
        ("PENDING", None),
        ("PENDING", None),
        ("FAILED", 137),
    ]


def test_scontrol():
    _, out, _ = recorded("slurm-22.05/scontrol")
    found = list(read_scontrol(out).items())
    assert [status.state.name for _, status in found] == ["FAILED", "FAILED", "CANCELLED"]
    assert [status.exit_code for _, status in found] == [7, 1, 143]
    assert found[1][0].endswith("_1")


@pytest.mark.parametrize("read", [read_squeue, read_sacct, read_scontrol])
@pytest.mark.parametrize("text", ["slurm is being upgraded\n", "<html>\n", "41 RUNNING None\n"])
def test_what_is_no_answer_is_refused(read, text):
    with pytest.raises(ValueError, match="no line about a job"):
        read(text)
    assert read("") == {}


@pytest.mark.parametrize("word", STATES)
def test_all_words_of_slurm(word):
    assert read_squeue(f"1|{word}|None")["1"].state is STATES[word]
    assert read_sacct(f"1|{word}|0:0")["1"].state is STATES[word]


def test_a_new_word_is_unknown_and_told():
    status = read_squeue("1|DREAMING|None")["1"]
    assert status.state is JobState.UNKNOWN
    assert "DREAMING" in status.message


def test_the_special_kinds_of_failure_are_told():
    assert "OUT_OF_MEMORY" in read_sacct("1|OUT_OF_MEMORY|0:125")["1"].message
    assert "NODE_FAIL" in read_squeue("1|NODE_FAIL|NodeDown")["1"].message


def test_defaults(tmp_path):
    assert options_of(make(tmp_path)) == ["--nodes=1", "--ntasks-per-node=1", "--time=00:10:00", "--exclusive"]


def test_all_options(tmp_path):
    provider = make(
        tmp_path,
        partition="debug",
        account="me",
        qos="high",
        constraint="a100|v100",
        clusters="big",
        nodes_per_block=2,
        cores_per_node=8,
        mem_per_node=1.5,
        gpus_per_node="a100:2",
        gres="fs:1",
        walltime="1-00:00:00",
        scheduler_options="#SBATCH --hint=nomultithread",
        exclusive=False,
    )
    assert options_of(provider) == [
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--mem=1536M",
        "--gpus-per-node=a100:2",
        "--gres=fs:1",
        "--time=1-00:00:00",
        "--clusters=big",
        "--partition=debug",
        "--account=me",
        "--qos=high",
        "--constraint='a100|v100'",
        "--hint=nomultithread",
    ]
    provider.status(["41"])
    provider.cancel(["41"])
    asked = provider.execute_wait.asked[1:]
    assert [cmd.split()[0] for cmd in asked] == ["squeue", "sacct", "scancel"]
    assert all("--clusters=big" in cmd for cmd in asked)


def test_a_percent_sign_in_the_path_is_no_pattern(tmp_path):
    provider = make(tmp_path / "100%j")
    path = provider.resources[provider.submit("true", 1)]["script_path"]
    doubled = path.replace("%", "%%")
    assert provider.execute_wait.asked[0] == f"sbatch --output={doubled}.stdout --error={doubled}.stderr {path}"


def test_the_exit_code_comes_from_sacct(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers |= {
        "squeue": (0, "41|FAILED|NonZeroExitCode\n", ""),
        "sacct": (0, "41|FAILED|7:0\n", ""),
    }
    (status,) = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


def test_a_dead_job_is_asked_for_at_sacct(tmp_path):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers |= {
        "squeue": recorded("slurm-22.05/squeue-unknown"),
        "sacct": (0, "41|TIMEOUT|0:0\n", ""),
    }
    assert provider.status([job_id])[0].state is JobState.TIMEOUT


@pytest.mark.parametrize("sacct", [NO_ACCOUNTS, (1, "", "sacct: error: Connection refused")])
def test_without_accounts_scontrol_is_asked(tmp_path, sacct):
    provider = make(tmp_path)
    job_id = provider.submit("true", 1)
    provider.execute_wait.answers |= {
        "squeue": recorded("slurm-22.05/squeue-unknown"),
        "sacct": sacct,
        "scontrol": recorded("slurm-22.05/scontrol"),
    }
    (status,) = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


def test_accounts_that_are_down_are_trouble_and_no_silence(tmp_path):
    provider = make(tmp_path)
    provider.clock = lambda: provider.now
    provider.now = 0.0
    job_id = provider.submit("true", 1)
    unknown = recorded("slurm-22.05/squeue-unknown")
    provider.execute_wait.answers |= {"squeue": unknown, "sacct": (1, "", "refused"), "scontrol": unknown}
    for _ in range(20):
        provider.now += 400
        assert provider.status([job_id])[0].state is JobState.PENDING
    provider.execute_wait.answers["sacct"] = NO_ACCOUNTS
    for _ in range(3):
        provider.now += 400
        provider.status([job_id])
    assert provider.status([job_id])[0].state is JobState.FAILED


def test_wrong_types_and_values():
    with pytest.raises(TypeError, match="nodes_per_block"):
        SlurmProvider(nodes_per_block="2")
    with pytest.raises(ConfigurationError, match="status_batch_size"):
        SlurmProvider(status_batch_size=0)


def test_a_partition_with_a_space_is_one_word(tmp_path):
    assert "--partition='a b; c'" in options_of(make(tmp_path, partition="a b; c"))


def test_a_partition_that_does_not_exist(tmp_path):
    provider = make(tmp_path, partition="nosuch")
    provider.execute_wait.answers["sbatch"] = recorded("slurm-22.05/sbatch-unknown-partition")
    with pytest.raises(SubmitException, match="Invalid partition name specified"):
        provider.submit("true", 1)


def test_batched_is_where_it_was():
    assert list(batched([1, 2, 3], 2)) == [(1, 2), (3,)]


def test_many_blocks_are_one_job_array(tmp_path):
    provider = make(tmp_path)
    job_ids = provider.submit_many([f"echo {n}" for n in range(100)], 1, [f"block-{n}" for n in range(100)])
    assert job_ids == [f"41_{n}" for n in range(100)]
    assert len(provider.execute_wait.asked) == 1
    assert "--array=0-99 " in provider.execute_wait.asked[0]
    record = provider.resources["41_7"]
    assert "echo 7" in script_of(provider, "41_7")
    array = record["script_path"].removesuffix(".7")
    assert record["job_stdout_path"] == f"{array}.7.stdout"
    assert record["exit_code_path"] == f"{array}.7.exitcode"
    provider.execute_wait.answers["squeue"] = (0, "41_0|RUNNING|None\n41_7|PENDING|Resources\n", "")
    assert [s.state.name for s in provider.status(["41_7", "41_0"])] == ["PENDING", "RUNNING"]
    assert provider.cancel(["41_7", "41_0"]) == [True, True]
    assert provider.execute_wait.asked[-1] == "scancel 41_7 41_0"


def test_an_array_that_is_refused_is_one_error(tmp_path):
    provider = make(tmp_path)
    provider.execute_wait.answers["sbatch"] = recorded("slurm-22.05/sbatch-unknown-partition")
    with pytest.raises(SubmitException, match="Invalid partition"):
        provider.submit_many(["true", "true"], 1)
    assert len(provider.execute_wait.asked) == 1
    assert provider.resources == {}


def test_where_arrays_are_refused_blocks_are_submitted_one_by_one(tmp_path):
    provider = make(tmp_path)
    refused = (1, "", "sbatch: error: Batch job submission failed: Invalid job array specification")
    accepted = [(0, f"Submitted batch job {n}\n", "") for n in (1, 2)]
    provider.execute_wait.answers["sbatch"] = [refused, *accepted]
    assert provider.blocks_per_submission > 1
    assert provider.submit_many(["true", "true"], 1) == ["1", "2"]
    assert provider.blocks_per_submission == 1


def test_one_by_one_is_all_or_nothing(tmp_path):
    provider = make(tmp_path)
    provider.array_index = None
    provider.execute_wait.answers["sbatch"] = [(0, "Submitted batch job 1\n", ""), (1, "", "full")]
    with pytest.raises(SubmitException, match="full"):
        provider.submit_many(["true", "true"], 1)
    assert provider.execute_wait.asked[-1] == "scancel 1"


def test_who_replaces_submit_gets_all_blocks(tmp_path):
    provider = make(tmp_path)
    provider.submit = lambda command, tasks_per_node, job_name: f"my {command}"
    assert provider.blocks_per_submission == 1
    assert provider.submit_many(["a", "b"], 1) == ["my a", "my b"]


def test_one_block_is_no_array(tmp_path):
    provider = make(tmp_path)
    assert provider.submit_many(["true"], 1) == ["41"]
    assert provider.submit_many([], 1) == []
