#!/usr/bin/env node
/** The `baton` command. Parses and dispatches; must not know how anything is done. */
import { newProgram, runProgram } from "./program.ts";

const program = newProgram();
await runProgram(program, process.argv.slice(2));
