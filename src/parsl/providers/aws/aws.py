"""Blocks as machines of Amazon's EC2, or of a cloud with the same interface."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from parsl.errors import ConfigurationError
from parsl.jobs.states import JobState, JobStatus
from parsl.providers.aws.machine import describe, end_of, market_options
from parsl.providers.aws.network import RUN_TAG, Network, name_tags
from parsl.providers.aws.session import load_state, make_client, make_session, save_state
from parsl.providers.base import launcher_or_default
from parsl.providers.cloud import MachineProvider, load_sdk, machine_script
from parsl.providers.errors import ExecutionProviderException, SubmitException
from parsl.utils import wtime_to_minutes
from parsl.validation import check_types

if TYPE_CHECKING:
    from parsl.providers.base import AnyLauncher

__all__ = ["AWSProvider"]

logger = logging.getLogger(__name__)

_MOST_USER_DATA = 16384
_NO_ROOM = ("InsufficientInstanceCapacity", "Unsupported")
_ENDING = frozenset({"shutting-down", "terminated"})


class AWSProvider(MachineProvider):
    """Runs each block on a machine of EC2, which is made for it and ends with it.

    Machines run in a private network (a VPC) of their own, which is made for the first of them. All that this provider
    makes carries a tag with its `run_id`; nothing else is looked at or ended. The endpoint is Amazon's, or that of the
    environment variables AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_EC2.

    Args:
        image_id: Image of the machines, such as "ami-0abc"; it has to have bash, cloud-init and what workers need.
        key_name: Name of an existing key pair, to log in to the machines with; "" for none.
        init_blocks: Blocks to start with.
        min_blocks: Blocks to keep when there is nothing to do.
        max_blocks: Blocks to have at most.
        nodes_per_block: Always 1.
        parallelism: Workers to ask for per waiting task, 0 to 1.
        worker_init: Bash text to run on the machine before the command.
        instance_type: Type of the machines.
        region: Region to make them in.
        spot_max_bid: Most to pay for an hour of a spot instance, in US dollars; 0 for machines on demand.
        key_file: JSON file with `AWSAccessKeyId` and `AWSSecretKey`; None to have boto3 find the credentials.
        profile: Profile of boto3's configuration files to use.
        iam_instance_profile_arn: Role of the machines; "" for none.
        state_file: File that remembers the network from one run to the next. Without one the network is deleted at the
            end of the run.
        walltime: HH:MM:SS: how long a block is thought to be needed. EC2 knows no such limit, so nothing ends it then.
        linger: Leave machines on when their command has ended or they are to be ended; you end them.
        launcher: Starts the command on the machine; None for a SingleNodeLauncher.

    Raises:
        TypeError: An argument has a wrong type. It is a BadLauncher for a launcher that can't be called.
        ConfigurationError: A value can't be meant.
    """

    label = "ec2"

    @check_types
    def __init__(
        self,
        image_id: str,
        key_name: str,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 10,
        nodes_per_block: int = 1,
        parallelism: float = 1,
        worker_init: str = "",
        instance_type: str = "t2.small",
        region: str = "us-east-2",
        spot_max_bid: float = 0,
        key_file: str | None = None,
        profile: str | None = None,
        iam_instance_profile_arn: str = "",
        state_file: str | None = None,
        walltime: str = "01:00:00",
        linger: bool = False,
        launcher: AnyLauncher | None = None,
    ) -> None:
        super().__init__(
            nodes_per_block=nodes_per_block,
            init_blocks=init_blocks,
            min_blocks=min_blocks,
            max_blocks=max_blocks,
            parallelism=parallelism,
        )
        if nodes_per_block != 1:
            raise ConfigurationError(f"AWSProvider: nodes_per_block is always 1, but is {nodes_per_block}")
        if spot_max_bid < 0:
            raise ConfigurationError(f"AWSProvider: spot_max_bid has to be at least 0, but is {spot_max_bid}")
        try:
            wtime_to_minutes(walltime)
        except ValueError as error:
            raise ConfigurationError(f"AWSProvider: {error}") from error
        self.image_id = image_id
        self.key_name = key_name
        self.worker_init = worker_init
        self.instance_type = instance_type
        self.region = region
        self.spot_max_bid = spot_max_bid
        self.key_file = key_file
        self.profile = profile
        self.iam_instance_profile_arn = iam_instance_profile_arn
        self.state_file = state_file
        self.walltime = walltime
        self.linger = linger
        self.launcher = launcher_or_default(launcher)
        self.session: Any = None
        self.client: Any = None
        self.instances: list[str] = []
        self._network: Network | None = None
        self._earlier_instances: list[str] = []

    # -- EC2 -----------------------------------------------------------------------------------------------------

    def create_session(self) -> Any:
        """Make boto3's session with the credentials of `key_file`, of `profile`, or those that boto3 finds.

        Raises:
            ConfigurationError: `key_file` can't be read, or the profile does not exist.
        """
        self.session = make_session(self.region, self.profile, self.key_file)
        return self.session

    def initialize_boto_client(self) -> Any:
        """Make boto3's client for EC2, which has limits on how long it waits and tries again by itself."""
        self.client = make_client(self.session or self.create_session())
        self._network = Network(self.client, self.run_id)
        return self.client

    @property
    def network(self) -> Network:
        """The network of the machines; it is not made by asking for it."""
        if self._network is None:
            self.initialize_boto_client()
        assert self._network is not None
        return self._network

    def _sdk_errors(self) -> tuple[type[Exception], ...]:
        errors = load_sdk("aws", "botocore.exceptions")
        return (errors.ClientError, errors.BotoCoreError)

    def create_vpc(self) -> str:
        """Make the network, or none of it; return the id of its VPC.

        Raises:
            SubmitException: EC2 refused; the text says why.
        """
        network = self.network
        atexit.register(self.goodbye)
        try:
            network.create(f"parsl-{self.run_id}")
        except self._sdk_errors() as error:
            left = network.delete(self._sdk_errors())
            refused = self._refused("network", error)
            refused.message = "; ".join([str(refused.message), *left])
            raise refused from error
        self.write_state_file()
        return str(network.vpc_id)

    def config_route_table(self, vpc: str, internet_gateway: str) -> str:
        """Send what leaves a VPC (its id) through an internet gateway (its id); return the id of the route table."""
        return self.network.config_route_table(vpc, internet_gateway)

    def security_group(self, vpc: str, name: str) -> str:
        """Make a security group in a VPC (its id) that lets in what comes from the same network; return its id."""
        return self.network.security_group(vpc, name)

    def create_name_tag_spec(self, resource_type: str, name: str) -> list[dict[str, Any]]:
        """Write the tags for a resource: its name, and the mark of this provider."""
        return name_tags(resource_type, name, self.run_id)

    def generate_aws_id(self) -> str:
        """Make up a unique word."""
        return f"parsl-{os.urandom(8).hex()}"

    def xstr(self, s: object) -> str:
        """Turn anything into text, None into the empty one."""
        return "" if s is None else str(s)

    # -- blocks --------------------------------------------------------------------------------------------------

    def _start(self, launch: str, job_name: str) -> str:
        self._use_network()
        return self.spin_up_instance(launch, job_name)

    def _use_network(self) -> None:
        network = self.network
        if network.complete:
            return
        if self.state_file is not None and os.path.exists(self.state_file):
            self.read_state_file(self.state_file)
        if not network.complete:
            self.create_vpc()

    def spin_up_instance(self, command: str, job_name: str) -> str:
        """Start a machine in the first zone that has one.

        Args:
            command: Bash text to run after `worker_init`.
            job_name: Name of the machine.

        Returns:
            Its id.
        """
        mark = self.generate_aws_id()
        script = machine_script(self.worker_init, command, mark, power_off=not self.linger)
        size = len(script.encode())
        if size > _MOST_USER_DATA:
            message = f"worker_init and command make a script of {size} bytes, EC2 takes {_MOST_USER_DATA}"
            raise SubmitException(job_name, message)
        request = self._request(script, job_name)
        subnets = self.network.subnet_ids
        for number, subnet in enumerate(subnets):
            try:
                # The token keeps a request that is sent twice, after an answer was lost, from making two machines.
                made = self.client.run_instances(SubnetId=subnet, ClientToken=f"{mark}-{number}", **request)
                break
            except load_sdk("aws", "botocore.exceptions").ClientError as error:
                if error.response["Error"]["Code"] not in _NO_ROOM or subnet == subnets[-1]:
                    raise
                logger.info("%s: no room in subnet %s: %s", self.label, subnet, error)
        else:
            raise SubmitException(job_name, f"the network {self.network.vpc_id} has no subnets")
        instance = str(made["Instances"][0]["InstanceId"])
        self.instances.append(instance)
        self._add(instance, job_name, mark=mark)
        atexit.register(self.goodbye)
        self.write_state_file()
        return instance

    def _request(self, script: str, job_name: str) -> dict[str, Any]:
        """Write what all attempts to start a machine have in common."""
        request: dict[str, Any] = {
            "ImageId": self.image_id,
            "InstanceType": self.instance_type,
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": script,
            "SecurityGroupIds": [self.network.security_group_id],
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": self.create_name_tag_spec("instance", job_name)
            + self.create_name_tag_spec("volume", job_name),
        }
        if self.key_name:
            request["KeyName"] = self.key_name
        if self.iam_instance_profile_arn:
            request["IamInstanceProfile"] = {"Arn": self.iam_instance_profile_arn}
        if self.spot_max_bid:
            request["InstanceMarketOptions"] = market_options(self.spot_max_bid)
        return request

    def _ours(self) -> dict[str, dict[str, Any]]:
        """Describe the machines that this provider made, and no others."""
        return describe(self.network.client, {f"tag:{RUN_TAG}": [self.run_id]})

    def _look(self, job_ids: list[str]) -> dict[str, JobStatus]:
        machines = self._ours()
        return {job_id: self._status_of(job_id, machines.get(job_id)) for job_id in job_ids}

    def _status_of(self, job_id: str, machine: dict[str, Any] | None) -> JobStatus:
        known = self.resources[job_id]
        if machine is None:
            if not known.get("seen"):  # a new machine is not listed at once
                return JobStatus(JobState.UNKNOWN)
            # EC2 lists an ended machine for about an hour, and now and then an answer is not complete.
            known["unseen"] = known.get("unseen", 0) + 1
            if known["unseen"] < 3:
                return JobStatus(JobState.UNKNOWN, "EC2 does not list the machine")
            return self._switched_off(job_id, "EC2 no longer lists the machine")
        known.update(seen=True, unseen=0)
        state = machine["State"]["Name"]
        if state == "pending":
            return JobStatus(JobState.PENDING)
        if state == "running":
            return JobStatus(JobState.RUNNING)
        if state not in {"stopped", "terminated"}:
            return JobStatus(JobState.UNKNOWN, f"the machine is {state}")
        known["stopped"] = state == "stopped"
        status, reason = end_of(machine)
        return status or self._switched_off(job_id, reason)

    def _console(self, job_id: str) -> str:
        return str(self.client.get_console_output(InstanceId=job_id).get("Output", ""))

    def _release(self, job_id: str) -> None:
        if self.resources[job_id].get("stopped"):  # its disk is still there, and paid for
            self.shut_down_instance([job_id])
        self.write_state_file()

    def _end(self, job_ids: list[str]) -> dict[str, str]:
        failed: dict[str, str] = {}
        try:
            self.shut_down_instance(job_ids)
        except load_sdk("aws", "botocore.exceptions").ClientError:
            # One machine that EC2 does not know spoils the request for all.
            failed = self._each(job_ids, self._end_one)
        self.write_state_file()
        return failed

    def _end_one(self, job_id: str) -> None:
        try:
            self.shut_down_instance([job_id])
        except load_sdk("aws", "botocore.exceptions").ClientError as error:
            gone = error.response["Error"]["Code"] == "InvalidInstanceID.NotFound"
            if not (gone and self.resources[job_id].get("seen")):  # a new machine is not known everywhere at once
                raise

    def get_instance_state(self, instances: list[str] | None = None) -> dict[str, str]:
        """Tell the states of this provider's machines in EC2's words, by their ids.

        Args:
            instances: Ids; None for all of them.
        """
        machines = self._ours()
        wanted = list(machines) if instances is None else instances
        return {i: str(machines[i]["State"]["Name"]) for i in wanted if i in machines}

    def shut_down_instance(self, instances: list[str] | None = None) -> None:
        """Terminate machines.

        Args:
            instances: Their ids; None for the one started last.
        """
        chosen = self.instances[-1:] if instances is None else list(instances)
        if chosen:
            self.network.client.terminate_instances(InstanceIds=chosen)
            self.instances = [i for i in self.instances if i not in chosen]

    # -- from one run to the next --------------------------------------------------------------------------------

    @property
    def _state_path(self) -> str | None:
        if self.state_file is not None or self.script_dir is None:
            return self.state_file
        return os.path.join(self.script_dir, f"aws-{self.run_id}.json")

    def read_state_file(self, state_file: str) -> None:
        """Use the network that an earlier run left, if it is still there.

        Machines that the file names are not used; `teardown` ends them.

        Args:
            state_file: The file.

        Raises:
            ConfigurationError: It can't be read, or is from another region.
        """
        state = load_state(state_file, self.region)
        self._earlier_instances = list(state["instances"])
        self.network.restore(state["network"])
        if not self.network.exists():
            logger.warning("%s: the network in %s is gone, a new one is made", self.label, state_file)
            self._network = Network(self.client, self.run_id)

    def write_state_file(self) -> None:
        """Remember network and machines in the state file; without one, for a run that is killed, in `script_dir`."""
        path = self._state_path
        if path is None:
            return
        instances = [*self._earlier_instances, *self.instances]
        state = {"region": self.region, "instances": instances, "network": self.network.state()}
        try:
            save_state(path, state)
        except OSError as error:
            logger.warning("%s: the state file %s can't be written: %s", self.label, path, error)

    def show_summary(self) -> str:
        """Log, and return, what there is: network and machines."""
        lines = [f"{key}: {value}" for key, value in self.network.state().items()]
        lines += [f"instance {i}: {state}" for i, state in self.get_instance_state().items()]
        summary = "\n".join([f"EC2 in {self.region}, run {self.run_id}", *lines])
        logger.info("%s", summary)
        return summary

    def teardown(self) -> None:
        """End all machines of this provider and delete the network; wait until that is done.

        Raises:
            ExecutionProviderException: Something is still there; the text says what, and EC2's reason.
        """
        self._end_machines(wait=True)
        left = self.network.delete(self._sdk_errors())
        if left:
            self.write_state_file()
            raise ExecutionProviderException(f"{self.label}: not all could be deleted: {'; '.join(left)}")
        atexit.unregister(self.goodbye)
        if self._state_path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._state_path)

    def _end_machines(self, *, wait: bool) -> None:
        try:
            earlier = {"instance-id": self._earlier_instances}
            found = {**self._ours(), **(describe(self.client, earlier) if self._earlier_instances else {})}
            machines = sorted(i for i, machine in found.items() if machine["State"]["Name"] not in _ENDING)
            if not found:
                return
            self.shut_down_instance(machines)
            self._earlier_instances = []
            if wait:
                waiter = self.client.get_waiter("instance_terminated")
                waiter.wait(InstanceIds=sorted(found), WaiterConfig={"Delay": 5, "MaxAttempts": 60})
        except self._sdk_errors() as error:
            raise ExecutionProviderException(f"{self.label}: machines can't be ended: {error}") from error

    def goodbye(self) -> None:
        """Leave, at the end of the program: all is deleted but what `linger` and `state_file` keep."""
        atexit.unregister(self.goodbye)
        if self.linger:
            logger.warning("%s: linger is set, so this is left for you to end:\n%s", self.label, self.show_summary())
            return
        try:
            if self.state_file is None:
                self.teardown()
            else:
                self._end_machines(wait=False)
        except ExecutionProviderException:
            logger.exception("%s: something is left behind", self.label)
