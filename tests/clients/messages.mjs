// The client of /v1/messages, by those who made that API.

import assert from "node:assert/strict";
import Client from "@anthropic-ai/sdk";
import { abandon, all, check, direct, fault, key, occupied, refusal, url, watched } from "./check.mjs";

const client = new Client({ baseURL: url, apiKey: null, authToken: key, maxRetries: 0 });
const model = "phi3";
const messages = [{ role: "user", content: [{ type: "text", text: "get_weather of Paris" }] }];
const plain = { model, max_tokens: 99, messages };
const said = "Simulated answer to: get_weather of Paris";
const input_schema = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ name: "get_weather", input_schema }];

check("messages", async () => {
  const answer = await client.messages.create({ ...plain, system: "Be brief." });
  assert.deepEqual(answer.content, [{ type: "text", text: said }]);
  assert.equal(answer.stop_reason, "end_turn");
  assert.deepEqual(answer.usage, { input_tokens: 5, output_tokens: 6 });
});

check("messages are cut at max_tokens", async () => {
  const answer = await client.messages.create({ ...plain, max_tokens: 2 });
  assert.equal(answer.content[0].text, "Simulated answer");
  assert.equal(answer.stop_reason, "max_tokens");
});

check("messages stream", async () => {
  const events = await all(await client.messages.create({ ...plain, stream: true }));
  assert.equal(events.map((e) => e.delta?.text ?? "").join(""), said);
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-1).type, "message_stop");
});

check("messages stream, put together", async () => {
  const stream = client.messages.stream(plain);
  assert.equal(await stream.finalText(), said);
  assert.equal((await stream.finalMessage()).usage.output_tokens, 6);
});

check("tools", async () => {
  const answer = await client.messages.create({ ...plain, tools, tool_choice: { type: "any" } });
  const [call] = answer.content;
  assert.deepEqual([call.type, call.name, call.input], ["tool_use", "get_weather", { city: said }]);
  assert.equal(answer.stop_reason, "tool_use");
  const result = { type: "tool_result", tool_use_id: call.id, content: "It rains." };
  const conversation = [
    ...messages,
    { role: "assistant", content: answer.content },
    { role: "user", content: [result] },
  ];
  const last = await client.messages.create({ ...plain, tools, messages: conversation });
  assert.equal(last.content[0].text, "Simulated answer to: It rains.");
});

check("tools stream", async () => {
  const stream = client.messages.stream({ ...plain, tools });
  const [call] = (await stream.finalMessage()).content;
  assert.deepEqual([call.type, call.name, call.input], ["tool_use", "get_weather", { city: said }]);
});

check("tokens are counted", async () => {
  const { input_tokens } = await client.messages.countTokens({ model, messages });
  assert.equal(input_tokens, 3);
});

check("errors", async () => {
  const ask = (wish) => refusal(client.messages.create({ ...plain, ...wish }));
  const unknown = await ask({ model: "gpt" });
  assert(unknown instanceof Client.NotFoundError);
  if (direct) assert.equal(unknown.error.error.message, "The model `gpt` does not exist.");
  else assert.equal(unknown.error.error.type, "not_found_error");
  assert((await ask({ messages: [] })) instanceof Client.BadRequestError);
  assert((await ask({ max_tokens: 0 })) instanceof Client.BadRequestError);
  await fault("error-500*1");
  assert((await ask({})) instanceof Client.InternalServerError);
  if (!direct) return;
  const stranger = new Client({ baseURL: url, apiKey: null, authToken: "another", maxRetries: 0 });
  assert((await refusal(stranger.messages.create(plain))) instanceof Client.AuthenticationError);
});

check("an image in a message", async () => {
  const source = { type: "base64", media_type: "image/png", data: "A".repeat(200000) };
  const content = [{ type: "image", source }, ...messages[0].content];
  const answer = await client.messages.create({ ...plain, messages: [{ role: "user", content }] });
  assert.equal(answer.content[0].text, said);
});

check("a message is given up", async () => {
  const begin = (options) => client.messages.create(plain, options);
  assert((await abandon(begin)) instanceof Client.APIUserAbortError);
  const wish = { ...plain, stream: true };
  const events = await abandon(async (options) => all(await client.messages.create(wish, options)));
  assert(events instanceof Client.APIUserAbortError || events.length < 8); // before its head came, or after
});

check("a stream that breaks off", async () => {
  await fault("cut-stream*1");
  const error = await refusal(client.messages.stream(plain).finalMessage());
  assert(error instanceof Client.AnthropicError);
});

check("a stream before which comments go", async () => {
  if (direct) return;
  const got = watched();
  const told = new Client({ baseURL: url, apiKey: null, authToken: key, maxRetries: 0, fetch: got.fetch });
  const begin = (options) => client.messages.create(plain, options);
  const text = await occupied(begin, async (free) => {
    const asked = told.messages.stream(plain).finalText();
    await got.has(/^: phi3 is busy with 1 requests/m);
    await free();
    return asked;
  });
  assert.equal(text, said);
  const error = await occupied(begin, () => refusal(told.messages.stream(plain).finalText()));
  assert(error instanceof Client.APIError);
  assert.match(error.message, /phi3 had no free place within 1s/);
});
