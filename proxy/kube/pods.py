"""A pod as the injector reads it: the few fields that decide something. The rest is never looked at."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from proxy.kube import quantity

Amount = str | int | float


class BadPod(Exception):
    """Not what the API server would take for a pod; the text says where."""


class _Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown fields are left out; an absent field and a null are the same to Kubernetes."""


class EnvVar(_Part, frozen=True):
    """An entry of `env`; `value_from`: anything but None means that the value is not known here."""

    name: str
    value: str | None = None
    value_from: Any = None


class Port(_Part, frozen=True):
    """A declared port; Kubernetes takes an absent protocol for TCP."""

    container_port: int | None = None
    protocol: str | None = None


class Resources(_Part, frozen=True):
    """Requests and limits of a container."""

    requests: dict[str, Amount] | None = None
    limits: dict[str, Amount] | None = None


class Container(_Part, frozen=True):
    """A container, of either list."""

    name: str
    env: list[EnvVar] | None = None
    env_from: list[Any] | None = None
    ports: list[Port] | None = None
    resources: Resources | None = None
    restart_policy: str | None = None

    def variable(self, name: str) -> tuple[int, EnvVar] | None:
        """Index and entry of the variable; the last one of that name, which is the one that counts."""
        found = [(index, entry) for index, entry in enumerate(self.env or ()) if entry.name == name]
        return found[-1] if found else None

    @property
    def is_guaranteed(self) -> bool:
        """Limits for CPU and memory, and no requests that differ from them."""
        limits = (self.resources and self.resources.limits) or {}
        requests = (self.resources and self.resources.requests) or {}
        return all(
            name in limits and _amount(limits[name]) == _amount(requests.get(name, limits[name]))
            for name in ("cpu", "memory")
        )


class Named(_Part, frozen=True):
    """A volume, or a reference to a Secret, by name."""

    name: str = ""


class SecurityContext(_Part, frozen=True):
    """That of the pod, which containers inherit."""

    run_as_user: int | None = None


class Spec(_Part, frozen=True):
    """``spec`` of a pod."""

    containers: list[Container]
    init_containers: list[Container] | None = None
    volumes: list[Named] | None = None
    image_pull_secrets: list[Named] | None = None
    host_network: bool | None = None
    resources: Resources | None = None
    node_selector: dict[str, str] | None = None
    os: Named | None = None
    security_context: SecurityContext | None = None
    termination_grace_period_seconds: int | None = None

    @property
    def is_guaranteed(self) -> bool:
        """The pod has the class Guaranteed by its containers, and nobody wants to be the one that takes it away."""
        return self.resources is None and all(
            container.is_guaranteed for container in (*self.containers, *(self.init_containers or ()))
        )


class Owner(_Part, frozen=True):
    """Who made the pod."""

    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(_Part, frozen=True):
    """``metadata`` of a pod or of a template."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Pod(_Part, frozen=True):
    """A pod, or the template of one."""

    spec: Spec
    metadata: Metadata | None = None

    @property
    def meta(self) -> Metadata:
        """The metadata, empty where there is none."""
        return self.metadata or Metadata()

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, none where there are none."""
        return self.meta.labels or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations, none where there are none."""
        return self.meta.annotations or {}

    @property
    def owner(self) -> str:
        """``Kind/name`` of the controller; for a pod on its own what there is of its name. Names are absent at admission."""
        for one in self.meta.owner_references or ():
            if one.controller:
                return f"{one.kind}/{one.name}"
        return f"Pod/{self.meta.name or self.meta.generate_name or ''}"


def read(value: object) -> Pod:
    """The pod in `value`, as JSON holds it. Raises BadPod."""
    try:
        return msgspec.convert(value, Pod)
    except msgspec.ValidationError as error:
        said = str(error).replace("`$.", "`")
        text = " A number or a boolean that is meant as text wants quotes." if "Expected `str" in said else ""
        raise BadPod(f"this is not a pod that Kubernetes takes: {said}.{text}") from None
    except RecursionError:
        raise BadPod("this is not a pod that Kubernetes takes: it is nested too deeply") from None


def _amount(value: Amount) -> Fraction | str:
    """For comparison; what is no quantity is refused by the API server, not here."""
    try:
        return quantity.parse(str(value))
    except ValueError:
        return str(value)
