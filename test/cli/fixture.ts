/** The real program with rooms that only tell what they were given; run by main.test.ts. */
import { addBackend, addForwarder } from "../../host/cli/daemon.ts";
import { newProgram, runProgram } from "../../host/cli/program.ts";
import { BatonError } from "../../host/errors.ts";

const program = newProgram();

addForwarder(program, async () => async (config, stop) => {
  process.stdout.write(JSON.stringify(config) + "\n");
  const kept = setInterval(() => {}, 1_000);
  await new Promise((resolve) => stop.addEventListener("abort", resolve));
  if (config.name !== "stubborn") clearInterval(kept);
  process.stdout.write(`stopped by ${String(stop.reason)}\n`);
});

addBackend(program, async () => async (config) => {
  setInterval(() => {}, 1_000); // a handle that a failed room forgot
  if (config.name === "busy")
    throw new BatonError("ERR_BATON_BUSY", "address: expected it free,\ngot b2");
  if (config.name === "poor") throw new BatonError("EPERM", "tun baton0: operation not permitted");
  if (config.name === "labless")
    throw new BatonError("ERR_BATON_LAB_UNAVAILABLE", "lab: no unshare");
  if (config.name === "broken") throw new TypeError("x is not a function");
  if (config.name === "late")
    setTimeout(() => void Promise.reject(new TypeError("nobody waits")), 1);
  await new Promise(() => {});
});

program.command("flood").action(async () => {
  const line = "x".repeat(1_000) + "\n";
  for (let count = 0; count < 1_000; count++) {
    process.stdout.write(line);
    await new Promise((resolve) => setImmediate(resolve));
  }
});

await runProgram(program, process.argv.slice(2));
