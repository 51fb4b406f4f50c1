"""Images, audio, videos, moderations and legacy completions: what goes in comes back in some form, to be recognised."""

from __future__ import annotations

import base64

from aiohttp import web

from proxy.dev.demo_answer import answer, estimate_tokens, words
from proxy.dev.demo_openai import usage
from proxy.dev.demo_stage import EventStream, Json, Refused, Stage, json_answer, model_of, read_object, required
from tests.emulator.form import is_form, read_form

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
"""What a generated image holds: every byte value there is, so that a relay that decodes text is found out."""

SPEECH = b"".join(bytes((i % 256,)) * 1000 for i in range(300))
"""What speech sounds like: 300 chunks of 1000 bytes."""

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)


class Media:
    """The handlers, sharing one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.videos: dict[str, Json] = {}

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/images/generations", self.generate_image),
            web.post("/v1/images/edits", self.edit_image),
            web.post("/v1/audio/transcriptions", self.transcribe),
            web.post("/v1/audio/translations", self.translate),
            web.post("/v1/audio/speech", self.speak),
            web.post("/v1/moderations", self.moderate),
            web.post("/v1/completions", self.complete),
            web.post("/v1/videos", self.create_video),
            web.get("/v1/videos/{id}", self.retrieve_video),
            web.get("/v1/videos/{id}/content", self.video_content),
        ]

    # Images

    async def generate_image(self, request: web.Request) -> web.Response:
        """POST /v1/images/generations: `PICTURE`, as often as `n` says, with model and prompt as the revised prompt."""
        body = await read_object(request)
        prompt, count = required(body, "prompt", str), body.get("n", 1)
        assert isinstance(count, int)
        return self.images([PICTURE] * count, f"{model_of(body)}: {prompt}")

    async def edit_image(self, request: web.Request) -> web.Response:
        """POST /v1/images/edits: the image uploaded, unchanged."""
        form = await read_form(request)
        return self.images([form.file("image").content], f"{form.value('model')}: {form.value('prompt')}")

    def images(self, pictures: list[bytes], prompt: str) -> web.Response:
        """Pictures in the shape of the API."""
        data = [{"b64_json": base64.b64encode(picture).decode(), "revised_prompt": prompt} for picture in pictures]
        return json_answer({"created": self.stage.now(), "data": data})

    # Audio

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/transcriptions: a text that names the model, the file and its size; JSON, text or streamed."""
        form = await read_form(request)
        sound = form.file("file")
        text = f"{form.value('model')} heard {len(sound.content)} bytes of {sound.filename}"
        if form.value("stream", "false") == "true":
            async with EventStream(self.stage, request, {}) as stream:
                for word in words(text):
                    await stream.send({"type": "transcript.text.delta", "delta": word})
                await stream.send({"type": "transcript.text.done", "text": text})
            return stream.response
        if form.value("response_format", "json") == "text":
            return web.Response(text=text + "\n")
        return json_answer({"text": text, "usage": {"type": "duration", "seconds": 1}})

    async def translate(self, request: web.Request) -> web.Response:
        """POST /v1/audio/translations."""
        form = await read_form(request)
        return json_answer({"text": f"{form.value('model')} translated {len(form.file('file').content)} bytes"})

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/speech: `SPEECH`, chunked, whatever is to be said."""
        body = await read_object(request)
        model_of(body), required(body, "input", str), required(body, "voice", str)
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(SPEECH), 1000):
            await response.write(SPEECH[start : start + 1000])
        return response

    # Texts

    async def moderate(self, request: web.Request) -> web.Response:
        """POST /v1/moderations: nothing is ever flagged."""
        body = await read_object(request)
        given = required(body, "input", (str, list))
        result = {
            "flagged": False,
            "categories": dict.fromkeys(CATEGORIES, False),
            "category_scores": dict.fromkeys(CATEGORIES, 0.0),
            "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
        }
        results = [result] * (len(given) if isinstance(given, list) else 1)
        return json_answer({"id": self.stage.new_id("modr-"), "model": model_of(body), "results": results})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions, the legacy API, whole or streamed."""
        body = await read_object(request)
        model, prompt = model_of(body), str(required(body, "prompt", str))
        text = answer(model, prompt)
        head: Json = {"id": self.stage.new_id("cmpl-"), "object": "text_completion"}
        head |= {"created": self.stage.now(), "model": model}

        def choice(piece: str, reason: str | None) -> list[Json]:
            return [{"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}]

        if body.get("stream") is not True:
            counted = usage(estimate_tokens(prompt), estimate_tokens(text))
            return json_answer({**head, "choices": choice(text, "stop"), "usage": counted})
        async with EventStream(self.stage, request, {}) as stream:
            for word in words(text):
                await stream.send({**head, "choices": choice(word, None)})
            await stream.send({**head, "choices": choice("", "stop")})
            await stream.done()
        return stream.response

    # Videos

    async def create_video(self, request: web.Request) -> web.Response:
        """POST /v1/videos, a form or JSON: a job that is finished when it is asked for again."""
        if is_form(request.headers.get("Content-Type", "")):
            form = await read_form(request)
            model, prompt = form.value("model"), form.value("prompt")
        else:
            body = await read_object(request)
            model, prompt = model_of(body), str(required(body, "prompt", str))
        video: Json = {"id": self.stage.new_id("video_"), "object": "video", "created_at": self.stage.now()}
        video |= {"model": model, "prompt": prompt, "seconds": "4", "size": "720x1280"}
        self.videos[str(video["id"])] = video
        return json_answer({**video, "status": "queued", "progress": 0})

    async def retrieve_video(self, request: web.Request) -> web.Response:
        """GET /v1/videos/{id}."""
        return json_answer({**self.video(request), "status": "completed", "progress": 100})

    async def video_content(self, request: web.Request) -> web.Response:
        """GET /v1/videos/{id}/content."""
        self.video(request)
        return web.Response(body=SPEECH, content_type="video/mp4")

    def video(self, request: web.Request) -> Json:
        """The video asked for. Raises Refused 404."""
        found = self.videos.get(request.match_info["id"])
        if found is None:
            raise Refused(404, "No such video.")
        return found
