/**
 * `baton` with a profiler in it: the first SIGUSR2 starts it, the second ends it, writes the profile to the file
 * that BATON_PROFILE names, and says so. Knows the inspector; must not know what is profiled.
 */
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector";

/** Each sample takes some ten microseconds of the thread that it looks at. */
const INTERVAL_US = 1000;
const session = new Session();
session.connect();
session.post("Profiler.enable");
session.post("Profiler.setSamplingInterval", { interval: INTERVAL_US });

process.once("SIGUSR2", () => {
  session.post("Profiler.start");
  process.once("SIGUSR2", () => {
    session.post("Profiler.stop", (error, result) => {
      if (error !== null) throw error;
      writeFileSync(process.env["BATON_PROFILE"] ?? "", JSON.stringify(result.profile));
      process.stdout.write('{"event":"profile"}\n');
    });
  });
});

await import("../../host/cli/main.js");
