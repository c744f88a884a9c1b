/**
 * The path to a client becomes narrower in the middle of its download: the router says so to the service
 * address (RFC 1191, RFC 8201), the forwarder finds the owner, and the owner's segments fit from then on.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startCapture } from "../../host/lab/capture.ts";
import { patternSha256 } from "../../host/lab/pattern.ts";
import { FAMILIES, MIB, withService } from "../support/labservice.ts";

const pathMtu = suite("path MTU in the lab");

const NARROW = 1300;
const BYTES = 4 * MIB;
/** Given over two seconds, so that the path changes while most is still to come. */
const SECONDS = 2;

interface Segment {
  readonly length: number;
  readonly payloadLen: number;
}

pathMtu(
  "a packet that has become too big is reported to the owner, who sends smaller ones",
  async () => {
    await withService("path-mtu", {}, async (service) => {
      const { client, router } = service.lab.nodes;
      // Segments one by one: a large one that the kernel cuts late would look too long in the capture.
      await service.lab.offload(false);
      for (const family of FAMILIES) {
        const seen: Segment[] = [];
        let bytes = 0;
        let begun: () => void = () => undefined;
        const isBegun = new Promise<void>((resolve) => (begun = resolve));
        const source = service.addressOf(family);
        const capture = await startCapture(
          client,
          (packet) => {
            if (packet.source !== source || !packet.tcp) return;
            seen.push({ length: packet.length, payloadLen: packet.tcp.payloadLen });
            bytes += packet.tcp.payloadLen;
            if (bytes > BYTES / 8) begun();
          },
          { snapLen: 128 },
        );
        const path = `/bytes/${BYTES}/within/${SECONDS}`;
        const visit = service.visit({ family, asks: [{ host: "api.example", path }] });
        await isBegun;
        const full = 1500;
        assert.ok(
          seen.some(({ length }) => length === full),
          `IPv${family}: full segments before`,
        );
        const { status, stderr } = await router.run("ip", [
          "link",
          "set",
          "client",
          "mtu",
          `${NARROW}`,
        ]);
        assert.is(status, 0, stderr);
        const atChange = seen.length;
        const { answers, error } = await visit;
        await capture.stop();
        assert.is(error, undefined);
        assert.is(answers[0]?.sha256, patternSha256(BYTES));
        const after = seen.slice(atChange).filter(({ length }) => length > NARROW);
        // What the capture had not delivered yet when the device changed.
        assert.ok(
          after.length < 100,
          `IPv${family}: ${after.length} longer segments after the change`,
        );
        const narrow = seen.filter(({ length }) => length === NARROW);
        assert.ok(
          narrow.length > BYTES / NARROW / 4,
          `IPv${family}: ${narrow.length} segments of the new size`,
        );
        await router.run("ip", ["link", "set", "client", "mtu", `${full}`]);
      }
      const counters = await service.counters();
      const core = (name: string, counter: string): number =>
        counters.get(name)?.["core"]?.[counter] ?? 0;
      const ofBackends = (counter: string): number => core("b1", counter) + core("b2", counter);
      assert.ok(core("forwarder", "icmp_forwarded") >= FAMILIES.length, "found their owner");
      assert.ok(ofBackends("icmp_local") >= FAMILIES.length, "arrived there");
      assert.ok(ofBackends("tcp_icmp_taken") >= FAMILIES.length, "were believed");
      assert.is(ofBackends("tcp_black_holes"), 0, "nothing had to be guessed");
    });
  },
);

pathMtu.run();
