#!/usr/bin/env node
/** The `baton` command. Parses and dispatches; must not know how anything is done. */
import { addBackend, addClassifier, addForwarder } from "./daemon.ts";
import { addDoctor } from "./doctor.ts";
import { addDown } from "./down.ts";
import { addDrain, addUndrain } from "./drain.ts";
import { addInspect } from "./inspect.ts";
import { addKeygen } from "./keygen.ts";
import { addLab } from "./lab.ts";
import { newProgram, runProgram } from "./program.ts";
import { addSim } from "./sim.ts";

const program = newProgram();
addForwarder(program, async () => (await import("../daemon/forwarder.ts")).runForwarder);
addClassifier(program, async () => (await import("../daemon/classifier.ts")).runClassifier);
addBackend(program, async () => (await import("../daemon/backend.ts")).runBackend);
addDrain(program);
addUndrain(program);
addDoctor(program);
addDown(program);
addInspect(program);
addKeygen(program);
addSim(program);
addLab(program);
await runProgram(program, process.argv.slice(2));
