"""A write, from the message to its outcome."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from caproto import CAStatus, ChannelType

from squirrel_ioc.errors import RefusedError, SquirrelError
from squirrel_ioc.ioc._client import Client, FailedError
from squirrel_ioc.ioc.pv import Pv, ReadOnlyError

__all__ = ["DONE", "Outcome", "carry_out"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client is answered. `at_once`: also when it does not wait, as it went wrong before anything began."""

    status: Any
    reason: str = ""
    at_once: bool = True


DONE: Final = Outcome(CAStatus.ECA_NORMAL)


async def carry_out(pv: Pv, command: Any, client: Client) -> Outcome:
    """Write what a message says. What goes wrong is logged: a refusal in one line, the unexpected with its trace."""
    try:
        data, metadata = _contents(command)
        await pv.auth_write(client.host, client.user, data, command.data_type, metadata)
    except ReadOnlyError as error:
        return Outcome(CAStatus.ECA_NOWTACCESS, str(error))
    except FailedError as error:
        return Outcome(CAStatus.ECA_PUTFAIL, str(error), at_once=False)
    except SquirrelError as error:
        log.info("refused %s to %s: %s", pv.pvname, client, error)
        return Outcome(CAStatus.ECA_PUTFAIL, str(error))
    except Exception as error:
        log.exception("write to %s by %s", pv.pvname, client)
        return Outcome(CAStatus.ECA_PUTFAIL, f"internal error: {error!r}")
    return DONE


def _contents(command: Any) -> tuple[Any, Any]:
    data = None
    try:
        metadata = command.metadata
        if command.data_type not in (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT):
            data = command.data
    except (ValueError, TypeError, BufferError) as error:
        raise RefusedError(f"malformed write: {error}") from None
    return data, metadata
