/** Formatter, linter and type check: `npm run check`. The type check is the build's own compiler run. */
import { spawnSync } from "node:child_process";

const STEPS = [
  ["format", ["node_modules/prettier/bin/prettier.cjs", "--check", "--log-level", "warn", "."]],
  ["lint", ["node_modules/eslint/bin/eslint.js", "--max-warnings", "0", "."]],
  ["types", ["node_modules/typescript/bin/tsc", "-p", ".", "--noEmit", "--incremental", "false"]],
];

for (const [name, args] of STEPS) {
  const result = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (result.status !== 0) {
    process.stderr.write(`check: ${name} failed\n`);
    process.exit(1);
  }
}
process.stderr.write("check: format, lint and types are clean\n");
