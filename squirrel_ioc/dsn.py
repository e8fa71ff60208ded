"""Connection strings of PostgreSQL: what is wrong with one, and how to speak of it without its password."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["check_dsn", "describe_dsn", "without_password"]

MAX_PORT = 65535


def check_dsn(dsn: str) -> None:
    """Raises ValueError, in words that have nothing of the password."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be postgresql://user:password@host:port/database")
    if _is_cut(dsn):
        return
    hosts = parts.netloc.rpartition("@")[2].split(",")
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    ports += [port for text in parse_qs(parts.query).get("port", []) for port in text.split(",")]
    if not all(port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= MAX_PORT for port in ports if port):
        raise ValueError(f"the port must be 1 to {MAX_PORT}; in a password, @ : / ? # are %40 %3A %2F %3F %23")


def describe_dsn(dsn: str) -> str:
    """Database, host and port."""
    if _is_cut(dsn):
        return "the database of database.dsn"
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or ",".join(query.get("host", [])) or "localhost"
    if ":" not in hosts.rpartition("]")[2]:
        hosts += ":" + (query.get("port") or ["5432"])[0]
    name = unquote(parts.path.lstrip("/")) or (query.get("dbname") or query.get("database") or ["(default)"])[0]
    return f"database {name} on {hosts}"


def without_password(dsn: str) -> str:
    """The string without user, password and options."""
    if _is_cut(dsn):
        return describe_dsn(dsn)
    parts = urlsplit(dsn)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_cut(dsn: str) -> bool:
    """Whether an unquoted character in the password has cut it in the wrong place."""
    parts = urlsplit(dsn)
    return "@" in parts.path + parts.query + parts.fragment
