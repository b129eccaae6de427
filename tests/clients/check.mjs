// node FILE URL NAME [ENGINE] runs the check of that name in FILE, against the server at URL: the simulator,
// which wants the key "secret"; or, with ENGINE, the gateway before it. The simulator takes faults.

export const [url, wanted, engine = url] = process.argv.slice(2);
export const direct = engine === url;
export const key = "secret";

export async function check(name, run) {
  if (name === wanted) await run();
}

// What a promise is rejected with.
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

export async function all(stream) {
  const found = [];
  for await (const event of stream) found.push(event);
  return found;
}

// Makes the next request fail so.
export async function fault(text) {
  await fetch(`${engine}/sim/fault`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ fault: text }),
  });
}

// Until the engine has so many requests.
async function requests(count) {
  const metric = /^vllm:num_requests_(?:running|waiting)\{.*\} (.*)$/gm;
  for (let has; has !== count; ) {
    const text = await (await fetch(`${engine}/metrics`)).text();
    has = Array.from(text.matchAll(metric), (found) => Number(found[1])).reduce((a, b) => a + b);
  }
}

// What becomes of begin(options) when it is given up while the engine works on it, which the engine then does
// not any more.
export async function abandon(begin) {
  const giveUp = new AbortController();
  await fault("hang");
  try {
    const asked = begin({ signal: giveUp.signal }).catch((error) => error);
    await requests(1);
    giveUp.abort();
    await requests(0);
    return await asked;
  } finally {
    await fetch(`${engine}/sim/fault`, { method: "DELETE" });
  }
}

// What run(free) comes to while the engine is at a request that it does not answer; free() takes it back.
export async function occupied(begin, run) {
  const giveUp = new AbortController();
  const free = () => {
    giveUp.abort();
    return fetch(`${engine}/sim/fault`, { method: "DELETE" });
  };
  await fault("hang");
  const first = begin({ signal: giveUp.signal }).catch(() => {});
  try {
    await requests(1);
    return await run(free);
  } finally {
    await free();
    await first;
  }
}

// fetch() for a client, and what came through it.
export function watched() {
  const got = { text: "" };
  const keep = async (bytes) => {
    for await (const part of bytes.pipeThrough(new TextDecoderStream())) got.text += part;
  };
  got.fetch = async (...wish) => {
    const answer = await fetch(...wish);
    const [kept, given] = answer.body.tee();
    void keep(kept);
    return new Response(given, answer);
  };
  got.has = async (what) => {
    while (!what.test(got.text)) await new Promise((done) => setTimeout(done, 10));
  };
  return got;
}
