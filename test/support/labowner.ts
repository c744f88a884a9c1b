/**
 * Owns a lab until it is killed, for the tests of its life cycle. Prints one JSON line with what must
 * disappear. Usage: labowner [crash]; `crash` throws 100 ms later.
 */
import { openLab } from "../../host/lab/lab.ts";
import { namespaceOf } from "./lab.ts";

const lab = await openLab();
const nodes = Object.values(lab.nodes);
const namespaces = await Promise.all(nodes.map((node) => namespaceOf(node)));
const made = await lab.nodes.forwarder.run("ip", ["tuntap", "add", "dev", "baton0", "mode", "tun"]);
if (made.status !== 0) throw new Error(made.stderr);
// A process, a process of that process, and an orphan that PID 1 inherits.
const busy = "(sleep 1000 &) ; sleep 1000 & wait";
for (const node of lab.backends) node.exec("sh", ["-c", busy]);
process.stdout.write(JSON.stringify({ supervisor: lab.address.pid, namespaces }) + "\n");
if (process.argv[2] === "crash") {
  setTimeout(() => {
    throw new Error("crash on purpose");
  }, 100);
}
