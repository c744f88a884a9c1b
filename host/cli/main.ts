#!/usr/bin/env node
/** The `baton` command. Parses and dispatches; must not know how anything is done. */
process.stderr.write("baton: no command is built yet\n");
process.exitCode = 2;
