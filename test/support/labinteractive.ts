/** A shell in the client's namespace that answers SIGINT with status 42, started as a terminal's job. */
import { labExec } from "../../host/lab/command.ts";

const script = 'trap "exit 42" INT; echo started; while :; do sleep 0.05; done';
process.exitCode = await labExec({ node: "client", command: "sh", args: ["-c", script] });
