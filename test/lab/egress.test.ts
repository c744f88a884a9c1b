/**
 * `--egress raw`: packets come in by the TUN device and leave by raw sockets, at the forwarder and at the
 * backends, with the kernel's TCP as the client.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { FAMILIES, MIB, withService, type Counters } from "../support/labservice.ts";

const egress = suite("egress");
const BYTES = 16 * MIB;
const RAW = ["--egress", "raw"];
const FULL = 1500;

function total(counters: readonly (Counters | undefined)[], group: string, name: string): number {
  return counters.reduce((sum, each) => sum + (each?.[group]?.[name] ?? 0), 0);
}

egress(
  `${BYTES / MIB} MiB come down and go up over both families, out by raw sockets`,
  async () => {
    const flags = { forwarderFlags: RAW, backendFlags: RAW };
    const lengths: number[] = [];
    const body = async (
      service: Parameters<Parameters<typeof withService>[2]>[0],
    ): Promise<void> => {
      const { lab } = service;
      const services = new Set([lab.plan.service4, lab.plan.service6]);
      const capture = await lab.capture(
        "b1",
        ({ source, direction, length, tcp }) => {
          if (direction === "out" && services.has(source) && tcp !== undefined)
            lengths.push(length);
        },
        { snapLen: 128 },
      );
      for (const family of FAMILIES) {
        const host = "api.example";
        const down = await service.visit({ family, asks: [{ host, path: `/bytes/${BYTES}` }] });
        assert.equal([down.error, down.answers[0]?.bytes], [undefined, BYTES]);
        assert.is(down.answers[0]?.sha256, patternSha256(BYTES));
        const asks = [{ host: "shop.example", path: "/static/upload", upload: BYTES }];
        const up = await service.visit({ family, asks });
        const got = JSON.parse(up.answers[0]?.text ?? "{}") as Record<string, unknown>;
        assert.equal([got["bytes"], got["sha256"]], [BYTES, patternSha256(BYTES)]);
      }
      await capture.stop();
      const counters = await service.counters();
      const [lb, ...backends] = ["forwarder", "b1", "b2"].map((name) => counters.get(name));
      const all = [lb, ...backends];
      assert.is(total(all, "link", "txPackets"), 0, "nothing leaves by a device");
      assert.ok(
        total([lb], "egress", "txBytes") > 2 * BYTES,
        "the forwarder sends both uploads on",
      );
      assert.ok(total(backends, "egress", "txBytes") > 2 * BYTES, "backends answer directly");
      for (const name of ["txTooLong", "txRefused", "txUnroutable", "txErrors"]) {
        assert.is(total(all, "egress", name), 0, name);
      }
    };
    await withService("egress raw", {}, body, flags);
    if (lengths.length === 0) return; // The named skip has been printed.
    assert.ok(lengths.length > (2 * BYTES) / FULL, "every packet was seen");
    assert.is(Math.max(...new Set(lengths)), FULL, "single packets that fill the path");
  },
);

egress.run();
