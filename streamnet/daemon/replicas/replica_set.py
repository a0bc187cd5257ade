"""ReplicaSet: all models of a read replica, in the place of the daemon's registry."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import final

from anyio import TASK_STATUS_IGNORED, Event, create_task_group, current_time, sleep_until
from anyio.abc import TaskGroup, TaskStatus

from streamnet.client.schemas import Health, HealthStatus
from streamnet.daemon.hosting.webhooks import Webhooks
from streamnet.daemon.replicas.origins import Origin, OriginError, open_origin
from streamnet.daemon.replicas.replica_model import ReplicaModel, describe_refusal
from streamnet.settings.replica import ReplicaSection

_LOG = logging.getLogger("streamnet.daemon")


@final
class ReplicaSet:
    """Follows the models of an origin: newer ones, new ones, and those that are deleted.

    It keeps nothing on a disk. While the origin gives no answer, it predicts with what it has.

    Args:
        settings: What is followed.
        webhooks: Receive what needs attention; by default nobody.

    Raises:
        ConfigurationError: If nothing can be followed with the settings.
    """

    def __init__(self, settings: ReplicaSection, webhooks: Webhooks | None = None) -> None:
        self.settings = settings
        self.webhooks = webhooks
        self.models: dict[str, ReplicaModel] = {}
        self._origin: Origin = open_origin(settings)
        self.has_heard: bool = False  # whether the origin has ever answered
        self._is_failing = False
        self._group: TaskGroup | None = None
        self._stopping = Event()

    @property
    def refusal(self) -> str:
        """Why it does not learn, and who does."""
        return describe_refusal(self.settings)

    def locked(self) -> AbstractContextManager[None]:
        """Lock nothing: any number of replicas may follow one origin."""
        return nullcontext()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Follow all models until `stop`."""
        async with create_task_group() as delivery:
            for hook in [] if self.webhooks is None else self.webhooks.hooks:
                delivery.start_soon(hook.run)
            async with create_task_group() as self._group:
                self._group.start_soon(self._follow)
                task_status.started()
                await self._stopping.wait()
                for model in self.models.values():
                    model.close()
                self._group.cancel_scope.cancel()
            delivery.cancel_scope.cancel()
        await self._origin.close()

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    async def _follow(self) -> None:
        while True:
            started = current_time()
            await self.poll()
            await sleep_until(started + self.settings.poll_seconds)

    async def poll(self) -> None:
        """Look once for models that are newer, new or deleted."""
        try:
            listed = await self._origin.list()
        except OriginError as error:
            if not self._is_failing:
                _LOG.warning("replica of %s waits: %s", self.settings.of, error)
            self._is_failing = True
            for model in self.models.values():
                model.fail(str(error))
            return
        if self._is_failing:
            _LOG.warning("replica of %s: reached again", self.settings.of)
        self._is_failing = False
        wanted = self.settings.models
        found = {name: one for name, one in listed.items() if not wanted or name in wanted}
        for name in [name for name in self.models if name not in found]:
            _LOG.info("model %s was deleted", name, extra={"model": name})
            self.models.pop(name).close()
        for name, one in found.items():
            if name not in self.models:
                self._add(name)
            await self.models[name].follow(one, self._origin)
        self.has_heard = True

    def _add(self, name: str) -> None:
        model = self.models[name] = ReplicaModel(name, self.settings)
        if self._group is not None and self.webhooks is not None:
            self._group.start_soon(self.webhooks.follow, name, model.events)

    def health(self) -> HealthStatus:
        """Whether it predicts with models that are new enough; "ok", or why it does not."""
        models = self.models.values()
        if not self.has_heard or any(model.state == "starting" for model in models):
            return "starting"
        return "stale" if any(model.is_stale for model in models) else "ok"

    def report_health(self) -> Health:
        """The health, with the age of the oldest model and the longest silence."""
        ages = [model.age for model in self.models.values() if model.age is not None]
        silence = max((model.silence for model in self.models.values()), default=None)
        return Health(self.health(), max(ages, default=None), silence)
