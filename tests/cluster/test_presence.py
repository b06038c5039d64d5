"""Of two coordinators in one folder the newer one stays."""

import asyncio

import pytest
from cluster.stage import shards_of

from llmbatch_cli.cluster.ground import Presence
from llmbatch_cli.cluster.local_folder import LocalFolder
from llmbatch_cli.cluster.plan import ClusterPlan, save
from llmbatch_cli.cluster.service import Service, ServiceOptions
from llmbatch_cli.core.errors import UsageError


def test_the_newer_one_stays(folder: LocalFolder) -> None:
    """Whoever speaks first after, and the older one does not say that all has ended."""
    old, new = Presence(folder), Presence(folder)
    assert old.say()
    assert new.say()
    assert not old.say()
    assert not old.say(ended=True)
    assert new.say()
    assert old.seen() is not None
    assert new.say(ended=True)
    assert Presence(folder).seen() is None


def test_of_two_that_begin_at_once_one_stays(folder: LocalFolder) -> None:
    one, other = Presence(folder), Presence(folder)
    one.say()
    other._generation = 1  # it has looked before the first one spoke
    stay = [one.say() for _ in range(3)], [other.say() for _ in range(3)]
    both = one.say(), other.say(), one.say(), other.say()
    assert sorted(both[2:]) == [False, True], stay


async def test_whoever_hears_that_it_is_over_may_begin_anew_at_once(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends the coordinator then, which cannot say any more that it has ended."""
    monkeypatch.setattr("llmbatch_cli.cluster.service.TICK_S", 0.01)
    save(ClusterPlan(shards_of(2, 3), {}, "", "", {}), folder)

    async def spawn(name: str) -> None:
        await asyncio.sleep(60)

    service = Service(ServiceOptions(folder, 1, lease_s=0.5), spawn)
    await service.open()
    service.stop("drain")
    assert not service.poll().is_over
    async with asyncio.timeout(5):
        while not service.poll().is_over:
            await asyncio.sleep(0.001)
    assert Presence(folder).seen() is None
    for started in service._started.values():
        started.task.cancel()


async def test_a_coordinator_that_was_replaced_ends(
    folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off, and Ray has started another one."""
    monkeypatch.setattr("llmbatch_cli.cluster.service.TICK_S", 0.01)
    save(ClusterPlan(shards_of(2, 3), {}, "", "", {}), folder)

    async def spawn(name: str) -> None:
        await asyncio.sleep(60)

    options = ServiceOptions(folder, 1, lease_s=0.5, detached=True)
    old, new = Service(options, spawn), Service(options, spawn)
    await old.open()
    await new.open(again=True)
    await asyncio.wait_for(old.ended(), 5)
    why = old.poll().why
    assert why is not None
    assert why.message.startswith("another coordinator is at work in")
    assert not new.poll().is_over
    with pytest.raises(UsageError, match="another run is at work"):
        await Service(options, spawn).open()
    new.stop("drain")
    await asyncio.wait_for(new.ended(), 5)
    assert Presence(folder).seen() is None
    for service in (old, new):
        for started in service._started.values():
            started.task.cancel()
