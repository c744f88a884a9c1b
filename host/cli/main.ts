#!/usr/bin/env node
/** The `baton` command. Parses and dispatches; must not know how anything is done. */
import { addKeygen } from "./keygen.ts";
import { newProgram, runProgram } from "./program.ts";

const program = newProgram();
addKeygen(program);
await runProgram(program, process.argv.slice(2));
