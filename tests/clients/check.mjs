// node FILE URL NAME runs the check of that name in FILE, against the server at URL, which wants
// the key "secret" and takes faults.

export const [url, wanted] = process.argv.slice(2);
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
  await fetch(`${url}/sim/fault`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ fault: text }),
  });
}
