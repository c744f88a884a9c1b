/** `--huge-pages always`: every node asks the kernel, or says that there are none, and serves as ever. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { childOf } from "../../host/lab/process.ts";
import { MIB, withService } from "../support/labservice.ts";
import { reasonAgainstXdp } from "../support/xdp.ts";

const huge = suite("huge pages on the lab");

/** By xdp the kernel's rings are mapped into the middle of that memory, and its frames pinned. */
for (const link of ["tun", "xdp:eth0"]) {
  huge(`are asked for by every node, and a download comes whole by ${link}`, async () => {
    const missing = link === "tun" ? "" : reasonAgainstXdp();
    if (missing !== "") return void process.stdout.write(`SKIP huge pages by xdp: ${missing}\n`);
    const flags = ["--huge-pages", "always", "--link", link];
    const options = { forwarderFlags: flags, backendFlags: flags };
    await withService(
      `huge pages by ${link}`,
      {},
      async (service) => {
        const asks = [{ host: "api.example", path: `/bytes/${MIB}` }];
        const visited = await service.visit({ family: 4, asks });
        assert.equal([visited.error, visited.answers[0]?.bytes], [undefined, MIB]);
        assert.is(visited.answers[0]?.sha256, patternSha256(MIB));
        for (const { name, child, stderr } of service.cluster.daemons) {
          const isRefused = stderr.includes("huge pages: expected madvise or always");
          assert.is(isAsked(childOf(child.pid ?? 0) ?? 0), !isRefused, `${name}: ${stderr}`);
        }
      },
      options,
    );
  });
}

/** "hg" stands among the flags of a mapping whose pages may be huge; Node itself asks for none. */
function isAsked(pid: number): boolean {
  return /^VmFlags:.* hg\b/m.test(readFileSync(`/proc/${pid}/smaps`, "latin1"));
}

huge.run();
