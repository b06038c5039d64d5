"""Ray, which places processes and connects them. Nothing else of llmbatch knows it.

Keys travel as arguments of methods only: what is in an actor's constructor, its environment or
its name stands in Ray's stores, its logs or its dashboard. That was looked for in Ray 2.60.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from typing import Any, Final

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from llmbatch_cli.cluster.coordinator import Status
from llmbatch_cli.cluster.messages import Orders, Report, StopKind, Why
from llmbatch_cli.cluster.service import Service
from llmbatch_cli.cluster.session import work
from llmbatch_cli.cluster.site import (
    VERSIONS,
    Secret,
    Site,
    cannot_use,
    name_of,
    other_versions,
)
from llmbatch_cli.core.collector import collect_seldom
from llmbatch_cli.core.errors import LlmbatchError, UsageError
from llmbatch_cli.loops import loop_factory
from llmbatch_cli.storage import is_remote
from llmbatch_cli.storage.adopting import adopt

NAMESPACE: Final = "llmbatch"
ANSWER_S: Final = 5.0
"""A call to the coordinator that takes longer is given up, and made again."""
DRAIN_S: Final = 30.0
"""How long the run of a command that is gone has to end."""
CONNECT_S: Final = 5.0
ASK_S: Final = 0.5
FOLLOWED_S: Final = 4.0
"""A command that follows a run asks more often."""
LINGER_S: Final = 60.0
"""A coordinator whose run is over waits so long for somebody to ask how it went."""


class CoordinatorActor:
    """The coordinator in a process of its own, which Ray starts anew where it dies."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._secret: Secret | None = None
        self._service: Service | None = None
        self._opening = asyncio.Lock()
        self._asked = asyncio.Event()

    async def open(self, secret: Secret) -> Why | None:
        """Begin. Returns why it cannot."""
        self._take(secret)
        if self._site.versions != VERSIONS:
            return other_versions(self._site.versions)
        try:
            await self._opened(again=False)
        except LlmbatchError as error:
            return Why("usage", error.message, error.hint)
        except OSError as error:
            return cannot_use(self._site, error)
        return None

    async def tell(self, secret: Secret) -> None:
        """What a coordinator that was started anew has lost."""
        self._take(secret)

    def _take(self, secret: Secret) -> None:
        self._secret = secret
        adopt(secret.environ)

    @property
    def _is_locked_out(self) -> bool:
        """Whether it cannot use the folder before it is told the secret."""
        return self._secret is None and is_remote(self._site.service.folder.address)

    async def beat(self, run: str, report: Report) -> tuple[Orders | None, bool]:
        """What a worker says, and is told; and whether the coordinator lacks the secret.

        Without orders it has to be told that first.
        """
        if run != self._site.run:  # a worker of the run before this one
            return Orders(lost=report.held, stop="cancel", is_over=True), False
        if self._is_locked_out:
            return None, True
        service = await self._opened(again=True)
        return await service.beat(report), self._secret is None

    async def poll(self, notices_from: int = 0) -> tuple[Status | None, bool]:
        """How it stands; and whether the coordinator lacks the secret.

        Without an answer it has to be told that first.
        """
        if self._is_locked_out:
            return None, True
        service = await self._opened(again=True)
        self._asked.set()
        return service.poll(notices_from), self._secret is None

    async def unheard_s(self) -> float | None:
        """How long no command has asked how it stands; None for a run that was left to itself."""
        return 0.0 if self._is_locked_out else (await self._opened(again=True)).unheard_s

    async def stop(self, kind: StopKind) -> None:
        """End the run early."""
        (await self._opened(again=True)).stop(kind)

    async def _opened(self, *, again: bool) -> Service:
        async with self._opening:
            if self._service is None:
                if again and not ray.get_runtime_context().was_current_actor_reconstructed:
                    raise RuntimeError("the coordinator is not open yet")
                service = Service(self._site.service, self._spawn)
                service.can_spawn = lambda: self._secret is not None
                await service.open(again=again)
                self._service = service
                self._leaving = asyncio.ensure_future(self._leave(service))
        return self._service

    async def _leave(self, service: Service) -> None:
        await service.ended()
        while True:
            self._asked.clear()
            try:
                await asyncio.wait_for(self._asked.wait(), LINGER_S)
            except TimeoutError:
                ray.kill(ray.get_actor(self._site.name, NAMESPACE), no_restart=True)

    async def _spawn(self, name: str) -> None:
        worker: Any = (
            ray.remote(WorkerActor)
            .options(
                name=f"{self._site.name}-{name}",
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=1,
                enable_task_events=False,  # a fifth of what a call costs
                scheduling_strategy="SPREAD",
            )
            .remote()
        )
        try:
            await worker.run.remote(name, self._site, self._secret)
        except RayActorError:  # it has ended, by itself or not
            return
        finally:
            with suppress(RayError, ValueError):
                ray.kill(worker)


class WorkerActor:
    """A worker in a process of its own. Its place is taken by another where it dies."""

    def run(self, name: str, site: Site, secret: Secret) -> None:
        """Work until all is over."""
        with suppress(OSError):
            os.chdir(site.cwd)
        adopt(secret.environ)
        collect_seldom()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_work(name, site, secret))
        ray.actor.exit_actor()  # type: ignore[no-untyped-call]  # whoever has started it may be gone


async def _work(name: str, site: Site, secret: Secret) -> None:
    coordinator = Coordinating(site.name, secret, site.run)
    why: Why | None = None
    if site.versions != VERSIONS:
        why = other_versions(site.versions)
    else:
        try:
            await work(name, secret.job(), site.worker, coordinator.beat)
        except LlmbatchError as error:
            why = Why("usage", error.message, error.hint)
        except OSError as error:
            why = cannot_use(site, error)
    if why is not None:
        with suppress(ConnectionError):
            await coordinator.beat(Report(name, 10**9, stopped=why, is_idle=True))


class Coordinating:
    """Calls the coordinator, wherever it is now."""

    def __init__(self, name: str, secret: Secret | None = None, run: str = "") -> None:
        self._name, self._secret, self._run = name, secret, run
        self._handle: Any = None

    async def beat(self, report: Report) -> Orders:
        """Report. Raises ConnectionError."""
        orders: Orders = await self._told("beat", self._run, report)
        return orders

    async def poll(self, notices_from: int = 0) -> Status:
        """How the run stands. Raises ConnectionError."""
        status: Status = await self._told("poll", notices_from)
        return status

    async def stop(self, kind: StopKind) -> None:
        """End the run early. Raises ConnectionError."""
        await self._call("stop", kind)

    async def unheard_s(self) -> float | None:
        """How long no command has asked how it stands; None for a run that was left to itself, 0
        for one that is over. Raises ConnectionError."""
        return await self._call("unheard_s")  # type: ignore[no-any-return]

    async def _told(self, method: str, *args: Any) -> Any:
        """What a coordinator answers, which may lack the secret."""
        answer, lacks = await self._call(method, *args)
        if lacks and self._secret is not None:
            await self._call("tell", self._secret)
        if answer is None:
            raise ConnectionError("the coordinator was started anew, and is not ready")
        return answer

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(ray.get_actor, self._name, NAMESPACE)
            call = getattr(self._handle, method).remote(*args)
            return await asyncio.wait_for(asyncio.wrap_future(call.future()), ANSWER_S)
        except (RayError, ValueError, TimeoutError) as error:
            self._handle = None
            raise ConnectionError(f"the coordinator cannot be reached: {error}") from error


class Cluster:
    """Ray, for the command that starts a run or asks for one."""

    def __init__(self, address: str | None, workers: int) -> None:
        """`address`: of a cluster, as `ray.init` takes it; None starts Ray here."""
        self._address, self._workers = address, workers
        self._is_ours = address is None

    def check(self) -> None:
        """Raise UsageError where nobody is at the address. Blocks."""
        if self._address is not None:
            _check_address(self._address)

    def connect(self) -> None:
        """Connect, or start Ray. Blocks for some seconds. Raises UsageError."""
        _be_quiet()
        self.check()
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        try:
            if self._is_ours:
                ray.init(
                    address="local",  # whatever cluster is here, or RAY_ADDRESS names
                    num_cpus=self._workers,
                    include_dashboard=False,
                    namespace=NAMESPACE,
                    **quiet,
                )
            else:
                ray.init(address=self._address, namespace=NAMESPACE, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"cannot start Ray here: {error}"
                if self._is_ours
                else f"cannot reach Ray at {self._address}: {error}",
                hint="ray status shows a cluster here; without --address one is started",
            ) from error

    def close(self) -> None:
        """Leave it; what was started here ends. Blocks."""
        ray.shutdown()

    async def begin(self, site: Site, secret: Secret) -> Coordinating:
        """Start the coordinator, which starts the workers. Raises UsageError."""
        actor: Any = ray.remote(CoordinatorActor).options(
            name=site.name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            enable_task_events=False,
            max_restarts=-1,
            max_concurrency=1000,
        )
        await self._take_over(site)
        try:
            handle = actor.remote(site)
        except ValueError as error:  # the name is taken
            raise _at_work(site) from error
        why = await _opened(handle, secret)
        if why is not None:
            self.kill(site.name)
            raise UsageError(why.message, hint=why.hint)
        return Coordinating(site.name, secret)

    async def _take_over(self, site: Site) -> None:
        """End the run of a command that is gone; what is in flight may finish, as it is paid.

        Raises UsageError where the command is there, or the run was left to itself.
        """
        other = await asyncio.to_thread(self.find, site.service.folder.address)
        if other is None:
            return
        try:
            await self._check_alone(other, site)
            await other.stop("drain")
            for _ in range(int(DRAIN_S / ASK_S)):
                if (await other.poll()).is_over:
                    break
                await asyncio.sleep(ASK_S)
        except ConnectionError:
            pass  # it has just ended
        await asyncio.to_thread(self.kill, site.name)

    async def _check_alone(self, other: Coordinating, site: Site) -> None:
        """Raise UsageError where a command still follows the run, or it was left to itself."""
        for _ in range(int(FOLLOWED_S / ASK_S) + 1):
            unheard_s = await other.unheard_s()
            if unheard_s is None:
                break
            if unheard_s > FOLLOWED_S:
                return
            await asyncio.sleep(ASK_S)
        raise _at_work(site)

    def find(self, folder: str) -> Coordinating | None:
        """The coordinator of the run in a folder; None where none is at work. Blocks."""
        try:
            ray.get_actor(name_of(folder), NAMESPACE)
        except ValueError:
            return None
        return Coordinating(name_of(folder))

    def kill(self, name: str) -> None:
        """End a coordinator. Blocks."""
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(name, NAMESPACE), no_restart=True)


async def _opened(coordinator: Any, secret: Secret) -> Why | None:
    """Have it begin; where it dies meanwhile, Ray starts it anew. Raises UsageError."""
    for tries_left in reversed(range(int(DRAIN_S / ASK_S))):
        try:
            why: Why | None = await asyncio.wrap_future(coordinator.open.remote(secret).future())
            return why
        except RayError as error:
            if not (tries_left and isinstance(error, ActorUnavailableError)):
                said = str(error).strip().splitlines()[-1]  # behind a trace of another process
                raise UsageError(f"the coordinator could not be started: {said}") from error
        await asyncio.sleep(ASK_S)
    raise AssertionError


def _at_work(site: Site) -> UsageError:
    folder = site.service.folder.address
    return UsageError(
        f"another run is at work in {folder}",
        hint=f"llmbatch cluster attach {folder} follows it, and stop ends it",
    )


def _check_address(address: str) -> None:
    """Raise UsageError where nobody listens: Ray itself would wait for minutes, and then end this
    process."""
    if "://" in address:
        raise UsageError(
            f"--address {address}: that is for Ray's client, whose process is not on the cluster",
            hint="run llmbatch on a machine of the cluster, with --address auto",
        )
    host, colon, port = address.rpartition(":")
    if not colon:
        return  # auto, local
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--address {address}: nothing answers there ({error})",
            hint="ray status shows the address of a cluster that runs here",
        ) from error


def _be_quiet() -> None:
    """What Ray has to say of itself goes to its logs, and not among ours or among answers."""
    from ray._private import worker

    logging.getLogger("ray").setLevel(logging.ERROR)
    if hasattr(worker, "print_to_stdstream"):  # of lost processes, to standard output
        worker.print_to_stdstream = lambda *args, **kwargs: None


def cores() -> int:
    """As many workers as a machine takes."""
    return os.cpu_count() or 1
