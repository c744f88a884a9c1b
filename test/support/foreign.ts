/** Preloaded by `node --import`: another operating system, where the package koffi cannot be loaded. */
import Module from "node:module";

Object.defineProperty(process, "platform", { value: "darwin" });

interface Internals {
  _resolveFilename(request: string, ...more: unknown[]): string;
}

const internals = Module as unknown as Internals;
const resolve = internals._resolveFilename.bind(internals);
internals._resolveFilename = (request, ...more) => {
  if (request === "koffi" || request.startsWith("koffi/")) throw new Error("no koffi here");
  return resolve(request, ...more);
};
