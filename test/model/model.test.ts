/** The small models of the handoff protocol (docs/model). */
import { suite } from "uvu";
import { expectAsSpecified } from "./spin.ts";

const model = suite("model");

const CHECKS = {
  ...{ reset: 4, flowid: 6, tuple: 8, relay: 7 },
  /** One rule that is broken, found at once (R24). */
  "relay -DBUG_NO_ORDER": 1,
} as const;
/** The larger ones take half a minute each. */
const WANTED: readonly (keyof typeof CHECKS)[] =
  process.env["BATON_FULL"] === "1"
    ? ["reset", "flowid", "tuple", "relay"]
    : ["reset", "relay -DBUG_NO_ORDER"];

for (const name of WANTED) {
  model(`${name} holds as specified, and objects to every rule that is broken on purpose`, () => {
    expectAsSpecified(name, CHECKS[name]);
  });
}

model.run();
