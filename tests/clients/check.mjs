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
