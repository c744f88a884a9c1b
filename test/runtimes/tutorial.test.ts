/** docs/tutorial-core.md: its code is the example's, and the example serves the kernel's own TCP. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { read, ROOT } from "../house/source.ts";
import { ip, privileged } from "../support/namespace.ts";

const tutorial = suite("tutorial");
const check = await privileged(import.meta.url, tutorial);

tutorial("shows no line that the example does not have", () => {
  const example = read("examples/core-http.ts");
  const blocks = [...read("docs/tutorial-core.md").matchAll(/^```ts\n([\s\S]*?)^```/gm)];
  assert.ok(blocks.length >= 8, "the blocks are found");
  for (const [, block = ""] of blocks) assert.ok(example.includes(block.trimEnd()), block);
});

check("serves a hundred requests of the kernel's TCP, eight at a time", async () => {
  ip("link set lo up");
  const server = spawn(process.execPath, [join(ROOT, "build", "examples", "core-http.js")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(createInterface({ input: server.stdout }), "line");
    let next = 0;
    const answers = new Set<string>();
    const visit = async (): Promise<void> => {
      while (next < 100) answers.add(await fetched(`/page/${next++}`));
    };
    await Promise.all(Array.from({ length: 8 }, visit));
    assert.is(answers.size, 100);
    assert.ok(answers.has("You said: GET /page/99 HTTP/1.1\n"));
  } finally {
    server.kill();
  }
});

async function fetched(path: string): Promise<string> {
  const request = get({ host: "10.77.0.2", path, timeout: 20_000 });
  request.once("timeout", () => request.destroy(new Error(`${path}: no answer`)));
  const [response] = (await once(request, "response")) as [IncomingMessage];
  assert.is(response.statusCode, 200);
  return text(response);
}

tutorial.run();
