// Drives the npm openai SDK, unchanged, through the base URL given, once for each model given.
//
//   node exercise.mjs BASE_URL API_KEY MODEL...
//
// Prints one JSON object to stdout: {"CASE MODEL": {"result": ..., "sent": [body, ...]}}. `sent` holds the bodies as the
// SDK handed them to fetch; a form is null there, because fetch itself puts it into bytes. Each request carries the
// header `x-case`, by which the test finds what the provider received. Exits 1 with the error when a case fails.

import { connect } from 'node:net';

import OpenAI, { toFile } from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const [baseURL, apiKey, ...models] = process.argv.slice(2);
const messages = [
  { role: 'system', content: 'The "model" is a word here, and so is {"model": 1}.' },
  { role: 'user', content: 'Grüße, 世界 😀 \\ " \n' },
];
const schema = { type: 'object', properties: { model: { type: 'string' } }, required: ['model'] };
const sound = Uint8Array.from({ length: 76800 }, (_, i) => i % 256);
const base64 = (bytes) => Buffer.from(bytes).toString('base64');

async function collect(stream) {
  const all = [];
  for await (const item of stream) all.push(item);
  return all;
}

const cases = {
  async chat(client, model) {
    const done = await client.chat.completions.create({ model, messages });
    return { model: done.model, text: done.choices[0].message.content };
  },

  async chat_streamed(client, model) {
    const options = { model, messages, stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await client.chat.completions.create(options));
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    return { model: chunks[0].model, text, pieces: chunks.length, usage: chunks.at(-1).usage.total_tokens };
  },

  async tools(client, model) {
    const tools = [{ type: 'function', function: { name: 'pick', parameters: schema } }];
    const done = await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
    const call = done.choices[0].message.tool_calls[0].function;
    return { name: call.name, arguments: JSON.parse(call.arguments) };
  },

  async responses(client, model) {
    const done = await client.responses.create({ model, input: 'hi' });
    return { model: done.model, text: done.output_text };
  },

  async responses_streamed(client, model) {
    const events = await collect(await client.responses.create({ model, input: 'hi', stream: true }));
    const deltas = events.filter((event) => event.type === 'response.output_text.delta');
    return { text: deltas.map((event) => event.delta).join(''), last: events.at(-1).type };
  },

  async embeddings(client, model) {
    const done = await client.embeddings.create({ model, input: ['one', 'two'], dimensions: 16 });
    return { model: done.model, lengths: done.data.map((item) => item.embedding.length) };
  },

  async moderations(client, model) {
    const done = await client.moderations.create({ model, input: 'hi' });
    return { model: done.model, flagged: done.results[0].flagged };
  },

  async image_generation(client, model) {
    const done = await client.images.generate({ model, prompt: 'a fuse' });
    return { prompt: done.data[0].revised_prompt, image: done.data[0].b64_json };
  },

  async image_edit(client, model) {
    const image = await toFile(sound, 'picture.png', { type: 'image/png' });
    const done = await client.images.edit({ model, image, prompt: 'add a fuse' });
    return { prompt: done.data[0].revised_prompt, image: done.data[0].b64_json };
  },

  async transcription(client, model) {
    const done = await client.audio.transcriptions.create({ model, file: await toFile(sound, 'talk.wav') });
    return { text: done.text };
  },

  async speech(client, model) {
    const done = await client.audio.speech.create({ model, input: 'hi', voice: 'alloy' });
    return { sound: base64(await done.arrayBuffer()) };
  },

  async files(client) {
    const file = await client.files.create({ file: await toFile(sound, 'all.bin'), purpose: 'batch' });
    const listed = (await collect(client.files.list())).map((item) => item.id);
    const content = base64(await (await client.files.content(file.id)).arrayBuffer());
    const { deleted } = await client.files.delete(file.id);
    return { bytes: file.bytes, listed: listed.includes(file.id), content, deleted };
  },

  async batches(client) {
    const file = await client.files.create({ file: await toFile(Buffer.from('{}'), 'jobs.jsonl'), purpose: 'batch' });
    const job = { input_file_id: file.id, endpoint: '/v1/responses', completion_window: '24h' };
    const batch = await client.batches.create(job);
    const found = await client.batches.retrieve(batch.id);
    const cancelled = await client.batches.cancel(batch.id);
    return { created: batch.status, found: found.input_file_id === file.id, cancelled: cancelled.status };
  },

  async models(client) {
    const listed = (await collect(client.models.list())).map((model) => model.id);
    const refusal = await client.models.retrieve('none').catch((error) => ({ status: error.status, code: error.code }));
    return { listed, refusal };
  },

  async realtime(client, model, name) {
    // The SDK always asks for wss. Its transport option is what lets it reach a sidecar that speaks plain ws.
    const createConnection = ({ host, port }) => connect({ host, port });
    const options = { headers: { 'x-case': name }, createConnection };
    const socket = new OpenAIRealtimeWS({ model, options }, client);
    return await new Promise((resolve, reject) => {
      let served, text = '';
      socket.on('error', reject);
      socket.on('session.created', (event) => {
        served = event.session.model;
        socket.send({ type: 'response.create', response: { instructions: 'hi', metadata: { a: 'b' } } });
      });
      socket.on('response.output_text.delta', (event) => { text += event.delta; });
      socket.on('response.done', (event) => {
        socket.socket.once('close', () => resolve({ served, text, metadata: event.response.metadata }));
        socket.close();
      });
    });
  },
};

const outcome = {};
for (const model of models) {
  for (const [name, run] of Object.entries(cases)) {
    const key = `${name} ${model}`;
    const sent = [];
    const keep = (url, init) => {
      sent.push(typeof init.body === 'string' ? init.body : null);
      return fetch(url, init);
    };
    const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, fetch: keep, defaultHeaders: { 'x-case': key } });
    try {
      outcome[key] = { result: await run(client, model, key), sent };
    } catch (error) {
      console.error(`${key}:`, error);
      process.exit(1);
    }
  }
}
console.log(JSON.stringify(outcome));
