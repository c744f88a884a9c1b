/**
 * The model of the handoff itself (docs/model/handoff.pml) in a bounded form: one migration, crashes of nodes
 * and of the forwarder. It takes most of a minute, so only with BATON_FULL=1; `docs/model/run.sh` has all of it.
 */
import { suite } from "uvu";
import { expectAsSpecified } from "./spin.ts";

const handoff = suite("model of the handoff");

const BOUNDED = "handoff -DMAXF=2 -DNN=2 -DCRASH=1";
/** As specified once, without an endless loop twice, nine rules broken. */
const LEAST = 12;
/** One rule that is broken, found at once. */
const QUICK = `${BOUNDED} -DBUG_SELF_RESUME`;

handoff("objects to a source that resumes by itself (R7)", () => expectAsSpecified(QUICK, 1));

if (process.env["BATON_FULL"] === "1") {
  handoff("one migration holds as specified, and every rule broken on purpose is found", () => {
    expectAsSpecified(BOUNDED, LEAST);
  });
}

handoff.run();
