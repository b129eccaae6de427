// OpenAI's own client, on every endpoint of its that vLLM has.

import { File } from "node:buffer"; // which Node 18 does not offer everywhere yet
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { abandon, all, check, direct, fault, key, occupied, refusal, url, watched } from "./check.mjs";

globalThis.File ??= File;

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const model = "phi3";
const messages = [{ role: "user", content: "get_weather of Paris" }];
const said = "Simulated answer to: get_weather of Paris";
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer", minimum: 2 } },
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const called = { city: said, days: 2 };

check("models", async () => {
  const list = await all(client.models.list());
  assert.deepEqual(list.map((m) => m.id), [model]);
  if (direct) assert.equal(list[0].max_model_len, 500);
  else assert.equal((await client.models.retrieve(model)).id, model);
});

check("chat", async () => {
  const answer = await client.chat.completions.create({ model, messages, n: 2 });
  assert.deepEqual(answer.choices.map((c) => c.message.content), [said, said]);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [3, 12]);
});

check("chat is cut at max_completion_tokens", async () => {
  const wish = { model, messages, max_completion_tokens: 2, logprobs: true, top_logprobs: 1 };
  const [choice] = (await client.chat.completions.create(wish)).choices;
  assert.equal(choice.message.content, "Simulated answer");
  assert.equal(choice.finish_reason, "length");
  assert.deepEqual(choice.logprobs.content.map((t) => t.token), ["Simulated", " answer"]);
});

check("chat stops", async () => {
  const [choice] = (await client.chat.completions.create({ model, messages, stop: [" to"] })).choices;
  assert.equal(choice.message.content, "Simulated answer");
  assert.equal(choice.finish_reason, "stop");
});

check("chat stream", async () => {
  const wish = { model, messages, stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await client.chat.completions.create(wish));
  assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""), said);
  assert.equal(chunks.at(-1).usage.completion_tokens, 6);
});

check("chat stream, put together", async () => {
  const stream = client.chat.completions.stream({ model, messages });
  assert.equal(await stream.finalContent(), said);
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, "stop");
});

check("tools", async () => {
  const [choice] = (await client.chat.completions.create({ model, messages, tools })).choices;
  const [call] = choice.message.tool_calls;
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), called);
});

check("tools stream", async () => {
  const wish = { model, messages, tools, tool_choice: "required" };
  const final = await client.chat.completions.stream(wish).finalChatCompletion();
  const [call] = final.choices[0].message.tool_calls;
  assert.equal(final.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(call.function.arguments), called);
});

check("structured output", async () => {
  const format = { type: "json_schema", json_schema: { name: "x", schema: parameters } };
  const wish = { model, messages, response_format: format };
  const answer = await client.chat.completions.parse(wish);
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), called);
});

check("completions", async () => {
  const answer = await client.completions.create({ model, prompt: ["a", "b"], max_tokens: 9 });
  const texts = answer.choices.map((c) => c.text);
  assert.deepEqual(texts, ["Simulated answer to: a", "Simulated answer to: b"]);
});

check("completions stream", async () => {
  const wish = { model, prompt: "a", max_tokens: 9, echo: true, stream: true };
  const chunks = await all(await client.completions.create(wish));
  assert.equal(chunks.map((c) => c.choices[0].text).join(""), "aSimulated answer to: a");
});

check("responses", async () => {
  const answer = await client.responses.create({ model, input: messages, instructions: "Be brief." });
  assert.equal(answer.output_text, said);
  assert.equal(answer.status, "completed");
  assert.equal(answer.usage.output_tokens, 6);
});

check("responses, incomplete", async () => {
  const answer = await client.responses.create({ model, input: "a", max_output_tokens: 1 });
  assert.equal(answer.output_text, "Simulated");
  assert.deepEqual(answer.incomplete_details, { reason: "max_output_tokens" });
});

check("responses stream", async () => {
  const stream = client.responses.stream({ model, input: messages });
  const events = await all(stream);
  assert.equal((await stream.finalResponse()).output_text, said);
  assert.deepEqual(events.map((e) => e.sequence_number), events.map((_, i) => i));
});

check("responses stream, a tool", async () => {
  const tool = { type: "function", name: "get_weather", parameters, strict: true };
  const stream = client.responses.stream({ model, input: messages, tools: [tool] });
  const [call] = (await stream.finalResponse()).output;
  assert.equal(call.type, "function_call");
  assert.deepEqual(JSON.parse(call.arguments), called);
});

check("responses are not kept", async () => {
  const { id } = await client.responses.create({ model, input: "a" });
  for (const way of ["retrieve", "cancel"]) {
    const error = await refusal(client.responses[way](id));
    assert(error instanceof OpenAI.NotFoundError);
    assert.match(error.message, direct ? new RegExp(`Response with id '${id}' not found`) : new RegExp(id));
  }
  assert.equal((await refusal(client.responses.delete(id))).status, 405); // which vLLM does not have
});

check("embeddings", async () => {
  const input = ["the same words", "same the words", "others"];
  const wish = { model, input, dimensions: 16 };
  const plain = await client.embeddings.create({ ...wish, encoding_format: "float" });
  const packed = await client.embeddings.create(wish); // asks for base64, and unpacks it
  const coarse = (list) => Array.from(list, (n) => n.toFixed(6));
  for (const i of input.keys())
    assert.deepEqual(coarse(plain.data[i].embedding), coarse(packed.data[i].embedding));
  assert.deepEqual(plain.data[0].embedding, plain.data[1].embedding);
  assert.notDeepEqual(plain.data[0].embedding, plain.data[2].embedding);
  assert.equal(plain.data[0].embedding.length, 16);
  assert.equal(plain.usage.total_tokens, 7);
});

check("transcription", async () => {
  const file = await toFile(Buffer.alloc(64000), "hello there.wav");
  const answer = await client.audio.transcriptions.create({ model, file, language: "de" });
  assert.equal(answer.text, "Simulated answer to: hello there.wav");
  assert.deepEqual(answer.usage, { type: "duration", seconds: 2 });
});

check("transcription stream", async () => {
  const file = await toFile(Buffer.alloc(64000), "hello there.wav");
  const chunks = await all(await client.audio.transcriptions.create({ model, file, stream: true }));
  const text = chunks.map((c) => c.choices[0].delta.content).join("");
  assert.equal(text, "Simulated answer to: hello there.wav");
});

check("translation", async () => {
  const file = await toFile(Buffer.alloc(10), "a.wav");
  const answer = await client.audio.translations.create({ model, file, response_format: "text" });
  assert.equal(answer, "Simulated answer to: a.wav");
});

check("errors", async () => {
  const chat = (wish, from = client) =>
    refusal(from.chat.completions.create({ model, messages, ...wish }));
  const unknown = await chat({ model: "gpt" });
  assert(unknown instanceof OpenAI.NotFoundError);
  if (direct) assert.equal(unknown.message, "404 The model `gpt` does not exist.");
  else assert.match(unknown.message, /gpt/);
  assert.equal(unknown.type, direct ? "NotFoundError" : "not_found_error");
  assert((await chat({ temperature: -1 })) instanceof OpenAI.BadRequestError);
  assert((await chat({ messages: 7 })) instanceof OpenAI.BadRequestError);
  if (direct) {
    const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: "another", maxRetries: 0 });
    assert((await chat({}, stranger)) instanceof OpenAI.AuthenticationError);
  }
  await fault("error-500*1");
  const lost = await chat({});
  assert(lost instanceof OpenAI.InternalServerError);
  assert.match(lost.message, /EngineCore encountered an issue/);
  await fault("full-queue*1");
  assert.equal((await chat({})).status, 503);
});

check("what is full now is tried again", async () => {
  await fault("full-queue*1");
  const patient = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 1 });
  const answer = await patient.chat.completions.create({ model, messages });
  assert.equal(answer.choices[0].message.content, said);
});

check("a stream that breaks off", async () => {
  await fault("cut-stream*1");
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  const seen = [];
  const error = await refusal((async () => { for await (const chunk of stream) seen.push(chunk); })());
  assert(error instanceof (direct ? Error : OpenAI.APIError));
  if (!direct) assert.match(error.message, /ended before its answer was complete/);
  assert(seen.length > 1 && seen.length < 8);
});

check("images and audio in a chat", async () => {
  const content = [
    { type: "image_url", image_url: { url: `data:image/png;base64,${"A".repeat(200000)}` } },
    { type: "input_audio", input_audio: { data: "B".repeat(200000), format: "wav" } },
    { type: "text", text: "get_weather of Paris" },
  ];
  const wish = { model, messages: [{ role: "user", content }] };
  assert.equal((await client.chat.completions.create(wish)).choices[0].message.content, said);
});

check("a chat is given up", async () => {
  const begin = (options) => client.chat.completions.create({ model, messages }, options);
  assert((await abandon(begin)) instanceof OpenAI.APIUserAbortError);
});

check("a chat stream is given up", async () => {
  const wish = { model, messages, stream: true };
  const chunks = await abandon(async (options) => all(await client.chat.completions.create(wish, options)));
  assert(chunks instanceof OpenAI.APIUserAbortError || chunks.length < 8); // before its head came, or after
});

check("a stream before which comments go", async () => {
  if (direct) return;
  const got = watched();
  const told = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, fetch: got.fetch });
  const begin = (options) => client.chat.completions.create({ model, messages }, options);
  const chat = async () => all(await told.chat.completions.create({ model, messages, stream: true }));
  const response = async () => all(await told.responses.create({ model, input: messages, stream: true }));
  for (const ask of [chat, response]) {
    got.text = "";
    const events = await occupied(begin, async (free) => {
      const asked = ask();
      await got.has(/^: phi3 is busy with 1 requests/m);
      await free();
      return asked;
    });
    assert(events.length > 5);
  }
  const late = /phi3 had no free place within 1s/;
  const error = await occupied(begin, () => refusal(chat()));
  assert(error instanceof OpenAI.APIError);
  assert.match(error.message, late);
  const [event] = await occupied(begin, response);
  assert.equal(event.type, "error");
  assert.match(event.message, late);
});
