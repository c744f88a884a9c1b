/** The table of deliberate breaks fits the sources: `npm run sim:mutants` runs it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mutate } from "./mutants.ts";
import { MUTATIONS } from "./mutations.ts";

const mutations = suite("mutations");

mutations("find their places in the sources, each exactly once", () => {
  for (const mutation of MUTATIONS) assert.ok(mutate(mutation).length > 0, mutation.name);
});

mutations("are at least twenty, each with a name of its own", () => {
  const names = new Set(MUTATIONS.map(({ name }) => name));
  assert.is(names.size, MUTATIONS.length);
  assert.ok(names.size >= 20, `${names.size}`);
});

mutations.run();
