"""Fusebox: a sidecar for LLM traffic.

One request's way through this package, in the order of its rooms: ``serve/listener`` accepts it, ``serve/intake``
reads it, ``policy/decide`` chooses the targets, ``attempt/chain`` tries them over ``upstream/connection``,
``serve/relay`` hands the answer's bytes to the client, ``observe/record`` keeps what happened.
``serve/handler`` shows all of it on one screen. ``docs/architecture.md`` explains the shape.
"""

__version__ = "0.1.0"
