"""Writes, from the message to the answer."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import caproto as ca
from caproto import DBR_TYPES, CAStatus, ChannelType, native_type

from squirrel_ioc.errors import RefusedError, SquirrelError
from squirrel_ioc.ioc.kinds.pv import Pv, ReadOnlyError
from squirrel_ioc.ioc.protocol.bounds import Bounds, ClientLog
from squirrel_ioc.ioc.protocol.channel import Channel
from squirrel_ioc.ioc.protocol.client import Client, FailedError, PendingWrite, pending_write
from squirrel_ioc.ioc.protocol.outbox import Outbox
from squirrel_ioc.ioc.tasks import Tasks

__all__ = ["Writes"]

MAX_WRITES: Final = 64
"""Of one client; what is beyond is refused."""

ACCEPT_S: Final = 0.25
"""The next command of a client waits so long for a write to be accepted or refused."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client is answered. `at_once`: also when it does not wait, as it went wrong before anything began."""

    status: Any
    reason: str = ""
    at_once: bool = True


DONE: Final = Outcome(CAStatus.ECA_NORMAL)


class Writes:
    """Those of one client. `tasks` owns them: they go on when the client has gone."""

    def __init__(
        self, protocol: Any, outbox: Outbox, channels: Mapping[int, Channel], tasks: Tasks, bounds: Bounds
    ) -> None:
        self._protocol = protocol
        self._outbox = outbox
        self._channels = channels
        self._tasks = tasks
        self._log = bounds.log
        self._under_way = 0

    async def write(self, command: Any, client: Client) -> None:
        """Begin, and come back when the write is accepted or refused, or when that takes long."""
        channel = self._channels[command.sid]
        if self._under_way >= MAX_WRITES:
            self._answer(channel, command, Outcome(CAStatus.ECA_PUTFAIL, "too many writes at a time"))
            return
        write = PendingWrite(client)
        context = contextvars.copy_context()
        context.run(pending_write.set, write)
        self._under_way += 1
        self._tasks.start(self._carry_out(channel, command, write), f"write to {channel.found.pv.pvname}", context)
        await asyncio.sleep(0)
        if not write.settled.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ACCEPT_S):
                    await write.settled.wait()

    async def _carry_out(self, channel: Channel, command: Any, write: PendingWrite) -> None:
        try:
            outcome = await _carry_out(channel.found.pv, command, write.client, self._log)
        finally:
            self._under_way -= 1
            write.settled.set()
        self._answer(channel, command, outcome)

    def _answer(self, channel: Channel, command: Any, outcome: Outcome) -> None:
        """As base's rsrv does: a put-callback gets its status; a plain put is only told of what went wrong."""
        if self._channels.get(command.sid) is not channel:
            return
        answer: Any = None
        if isinstance(command, ca.WriteNotifyRequest):
            self._protocol._ioids.pop(command.ioid, None)
            answer = ca.WriteNotifyResponse(command.data_type, command.data_count, outcome.status, command.ioid)
        elif outcome is not DONE and outcome.at_once:
            message = outcome.reason.encode("ascii", "replace")[:200]
            answer = ca.ErrorResponse(command, channel.protocol.cid, status=outcome.status, error_message=message)
        if answer is not None:
            # Past the state machine, for which two requests of a client cannot have the same number, and errors not
            # come before versions.
            self._outbox.reply([bytes(answer)])


async def _carry_out(pv: Pv, command: Any, client: Client, clients: ClientLog) -> Outcome:
    """Write what a message says. What goes wrong is logged: a refusal in one line, the unexpected with its trace."""
    try:
        data, metadata = _contents(command)
        await pv.auth_write(client.host, client.user, data, command.data_type, metadata)
    except ReadOnlyError as error:
        return Outcome(CAStatus.ECA_NOWTACCESS, str(error))
    except FailedError as error:
        return Outcome(CAStatus.ECA_PUTFAIL, str(error), at_once=False)
    except SquirrelError as error:
        clients.line(log, logging.INFO, "refused %s to %s: %s", pv.pvname, client, error)
        return Outcome(CAStatus.ECA_PUTFAIL, str(error))
    except Exception as error:
        log.exception("write to %s by %s", pv.pvname, client)
        return Outcome(CAStatus.ECA_PUTFAIL, f"internal error: {error!r}")
    return DONE


def _contents(command: Any) -> tuple[Any, Any]:
    _check_size(command)
    data = None
    try:
        metadata = command.metadata
        if command.data_type not in (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT):
            data = command.data
    except (ValueError, TypeError, BufferError) as error:
        raise RefusedError(f"malformed write: {error}") from None
    return data, metadata


def _check_size(command: Any) -> None:
    """caproto believes the count: of strings, it would look for four billion of them."""
    native = native_type(command.data_type)
    size = int(command.data_count) * ctypes.sizeof(DBR_TYPES[native])
    if native != command.data_type:
        size += ctypes.sizeof(DBR_TYPES[command.data_type])
    if size > command.payload_size:
        # A single string may be shorter than 40 bytes.
        if command.data_type == ChannelType.STRING and command.data_count == 1 and command.payload_size:
            return
        raise RefusedError(f"malformed write: {command.data_count} elements in {command.payload_size} bytes")
