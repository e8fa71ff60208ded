"""The functions of libca that bulk work needs, as ctypes sees them.

Source: EPICS base `cadef.h`, `caerr.h`, `db_access.h`. The library is opened once more than aioca does, so that the
signatures set here do not change those that aioca set on its own function objects. Never `PyDLL`: libca holds its
callback lock while it calls into Python, and who waits for that lock must not hold the interpreter's.
"""

from __future__ import annotations

from ctypes import CDLL, CFUNCTYPE, Structure, c_char_p, c_int, c_long, c_short, c_uint, c_ulong, c_void_p
from typing import Any, Final

from epicscorelibs import path

# caerr.h: DEFMSG(severity, number) is number << 3 | severity.
ECA_NORMAL: Final = 1
ECA_DISCONN: Final = 24 << 3
ECA_UNRESPTMO: Final = 60 << 3
ECA_DBLCHNL: Final = 25 << 3
ECA_NORDACCESS: Final = 46 << 3
ECA_NOWTACCESS: Final = 47 << 3

CS_CONN: Final = 2
"""`enum channel_state` of cadef.h"""

DBE_PROPERTY: Final = 8
"""caeventmask.h"""

OP_GET: Final = 0
OP_PUT: Final = 1
"""CA_OP_GET and CA_OP_PUT of cadef.h"""


class ConnectionArgs(Structure):
    _fields_ = [("chid", c_void_p), ("op", c_long)]


class AccessArgs(Structure):
    _fields_ = [("chid", c_void_p), ("rights", c_uint)]


class ValueArgs(Structure):
    _fields_ = [
        ("usr", c_void_p),
        ("chid", c_void_p),
        ("type", c_long),
        ("count", c_long),
        ("dbr", c_void_p),
        ("status", c_int),
    ]


class ExceptionArgs(Structure):
    _fields_ = [
        ("usr", c_void_p),
        ("chid", c_void_p),
        ("type", c_long),
        ("count", c_long),
        ("addr", c_void_p),
        ("status", c_long),
        ("op", c_long),
        ("context", c_char_p),
        ("file", c_char_p),
        ("line", c_uint),
    ]


ConnectionHandler = CFUNCTYPE(None, ConnectionArgs)
AccessHandler = CFUNCTYPE(None, AccessArgs)
ValueHandler = CFUNCTYPE(None, ValueArgs)
ExceptionHandler = CFUNCTYPE(None, ExceptionArgs)

_lib = CDLL(path.get_lib("ca"))


def _function(name: str, *arguments: Any, result: Any = c_int) -> Any:
    function = getattr(_lib, name)
    function.argtypes = arguments
    function.restype = result
    return function


context_create = _function("ca_context_create", c_int)
current_context = _function("ca_current_context", result=c_void_p)
attach_context = _function("ca_attach_context", c_void_p)
detach_context = _function("ca_detach_context", result=None)
add_exception_event = _function("ca_add_exception_event", c_void_p, c_void_p)
message = _function("ca_message", c_long, result=c_char_p)
flush_io = _function("ca_flush_io")

create_channel = _function("ca_create_channel", c_char_p, c_void_p, c_void_p, c_uint, c_void_p)
clear_channel = _function("ca_clear_channel", c_void_p)
change_connection_event = _function("ca_change_connection_event", c_void_p, c_void_p)
replace_access_event = _function("ca_replace_access_rights_event", c_void_p, c_void_p)
state = _function("ca_state", c_void_p)
field_type = _function("ca_field_type", c_void_p, result=c_short)
element_count = _function("ca_element_count", c_void_p, result=c_ulong)
read_access = _function("ca_read_access", c_void_p, result=c_uint)
write_access = _function("ca_write_access", c_void_p, result=c_uint)
get_host_name = _function("ca_get_host_name", c_void_p, c_void_p, c_uint, result=c_uint)

array_get_callback = _function("ca_array_get_callback", c_long, c_ulong, c_void_p, c_void_p, c_void_p)
array_put_callback = _function("ca_array_put_callback", c_long, c_ulong, c_void_p, c_void_p, c_void_p, c_void_p)
create_subscription = _function(
    "ca_create_subscription", c_long, c_ulong, c_void_p, c_long, c_void_p, c_void_p, c_void_p
)
sg_create = _function("ca_sg_create", c_void_p)
sg_delete = _function("ca_sg_delete", c_uint)
sg_reset = _function("ca_sg_reset", c_uint)
sg_array_get = _function("ca_sg_array_get", c_uint, c_long, c_ulong, c_void_p, c_void_p)
