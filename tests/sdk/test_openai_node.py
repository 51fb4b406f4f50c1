"""The npm openai SDK through Fusebox: `node/exercise.mjs` runs every case in one process, the tests look at each.

The SDK is installed from `node/package-lock.json` once. Without node or npm these tests are skipped, and say so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.dev.demo_answer import answer, words
from tests.emulator.form import parse_form
from tests.emulator.media import PICTURE, SPEECH
from tests.emulator.server import MODELS, Recorded
from tests.sdk.gateway import ALIAS, CLIENT_KEY, KEPT, Gateway, assert_own_key, expected_body, expected_model

NODE = Path(__file__).parent / "node"
QUESTION = 'Grüße, 世界 \U0001f600 \\ " \n'
SOUND = bytes(range(256)) * 300
JSON_CASES = (
    *("chat", "chat_streamed", "tools", "responses", "responses_streamed", "embeddings", "moderations"),
    *("image_generation", "speech"),
)
BASE64_SOUND = base64.b64encode(SOUND).decode()


@dataclass(frozen=True, slots=True)
class Exercised:
    """What came of one case: the SDK's result, the bodies it sent (None for a form), and what the provider received."""

    result: dict[str, object]
    sent: list[str | None]
    received: list[Recorded]


Session = dict[str, Exercised]


def install() -> None:
    """Installs the SDK as locked, unless it is there. Skips the tests when node or npm is missing."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed on this machine: {', '.join(missing)}")
    if not (NODE / "node_modules").is_dir():
        installed = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=NODE, capture_output=True, text=True)
        assert installed.returncode == 0, installed.stderr


@pytest.fixture(scope="module")
def session(fusebox: Gateway) -> Session:
    """All cases for both models, by case and model."""
    install()
    fusebox.emulator.take()
    # Variables of the machine that configure Node would make this another test.
    env = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    command = ["node", "exercise.mjs", fusebox.base_url, CLIENT_KEY, ALIAS, KEPT]
    ended = subprocess.run(command, cwd=NODE, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    received = fusebox.emulator.take()
    return {
        name: Exercised(case["result"], case["sent"], [one for one in received if one.header("x-case") == name])
        for name, case in json.loads(ended.stdout).items()
    }


@pytest.fixture(params=[ALIAS, KEPT])
def model(request: pytest.FixtureRequest) -> str:
    """A model that the policy replaces, and one that it keeps."""
    return str(request.param)


def test_every_request_arrived_with_the_providers_key(session: Session) -> None:
    """Every request that the SDK made reached the provider, in order, with the provider's key only."""
    for name, case in session.items():
        # The list of models is asked for on the policy's behalf, and the WebSocket is not fetched.
        if not name.startswith(("models", "realtime")):
            assert len(case.received) == len(case.sent), name
        assert case.received, name
        for request in case.received:
            assert_own_key(request)


@pytest.mark.parametrize("case", JSON_CASES)
def test_json_bodies_arrive_as_sent(session: Session, case: str, model: str) -> None:
    """The provider received each JSON body as the SDK wrote it, but for a replaced model."""
    exercised = session[f"{case} {model}"]
    assert exercised.sent
    for sent, received in zip(exercised.sent, exercised.received, strict=True):
        assert sent is not None
        assert received.body == expected_body(sent.encode(), model)


@pytest.mark.parametrize(("case", "file"), [("image_edit", "image"), ("transcription", "file")])
def test_forms_arrive_whole(session: Session, case: str, file: str, model: str) -> None:
    """The provider received a sound form, with the model replaced and the file untouched."""
    [received] = session[f"{case} {model}"].received
    form = parse_form(received.header("content-type") or "", received.body)
    assert form.value("model") == expected_model(model)
    assert form.file(file).content == SOUND


def test_chat(session: Session, model: str) -> None:
    """Whole and streamed, the answer is the provider's, for the model of the policy."""
    text = answer(expected_model(model), QUESTION)
    assert session[f"chat {model}"].result == {"model": expected_model(model), "text": text}
    streamed = session[f"chat_streamed {model}"].result
    assert (streamed["model"], streamed["text"]) == (expected_model(model), text)
    assert streamed["pieces"] == len(words(text)) + 3
    assert streamed["usage"]
    assert session[f"tools {model}"].result == {"name": "pick", "arguments": {"model": "demo"}}


def test_responses(session: Session, model: str) -> None:
    """Whole and streamed, the response is complete."""
    text = answer(expected_model(model), "hi")
    assert session[f"responses {model}"].result == {"model": expected_model(model), "text": text}
    assert session[f"responses_streamed {model}"].result == {"text": text, "last": "response.completed"}


def test_embeddings_and_moderations(session: Session, model: str) -> None:
    """Both come back for the model of the policy."""
    assert session[f"embeddings {model}"].result == {"model": expected_model(model), "lengths": [16, 16]}
    assert session[f"moderations {model}"].result == {"model": expected_model(model), "flagged": False}


def test_images_and_audio(session: Session, model: str) -> None:
    """Pictures and sounds come back byte for byte."""
    picture = base64.b64encode(PICTURE).decode()
    prompt = f"{expected_model(model)}: a fuse"
    assert session[f"image_generation {model}"].result == {"prompt": prompt, "image": picture}
    prompt = f"{expected_model(model)}: add a fuse"
    assert session[f"image_edit {model}"].result == {"prompt": prompt, "image": BASE64_SOUND}
    heard = f"{expected_model(model)} heard {len(SOUND)} bytes of talk.wav"
    assert session[f"transcription {model}"].result == {"text": heard}
    assert session[f"speech {model}"].result == {"sound": base64.b64encode(SPEECH).decode()}


def test_files_and_batches(session: Session, model: str) -> None:
    """Objects that live at the provider are made, found, changed and deleted."""
    files = {"bytes": len(SOUND), "listed": True, "content": BASE64_SOUND, "deleted": True}
    assert session[f"files {model}"].result == files
    batches = {"created": "validating", "found": True, "cancelled": "cancelling"}
    assert session[f"batches {model}"].result == batches


def test_models(session: Session, model: str) -> None:
    """The provider's models are listed, and its refusal is its own."""
    result = session[f"models {model}"].result
    assert isinstance(result["listed"], list)
    assert set(result["listed"]) >= set(MODELS)
    assert result["refusal"] == {"status": 404, "code": "model_not_found"}


def test_realtime(session: Session, model: str) -> None:
    """A session over WebSocket is for the model of the policy, and answers."""
    case = session[f"realtime {model}"]
    text = answer(expected_model(model), "hi")
    assert case.result == {"served": expected_model(model), "text": text, "metadata": {"a": "b"}}
    [received] = case.received
    assert received.target == f"/v1/realtime?model={expected_model(model)}"
