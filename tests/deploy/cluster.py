"""An API server's way with webhooks, over the rendered manifests: who is asked, where that leads, and what comes of it.

What is simulated: selectors of namespace and object, rules, the Service and its target port in the Deployment's pods, TLS
with the caBundle for ``SERVICE.NAMESPACE.svc``, the call with its timeout, ``failurePolicy``, the patch, and a second call
where another webhook changed the pod in between (``reinvocationPolicy``). Containers' ports become the ports of this
machine by a table, as a cluster network would do it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from proxy.kube.selectors import misfits
from tests.deploy.rendered import Object, of_kind, one_of_kind
from tests.kube.injecting import answer, close, question


class Refused(Exception):
    """The API server does not store the object; the text is what ``kubectl`` shows."""


@dataclass
class Cluster:
    """`objects`: what was applied. `network`: container port of the injector → (address, port) of this machine."""

    objects: Sequence[Object]
    network: Mapping[int, tuple[str, int]]
    namespaces: Mapping[str, Mapping[str, str]]
    rival: Callable[[Object], Object] | None = None
    """Another mutating webhook, called after ours."""

    timeout_factor: float = 1.0
    """How much of ``timeoutSeconds`` this API server waits."""

    calls: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    async def create(self, found: Object, namespace: str) -> Object:
        """The object as it is stored. Raises Refused."""
        hooks = [hook for one in of_kind(self.objects, "MutatingWebhookConfiguration") for hook in one["webhooks"]]
        stored = deepcopy(found)
        asked = []
        for hook in hooks:
            if self._selected(hook, stored, namespace):
                asked.append(hook)
                stored = await self._mutate(hook, stored, namespace)
        if self.rival is not None:
            changed = self.rival(deepcopy(stored))
            again = changed != stored
            stored = changed
            for hook in asked if again else ():
                if hook["reinvocationPolicy"] == "IfNeeded" and self._selected(hook, stored, namespace):
                    stored = await self._mutate(hook, stored, namespace)
        for one in of_kind(self.objects, "ValidatingWebhookConfiguration"):
            for hook in one["webhooks"]:
                if self._selected(hook, stored, namespace):
                    await self._call(hook, stored, namespace)
        return stored

    def _selected(self, hook: Object, found: Object, namespace: str) -> bool:
        resource = f"{found['kind'].lower()}s"
        rules = any(resource in rule["resources"] and "CREATE" in rule["operations"] for rule in hook["rules"])
        labels = {**self.namespaces[namespace], "kubernetes.io/metadata.name": namespace}
        return (
            rules
            and not misfits(hook.get("namespaceSelector"), labels)
            and not misfits(hook.get("objectSelector"), found["metadata"].get("labels", {}))
        )

    async def _mutate(self, hook: Object, found: Object, namespace: str) -> Object:
        response = await self._call(hook, found, namespace)
        if response is None or "patch" not in response:
            return found
        patched: Object = jsonpatch.apply_patch(found, json.loads(base64.b64decode(response["patch"])))
        return patched

    async def _call(self, hook: Object, found: Object, namespace: str) -> Object | None:
        """The webhook's response; None: it did not answer, and that is let pass. Raises Refused."""
        self.calls.append(hook["name"])
        try:
            async with asyncio.timeout(hook["timeoutSeconds"] * self.timeout_factor):
                response = await self._ask(hook, question(found, namespace=namespace))
        except (OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError) as error:
            if hook["failurePolicy"] == "Fail":
                raise Refused(f'failed calling webhook "{hook["name"]}": {error!r}') from error
            return None
        self.warnings += response.get("warnings", [])
        if not response["allowed"]:
            raise Refused(f'admission webhook "{hook["name"]}" denied the request: {response["status"]["message"]}')
        return response

    async def _ask(self, hook: Object, review: Any) -> Object:
        config = hook["clientConfig"]
        service = config["service"]
        trusted = ssl.create_default_context(cadata=base64.b64decode(config["caBundle"]).decode())
        host, port = self._endpoint(service)
        name = f"{service['name']}.{service['namespace']}.svc"
        reader, writer = await asyncio.open_connection(host, port, ssl=trusted, server_hostname=name)
        try:
            body = json.dumps(review).encode()
            head = f"POST {service['path']}?timeout={hook['timeoutSeconds']}s HTTP/1.1\r\nHost: {name}:{service['port']}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            status, told = await answer(reader)
            if status != 200:
                raise OSError(f"the webhook answered {status}: {told.decode()}")
            response: Object = json.loads(told)["response"]
            assert response["uid"] == review["request"]["uid"]
            return response
        finally:
            await close(writer)

    def _endpoint(self, reference: Object) -> tuple[str, int]:
        """Where a webhook's Service leads: by its port to the target port of the pods that it selects."""
        service = one_of_kind(self.objects, "Service", reference["name"])
        assert service["metadata"]["namespace"] == reference["namespace"]
        (port,) = (one for one in service["spec"]["ports"] if one["port"] == reference["port"])
        deployments = [
            one
            for one in of_kind(self.objects, "Deployment")
            if one["metadata"]["namespace"] == reference["namespace"]
            and not misfits({"matchLabels": service["spec"]["selector"]}, one["spec"]["template"]["metadata"]["labels"])
        ]
        ports = [
            listed["containerPort"]
            for one in deployments
            for container in one["spec"]["template"]["spec"]["containers"]
            for listed in container["ports"]
            if port["targetPort"] in (listed["name"], listed["containerPort"])
        ]
        (target,) = ports
        return self.network[target]
