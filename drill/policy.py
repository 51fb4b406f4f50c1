"""The configuration that the drill gives Fusebox: the defaults' times, as much shorter as the trace is compressed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from drill.outages import PROVIDERS
from proxy.config import schema

FLOOR_S = 0.2
"""No time is made shorter: on a busy machine a healthy answer may be so late."""

CONNECT_FLOOR_S = 1.0
"""A connection on loopback takes no time, but two cores for everything may."""

SLOW_FIRST_EVENT_S, SLOW_RATE = 10.0, 0.5
"""By default no answer is slow, however late; the drill says from when on it is."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One duration of the configuration: as it would be in real time, and as it is in the drill. In seconds."""

    path: str
    real_s: float
    drill_s: float


def settings(compression: float) -> list[Setting]:
    """The durations of the drill."""
    breaker, timeouts, retry = schema.Breaker(), schema.Timeouts(), schema.Retry()
    real = {
        "breaker.window": breaker.window,
        "breaker.open_for": breaker.open_for,
        "breaker.slow_first_event": SLOW_FIRST_EVENT_S,
        **{f"timeouts.{name}": value for name, value in msgspec.structs.asdict(timeouts).items()},
        "retry.max_wait": retry.max_wait,
    }
    floors = {"timeouts.connect": CONNECT_FLOOR_S, "retry.max_wait": 0.0}
    return [
        Setting(path, float(value), max(round(float(value) / compression, 3), floors.get(path, FLOOR_S)))
        for path, value in real.items()
    ]


def duration(seconds: float) -> str:
    """A duration as the configuration file has it."""
    return f"{round(seconds * 1000)}ms"


def config_text(data_port: int, admin_port: int, provider_ports: list[int], key_file: str, compression: float) -> str:
    """The configuration file. JSON is YAML, so nothing has to be quoted by hand."""
    groups: dict[str, dict[str, object]] = {"breaker": {"slow_rate": SLOW_RATE}}
    for setting in settings(compression):
        group, _, name = setting.path.partition(".")
        groups.setdefault(group, {})[name] = duration(setting.drill_s)
    config = {
        "listen": f"127.0.0.1:{data_port}",
        "admin": f"127.0.0.1:{admin_port}",
        "providers": {
            name: {"base_url": f"http://127.0.0.1:{port}/v1", "keys": [{"file": key_file}]}
            for name, port in zip(PROVIDERS, provider_ports, strict=True)
        },
        **groups,
        "routes": [{"name": "chain", "match": {}, "to": [f"{name}/model-{name}" for name in PROVIDERS]}],
        "drain": "1s",
    }
    return msgspec.json.format(msgspec.json.encode(config), indent=2).decode() + "\n"
