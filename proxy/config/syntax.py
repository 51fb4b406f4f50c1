"""Texts of the configuration that have a syntax of their own: addresses, names, targets. Values in, values out.

Each function returns the value in the form the proxy works with and raises `BadValue` for the user to read.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from proxy.config.problems import BadValue, looks_secret, shown
from proxy.exchange import Target

_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

URL_EXAMPLE = "write the API's root, as in https://api.openai.com/v1"


def url_root(text: str) -> str:
    """An http or https URL to which paths are added: host needed; scheme and host lower case, no slash at the end.

    The text is never quoted: a key may stand in its userinfo or query, and a mistyped URL hides where these begin.
    """
    if "@" in text:
        raise BadValue(
            "a URL here must not hold a user name or password (nor any @)",
            "take it out and write where the key comes from: keys: [{env: NAME}]",
        )
    if "?" in text or "#" in text:
        raise BadValue("a URL here must not hold a query (?) or a fragment (#)", URL_EXAMPLE)
    parts, port = _split(text)
    if parts.scheme not in ("http", "https"):
        raise BadValue("not a URL that begins with http:// or https://", URL_EXAMPLE)
    if not parts.hostname:
        raise BadValue("this URL has no host", URL_EXAMPLE)
    if port == 0 or not _is_host(parts.hostname) or parts.netloc.endswith(":"):
        raise BadValue("this URL's host or port cannot be read", URL_EXAMPLE)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}".rstrip("/")


def otlp_root(text: str) -> str:
    """The root of an OTLP receiver, as `url_root`; the path of its traces may stand behind it, as some write it."""
    try:
        return url_root(text).removesuffix("/v1/traces")
    except BadValue as error:
        raise BadValue(error.what, "write the receiver's root, as in http://127.0.0.1:4318") from None


def origin(url: str) -> tuple[str, int]:
    """Host (lower case, no brackets) and port of a URL that `url_root` returned; the scheme's port when it has none."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _split(text: str) -> tuple[SplitResult, int | None]:
    """`text` in parts, and its port. urlsplit drops tabs and line breaks, so characters are looked at first."""
    if not _URL.fullmatch(text):
        raise BadValue("a URL cannot hold spaces or the other characters that stand here", URL_EXAMPLE)
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        raise BadValue("this URL's host or port cannot be read", URL_EXAMPLE) from None


def _is_host(text: str) -> bool:
    if ":" not in text:
        return _HOST.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def env_name(text: str) -> str:
    """The name of an environment variable. Not quoted when wrong: what stands here instead is often the key.

    Some keys have the form of a name; capitals alone are taken for a name all the same.
    """
    if re.fullmatch(r"\$(\{[A-Za-z0-9_]+\}|[A-Za-z0-9_]+)", text):
        raise BadValue(
            "a $ stands before the name of this environment variable", "write the name alone, without $ and { }"
        )
    if not _ENV.fullmatch(text) or (looks_secret(text) and text != text.upper()):
        raise BadValue(
            "not the name of an environment variable",
            "write the variable's name, never the key itself, as in env: OPENAI_API_KEY",
        )
    return text


def key_file(text: str) -> str:
    """The path of a file that holds a key; not the key. Paths are printed later, so the difference matters."""
    if "/" not in text and looks_secret(text):
        raise BadValue(
            "not the path of a file (the value is not shown)",
            "write the path, never the key itself, as in file: /var/run/fusebox/keys/openai",
        )
    return text


def file_name(text: str) -> str:
    """The path of another file of the configuration, as seen from the folder of the file that names it."""
    if "/" not in text and looks_secret(text):
        raise BadValue("not the path of a file (the value is not shown)", "write the path, as in include: routes.yaml")
    return text


def host_name(text: str) -> str:
    """The name or address of a host, without scheme and port (RFC 9110 section 4.2.3: without regard to case)."""
    if not _HOST.fullmatch(text):
        raise BadValue(f"{shown(text)} is not the name of a host", "write it alone, as in llm.internal")
    return text.lower()


def header_name(text: str) -> str:
    """The name of a header (RFC 9110 section 5.1), in lower case because names are compared without case."""
    if not _HEADER.fullmatch(text):
        raise BadValue(f"{shown(text)} is not a header name", "write it as in x-team")
    return text.lower()


def sticky(text: str) -> str:
    """What keeps a client on one choice of a weighted step: ``header:NAME``, the name in lower case, ``user``, ``prompt``."""
    if text in ("user", "prompt"):
        return text
    kind, colon, name = text.partition(":")
    if kind != "header" or not colon or not _HEADER.fullmatch(name):
        hint = "write header:NAME as in header:x-user-id, or user, or prompt"
        raise BadValue(f"{shown(text)} is nothing to be sticky by", hint)
    return f"header:{name.lower()}"


def target(text: str) -> Target:
    """``provider/model`` (the first slash splits, models may hold more), or ``provider`` to keep the client's model."""
    provider, slash, model = text.partition("/")
    if not text or not text.isprintable() or text != text.strip():
        raise BadValue(f"{shown(text)} is not a target", "write provider/model, or provider to keep the client's model")
    if not provider:
        raise BadValue(f"{shown(text)} names no provider before the slash", "write provider/model")
    if slash and not model:
        raise BadValue(
            f"{shown(text)} names no model after the slash",
            "write provider/model, or the provider without a slash to keep the client's model",
        )
    return Target(provider, model if slash else None)
