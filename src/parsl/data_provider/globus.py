"""Staging by Globus: the service copies between two collections, and nothing waits on a thread for each file."""

from __future__ import annotations

import os
import posixpath
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parsl.app.futures import DataFuture
from parsl.data_provider.globus_transfers import PAGE, GlobusRequest, GlobusTransfers
from parsl.data_provider.staging import Staging
from parsl.data_provider.transfer import WithFolder
from parsl.errors import ConfigurationError, OptionalModuleMissing
from parsl.representation import RepresentationMixin
from parsl.validation import check_types

if TYPE_CHECKING:
    from concurrent.futures import Future

    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File

CLIENT_ID = "PARSL_GLOBUS_CLIENT_ID"
CLIENT_SECRET = "PARSL_GLOBUS_CLIENT_SECRET"  # noqa: S105 - the name of a variable


class GlobusStaging(Staging, RepresentationMixin):
    """Has Globus copy `globus://COLLECTION/path` files to and from the collection of an executor.

    The executor needs a `working_dir`, and that folder has to be in the collection.

    Args:
        endpoint_uuid: the collection through which Globus reaches the executor's file system.
        endpoint_path: a path in that collection; None is its root, `/`.
        local_path: the same place as the executor's workers see it; None is `/`.

    Raises:
        TypeError: when an argument is of a wrong type.
    """

    @check_types
    def __init__(self, endpoint_uuid: str, endpoint_path: str | None = None, local_path: str | None = None) -> None:
        self.endpoint_uuid = endpoint_uuid
        self.endpoint_path = endpoint_path
        self.local_path = local_path
        self._transfers: weakref.WeakKeyDictionary[DataManager, GlobusTransfers] = weakref.WeakKeyDictionary()

    def can_stage_in(self, file: File) -> bool:
        """Tell whether the file is of scheme globus."""
        return file.scheme == "globus"

    def can_stage_out(self, file: File) -> bool:
        """Tell whether the file is of scheme globus."""
        return file.scheme == "globus"

    def stage_in(self, dm: DataManager, executor: str, file: File, parent_fut: Future[Any] | None) -> DataFuture | None:
        """Have the file copied to the executor, once its producer has ended."""
        here = self._place(dm, executor, file)
        request = GlobusRequest(file.netloc, file.path, self.endpoint_uuid, here, f"{file.url} for {dm.asker()}")
        return DataFuture(self._service(dm).submit(request, after=parent_fut), file)

    def stage_out(self, dm: DataManager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """Have the file copied from the executor, once the app has ended."""
        here = self._place(dm, executor, file)
        request = GlobusRequest(self.endpoint_uuid, here, file.netloc, file.path, f"{file.url} of {dm.asker()}")
        return self._service(dm).submit(request, after=app_fu)

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See to it that there is the folder into which the function writes."""
        return WithFolder(func, os.path.abspath(dm.place(file, executor)))

    def _place(self, dm: DataManager, executor: str, file: File) -> str:
        """Choose where a task finds its file; return that place as a path in the collection."""
        if not dm.dfk.executors[executor].working_dir:
            raise ConfigurationError(
                f"Executor {executor!r} needs a working_dir for {file.url}: a folder within its Globus collection"
            )
        file.local_path = os.path.abspath(dm.place(file, executor))
        root = os.path.abspath(self.local_path or "/")
        inside = os.path.relpath(file.local_path, root)
        if inside.startswith(os.pardir):
            raise ConfigurationError(
                f"{file.local_path}, where executor {executor!r} has its files, is not within local_path={root!r}, "
                f"which is {self.endpoint_path or '/'} of Globus collection {self.endpoint_uuid}"
            )
        return posixpath.join(self.endpoint_path or "/", inside)

    def _service(self, dm: DataManager) -> GlobusTransfers:
        service = self._transfers.get(dm)
        if service is None:
            service = self._transfers[dm] = GlobusTransfers(TransferService(transfer_client()))
            dm.when_closed(service.close)
        return service


class TransferService:
    """The transfer service of Globus.

    Args:
        client: a `globus_sdk.TransferClient`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, request: GlobusRequest) -> str:
        """Ask for a transfer; return its id."""
        from globus_sdk import TransferData

        # Globus gives a file its name when it begins; its checksum tells in the end whether all of it has arrived.
        data = TransferData(
            request.source,
            request.target,
            label=allowed_label(request.label),
            verify_checksum=True,
            fail_on_quota_errors=True,
            notify_on_succeeded=False,
            notify_on_failed=False,
            notify_on_inactive=False,
        )
        data.add_item(request.source_path, request.target_path)
        return str(self._client.submit_transfer(data)["task_id"])

    def documents(self, task_ids: Sequence[str]) -> Iterable[Mapping[str, Any]]:
        """Return the service's documents about transfers."""
        found: Iterable[Mapping[str, Any]] = self._client.task_list(limit=PAGE, filter={"task_id": list(task_ids)})
        return found

    def cancel(self, task_id: str) -> None:
        """Cancel a transfer."""
        self._client.cancel_task(task_id)


def allowed_label(label: str) -> str:
    """Return a label as the service allows it: 128 letters, digits, blanks and a few signs."""
    return "".join(c if c.isalnum() or c in " -_," else "-" for c in label)[:128]


def globus_app() -> Any:
    """Make the Globus application as which files are transferred.

    It is registered at app.globus.org by whoever runs workflows; its id comes from the environment variable
    PARSL_GLOBUS_CLIENT_ID. With PARSL_GLOBUS_CLIENT_SECRET it acts for itself, otherwise for the user who has logged in
    by `parsl-globus-auth`.

    Returns:
        A `globus_sdk.ClientApp` or `UserApp`.

    Raises:
        OptionalModuleMissing: when globus-sdk is not installed.
        ConfigurationError: when the variable is not set.
    """
    try:
        from globus_sdk import ClientApp, GlobusAppConfig, UserApp
    except ImportError as e:
        raise OptionalModuleMissing(
            ["globus_sdk"], "Staging by Globus needs it: pip install 'parsl[globus_transfer]'"
        ) from e
    client_id, secret = os.environ.get(CLIENT_ID), os.environ.get(CLIENT_SECRET)
    if not client_id:
        raise ConfigurationError(
            f"Globus wants to know the application: register one at https://app.globus.org/settings/developers and "
            f"put its client id into the environment variable {CLIENT_ID}"
        )
    if secret:
        config = GlobusAppConfig(token_storage="memory")  # noqa: S106 - a kind of storage
        return ClientApp("parsl", client_id=client_id, client_secret=secret, config=config)
    return UserApp("parsl", client_id=client_id, config=GlobusAppConfig(request_refresh_tokens=True))


def transfer_client() -> Any:
    """Make the client of the transfer service.

    Returns:
        A `globus_sdk.TransferClient`.

    Raises:
        ConfigurationError: when nobody has logged in; asking for it in the middle of a workflow would hold it up.
        OptionalModuleMissing: when globus-sdk is not installed.
    """
    app = globus_app()
    from globus_sdk import TransferClient, UserApp

    client = TransferClient(app=app, app_name="parsl")
    if isinstance(app, UserApp) and app.login_required():
        raise ConfigurationError("Nobody has logged in to Globus on this machine: run parsl-globus-auth first")
    return client


def cli_run(arguments: Sequence[str] | None = None) -> None:
    """Log in to Globus, so that workflows can transfer files afterwards: the command `parsl-globus-auth`.

    Args:
        arguments: ids of collections that ask for a consent of their own (mapped collections); None takes those of
            the command line.
    """
    import argparse

    parser = argparse.ArgumentParser(prog="parsl-globus-auth", description="Log in to Globus for staging of files.")
    parser.add_argument("collections", nargs="*", help="ids of mapped collections, which ask for a consent each")
    options = parser.parse_args(arguments)
    try:
        app = globus_app()
    except (OptionalModuleMissing, ConfigurationError) as e:
        sys.exit(f"parsl-globus-auth: {e}")
    from globus_sdk import TransferClient

    client = TransferClient(app=app, app_name="parsl")
    if options.collections:
        client.add_app_data_access_scope(options.collections)
    if app.login_required():
        app.login()
    sys.stdout.write("You are logged in to Globus.\n")
