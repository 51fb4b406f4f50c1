"""A request body as it will be sent: the bytes held, where the model stands in them, and with which model they go out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from proxy.exchange import Carrier
from proxy.wire import payload

Piece = payload.Piece

_JSON, _MULTIPART = Carrier.JSON, Carrier.MULTIPART  # members of an enum are slow to look up


class RequestBody(msgspec.Struct):
    """The body of one request. `held` is in memory; `rest`, if any, is still to come from the client.

    `length` is the whole body's length as the client declared it, None when it is chunked. Only a body without a rest
    can be sent again. `stream`: the body asks for an event stream. `tied`: it goes on from an object that lives at one
    provider. `packed`: the body as it came, when that was
    compressed; `held` is then what it unpacks to. `spans`: where the model stands, once somebody has looked.
    """

    held: bytes | bytearray = b""
    carrier: Carrier = Carrier.NONE
    model: str | None = None
    stream: bool = False
    tied: bool = False
    spans: list[tuple[int, int]] | None = None
    length: int | None = None
    rest: AsyncIterator[bytes] | None = None
    packed: bytes | bytearray | None = None

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent to another target, or again."""
        return self.rest is None

    def replaces(self, model: str | None) -> bool:
        """Whether sending `model` (None: the client's) changes the bytes of the body."""
        return model is not None and self.model is not None and model != self.model

    def with_model(self, model: str | None) -> tuple[list[Piece], int | None]:
        """The held bytes with `model` in them (None keeps them), as pieces, and the length of the whole body then."""
        if model is None or self.model is None or model == self.model:
            return ([self.held], self.length) if self.packed is None else ([self.packed], len(self.packed))
        carrier = self.carrier
        if carrier is _JSON:
            value = payload.encode_model(model)
            if self.spans is None:
                self.spans = payload.find_model(self.held, self.model)
        elif carrier is _MULTIPART:
            value = model.encode()
        else:
            return [self.held], self.length
        spans = self.spans or []
        length = self.length
        if length is not None:
            for start, end in spans:
                length += len(value) - (end - start)
        return payload.splice(self.held, spans, value), length
