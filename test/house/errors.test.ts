import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BatonError } from "../../host/errors.ts";

const errors = suite("errors");

errors("carry a stable code and a message", () => {
  const error = new BatonError("ERR_BATON_CONFIG", "port: expected 1 to 65535, got 0");
  assert.is(error.code, "ERR_BATON_CONFIG");
  assert.ok(error instanceof Error);
  assert.match(error.message, "expected 1 to 65535");
});

errors.run();
