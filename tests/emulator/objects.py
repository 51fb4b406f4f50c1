"""Objects that live at one provider: files, batches, vector stores, and Anthropic's message batches."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from aiohttp import web

from proxy.dev.demo_stage import Json, Refused, Stage, json_answer, list_of, read_object, required
from tests.emulator.form import read_form


class Shelf:
    """Objects of one kind by their id, in the order in which they were made."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items: dict[str, Json] = {}

    def put(self, item: Json) -> Json:
        """Keeps `item` under its id."""
        self.items[str(item["id"])] = item
        return item

    def get(self, request: web.Request) -> Json:
        """The one that the path names. Raises Refused 404."""
        name = request.match_info["id"]
        if name not in self.items:
            raise Refused(404, f"No such {self.kind}: {name}", "not_found", "id")
        return self.items[name]

    def listed(self) -> web.Response:
        """All of them, as one page."""
        ids = list(self.items)
        ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None, "has_more": False}
        return json_answer({"object": "list", "data": list(self.items.values()), **ends})

    def delete(self, request: web.Request, deleted: Json) -> web.Response:
        """Forgets the one that the path names, and says so. Raises Refused 404."""
        item = self.get(request)
        del self.items[str(item["id"])]
        return json_answer({"id": item["id"], **deleted})


class OpenAIObjects:
    """The handlers, sharing one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.files, self.batches, self.stores = Shelf("file"), Shelf("batch"), Shelf("vector store")
        self.contents: dict[str, bytes] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/files", self.upload_file),
            web.get("/v1/files", self.list_files),
            web.get("/v1/files/{id}", self.retrieve_file),
            web.get("/v1/files/{id}/content", self.file_content),
            web.delete("/v1/files/{id}", self.delete_file),
            web.post("/v1/batches", self.create_batch),
            web.get("/v1/batches", self.list_batches),
            web.get("/v1/batches/{id}", self.retrieve_batch),
            web.post("/v1/batches/{id}/cancel", self.cancel_batch),
            web.post("/v1/vector_stores", self.create_store),
            web.get("/v1/vector_stores", self.list_stores),
            web.get("/v1/vector_stores/{id}", self.retrieve_store),
            web.delete("/v1/vector_stores/{id}", self.delete_store),
        ]

    async def upload_file(self, request: web.Request) -> web.Response:
        """POST /v1/files."""
        form = await read_form(request)
        file = form.file("file")
        item: Json = {"id": self.stage.new_id("file-"), "object": "file", "created_at": self.stage.now()}
        item |= {"bytes": len(file.content), "filename": file.filename, "purpose": form.value("purpose")}
        self.contents[str(item["id"])] = file.content
        return json_answer(self.files.put({**item, "status": "processed"}))

    async def list_files(self, request: web.Request) -> web.Response:
        """GET /v1/files."""
        return self.files.listed()

    async def retrieve_file(self, request: web.Request) -> web.Response:
        """GET /v1/files/{id}."""
        return json_answer(self.files.get(request))

    async def file_content(self, request: web.Request) -> web.Response:
        """GET /v1/files/{id}/content: the bytes that were uploaded."""
        item = self.files.get(request)
        return web.Response(body=self.contents[str(item["id"])], content_type="application/octet-stream")

    async def delete_file(self, request: web.Request) -> web.Response:
        """DELETE /v1/files/{id}."""
        return self.files.delete(request, {"object": "file", "deleted": True})

    async def create_batch(self, request: web.Request) -> web.Response:
        """POST /v1/batches, for a file that was uploaded before."""
        body = await read_object(request)
        if required(body, "input_file_id", str) not in self.files.items:
            raise Refused(400, "No such file.", "invalid_file", "input_file_id")
        item: Json = {"id": self.stage.new_id("batch_"), "object": "batch", "created_at": self.stage.now()}
        item |= {name: body[name] for name in ("input_file_id", "endpoint", "completion_window")}
        return json_answer(self.batches.put({**item, "status": "validating", "metadata": body.get("metadata")}))

    async def list_batches(self, request: web.Request) -> web.Response:
        """GET /v1/batches."""
        return self.batches.listed()

    async def retrieve_batch(self, request: web.Request) -> web.Response:
        """GET /v1/batches/{id}."""
        return json_answer(self.batches.get(request))

    async def cancel_batch(self, request: web.Request) -> web.Response:
        """POST /v1/batches/{id}/cancel."""
        changed = {"status": "cancelling", "cancelling_at": self.stage.now()}
        return json_answer(self.batches.put({**self.batches.get(request), **changed}))

    async def create_store(self, request: web.Request) -> web.Response:
        """POST /v1/vector_stores."""
        body = await read_object(request)
        counts = dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), 0)
        item: Json = {"id": self.stage.new_id("vs_"), "object": "vector_store", "created_at": self.stage.now()}
        item |= {"name": body.get("name", ""), "status": "completed", "usage_bytes": 0, "file_counts": counts}
        return json_answer(self.stores.put(item))

    async def list_stores(self, request: web.Request) -> web.Response:
        """GET /v1/vector_stores."""
        return self.stores.listed()

    async def retrieve_store(self, request: web.Request) -> web.Response:
        """GET /v1/vector_stores/{id}."""
        return json_answer(self.stores.get(request))

    async def delete_store(self, request: web.Request) -> web.Response:
        """DELETE /v1/vector_stores/{id}."""
        return self.stores.delete(request, {"object": "vector_store.deleted", "deleted": True})


class MessageBatches:
    """Anthropic's message batches; a batch is ended as soon as it is made, unless it is cancelled."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.batches = Shelf("message batch")
        self.custom_ids: dict[str, list[str]] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/messages/batches", self.create),
            web.get("/v1/messages/batches", self.list),
            web.get("/v1/messages/batches/{id}", self.retrieve),
            web.get("/v1/messages/batches/{id}/results", self.results),
            web.post("/v1/messages/batches/{id}/cancel", self.cancel),
            web.delete("/v1/messages/batches/{id}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """POST /v1/messages/batches."""
        requests = list_of(await read_object(request), "requests")
        now = datetime.fromtimestamp(self.stage.now(), UTC).isoformat()
        counts = dict.fromkeys(("processing", "canceled", "errored", "expired"), 0)
        name = self.stage.new_id("msgbatch_")
        self.custom_ids[name] = [str(item["custom_id"]) for item in requests if isinstance(item, dict)]
        item: Json = {"id": name, "type": "message_batch", "created_at": now, "expires_at": now, "ended_at": now}
        item |= {"processing_status": "ended", "request_counts": {**counts, "succeeded": len(requests)}}
        # The SDK fetches the results from this URL, so it has to lead back to where the client came in.
        results_url = f"{request.scheme}://{request.host}/v1/messages/batches/{name}/results"
        return json_answer(self.batches.put({**item, "results_url": results_url}))

    async def list(self, request: web.Request) -> web.Response:
        """GET /v1/messages/batches."""
        return self.batches.listed()

    async def retrieve(self, request: web.Request) -> web.Response:
        """GET /v1/messages/batches/{id}."""
        return json_answer(self.batches.get(request))

    async def results(self, request: web.Request) -> web.Response:
        """GET /v1/messages/batches/{id}/results: one line of JSON per request."""
        name = str(self.batches.get(request)["id"])
        lines = [{"custom_id": custom, "result": {"type": "expired"}} for custom in self.custom_ids[name]]
        return web.Response(body=b"\n".join(map(orjson.dumps, lines)), content_type="application/x-jsonl")

    async def cancel(self, request: web.Request) -> web.Response:
        """POST /v1/messages/batches/{id}/cancel."""
        return json_answer(self.batches.put({**self.batches.get(request), "processing_status": "canceling"}))

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE /v1/messages/batches/{id}."""
        return self.batches.delete(request, {"type": "message_batch_deleted"})
