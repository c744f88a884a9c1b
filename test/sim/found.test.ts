/**
 * Failures that seeds found, each by what brought it about and with all that it needs; test/sim/mutations.ts breaks
 * what was mended.
 */
import { suite } from "uvu";
import type { Given } from "../../host/sim/scenario.ts";
import { BODY, simulate } from "./simulate.ts";

const found = suite("failures that seeds found");

/** What a seed draws beside what is given here may change; these are found only as they were. */
const OTHERWISE = {
  forwarders: 1,
  isEachLink: false,
  classifiers: 0,
  mannerPercent: 0,
  waitPercent: 0,
  stackPercent: 0,
  isByRequest: false,
} as const satisfies Given;

function again(given: Given & { readonly seed: number }): void {
  simulate({ ...OTHERWISE, ...given });
}

const ALONE = { bodyMax: 1, connectionsMax: 1, faultPercentMax: 0, clockPpmMax: 0, movePercent: 0 };

found("answers a late segment of a port's last connection after all classifiers did not", () => {
  again({ seed: 201, clients: 8, bodyMax: 20_000, troubles: [], classifiers: 1 });
});

found("reports to a new forwarder while connections are in TIME-WAIT", () => {
  again({ seed: 103, isPlain: true, troubles: ["forwarder-crash"], faultPercentMax: 0 });
});

found("says nothing for a node that was declared dead while it stood still (R14)", () => {
  again({ seed: 206, troubles: ["long-pause"], faultPercentMax: 0 });
});

found("keeps a flow whose early packets came back when ACCEPT was under way (R19)", () => {
  const troubles = ["slow-blob", "slow-blob", "slow-blob"] as const;
  for (let seed = 1; seed < 5; seed++) again({ seed, clients: 8, troubles, ...BODY });
});

found("resets the client of a node that died before its first packet passed (R20)", () => {
  const troubles = ["crash", "crash", "crash"] as const;
  for (let seed = 1; seed < 5; seed++) again({ seed, clients: 8, troubles, ...BODY });
});

found("resets nobody for a node of which a new forwarder knows TIME-WAIT only (R20)", () => {
  const troubles = ["forwarder-crash", "crash"] as const;
  again({ seed: 11068, clients: 19, ...BODY, troubles, faultPercentMax: 0, isPlain: true });
});

found("reads a blob of an earlier forwarder late, beside the next connection (section 10)", () => {
  const troubles = ["long-pause", "forwarder-crash", "none"] as const;
  const one = { clients: [5], bodyMax: 1, connectionsMax: 1, clockPpmMax: 0 };
  again({ seed: 77, backends: 1, ...one, troubles, faultPercentMax: 0, movePercent: 0 });
});

found("opens a connection for a SYN that comes late, and hears that it was none", () => {
  const troubles = ["drain", "forwarder-crash", "forwarder-crash"] as const;
  const few = { clients: [9, 13, 15], bodyMax: 6, connectionsMax: 2, movePercent: 0 };
  again({ seed: 10603, ...few, troubles });
});

found("does not note the numbers of a packet whose flow identifier was damaged", () => {
  const troubles = ["forwarder-pause", "long-pause", "refuse"] as const;
  again({ seed: 10036, troubles });
});

found("waits for connections whose RST was lost until keep-alive ends them", () => {
  again({ seed: 11389, troubles: ["slow-blob"] });
});

found("says no 503 before a classifier that began anew has heard of any backend", () => {
  const troubles = ["none", "classifier-crash"] as const;
  again({ seed: 100121, backends: 4, clients: [3], ...ALONE, troubles, classifiers: 1 });
});

found("knows a client that runs our own stack before its backend fails it", () => {
  const troubles = ["partition", "none"] as const;
  const one = { backends: 1, clients: 1, classifiers: 1, stackPercent: 100, isPlain: true };
  again({ seed: 100142, ...ALONE, ...one, troubles });
});

found("takes the probe that follows a RST by an old number while a move is in doubt", () => {
  const troubles = ["none", "partition", "none"] as const;
  const lossy = { backends: 4, faultPercentMax: 10, bodyMax: 300_000, movePercent: 80 };
  again({ seed: 60221, ...ALONE, ...lossy, clients: [1], troubles });
});

found("accepts nobody for a SYN that waited while the classifier stood still", () => {
  const troubles = ["classifier-stall", "none", "none"] as const;
  const one = { backends: 1, classifiers: 3, clients: [1], connectionsMax: 4 };
  again({ seed: 100075, ...ALONE, ...one, troubles });
});

found("probes a silent client by what its owner reported, of which it lacks the last bytes", () => {
  const troubles = ["forwarder-crash", "crash"] as const;
  const many = { backends: 3, clients: 20, faultPercentMax: 1, bodyMax: 300_000, clockPpmMax: 500 };
  again({ seed: 41562, connectionsMax: 4, ...many, troubles, movePercent: 0 });
});

found("resets the client of a handoff that a classifier elsewhere hears no more of", () => {
  const troubles = ["long-pause", "tunnel-cut", "pause"] as const;
  const one = { backends: 4, classifiers: 1, clients: 1, connectionsMax: 4, mannerPercent: 10 };
  const lossy = { faultPercentMax: 10, bodyMax: 5000, clockPpmMax: 100, movePercent: 20 };
  again({ seed: 528, ...one, ...lossy, troubles });
});

found(
  "lets a silent client leave whose path was cut while it was told that its node is dead",
  () => {
    const troubles = ["refuse", "client-cut", "partition"] as const;
    const many = { backends: 2, clients: 17, connectionsMax: 4, stackPercent: 100, movePercent: 0 };
    again({
      seed: 300301,
      ...many,
      bodyMax: 300_000,
      faultPercentMax: 3,
      clockPpmMax: 100,
      troubles,
    });
  },
);

found("holds a node for dead that is cut off and then stands still", () => {
  const troubles = ["drain", "partition", "pause"] as const;
  const few = { backends: 3, clients: 3, connectionsMax: 4, faultPercentMax: 0, clockPpmMax: 100 };
  again({ seed: 500484, ...few, bodyMax: 300_000, mannerPercent: 10, movePercent: 0, troubles });
});

found("lets a client leave that misses the end of its handoff because its path was cut", () => {
  const troubles = ["crash", "client-cut"] as const;
  const many = { backends: 3, classifiers: 2, clients: 14, connectionsMax: 4, isByRequest: true };
  const mixed = { faultPercentMax: 0, clockPpmMax: 0, mannerPercent: 10, stackPercent: 30 };
  again({ seed: 502871, ...many, ...mixed, bodyMax: 5000, movePercent: 80, troubles });
});

found("answers a SYN that comes late when the server has reset the connection", () => {
  const troubles = ["tunnel-cut", "long-pause", "slow-blob"] as const;
  const many = {
    backends: 2,
    clients: 20,
    connectionsMax: 4,
    mannerPercent: 60,
    isByRequest: true,
  };
  again({
    seed: 504107,
    ...many,
    bodyMax: 100,
    faultPercentMax: 10,
    clockPpmMax: 100,
    movePercent: 20,
    troubles,
  });
});

found(
  "knows the SYN-ACK of a classifier that the client did not take, on the next connection",
  () => {
    const one = { backends: 1, classifiers: 2, clients: [10], connectionsMax: 3, bodyMax: 1 };
    const lossy = { faultPercentMax: 10, faultKinds: ["loss", "mtu"] } as const;
    const troubles = ["none", "none", "classifier-crash"] as const;
    again({ seed: 43, ...ALONE, ...one, ...lossy, troubles });
  },
);

found("lets a client leave that vanished twice and meets both connections (section 10)", () => {
  const one = { backends: 2, classifiers: 3, clients: [5], bodyMax: 75_000 };
  const delayed = { faultPercentMax: 3, faultKinds: ["delay", "mtu"] } as const;
  again({ seed: 710036, ...ALONE, ...one, ...delayed, troubles: ["none", "none", "none"] });
});

found("takes no window of a classifier whose SYN-ACK the client did not take", () => {
  const one = { backends: 1, classifiers: 2, clients: [7], connectionsMax: 4, isPlain: true };
  const lossy = { faultPercentMax: 1, faultKinds: ["loss", "corrupt"], bodyMax: 5000 } as const;
  again({ seed: 712208, ...ALONE, ...one, ...lossy, troubles: ["none", "classifier-stall"] });
});

found(
  "forgets a connection that wants to move on when its classifier died with the handoff",
  () => {
    const many = { backends: 2, classifiers: 1, clients: 10, connectionsMax: 4, isByRequest: true };
    const lossy = { faultPercentMax: 3, bodyMax: 2000, clockPpmMax: 0, movePercent: 20 };
    const troubles = ["partition", "classifier-crash", "client-cut"] as const;
    again({ seed: 810063, ...many, ...lossy, troubles });
  },
);

found("resets who has a node that stands still for all of a new forwarder's T_RECOVER", () => {
  const many = { backends: 2, clients: 19, connectionsMax: 4, waitPercent: 10, isByRequest: true };
  const lossy = { faultPercentMax: 10, bodyMax: 300_000, clockPpmMax: 100, movePercent: 20 };
  again({ seed: 750131, ...many, ...lossy, troubles: ["pause", "refuse", "forwarder-crash"] });
});

found(
  "sends a SYN back that was relayed before its connection moved on, and comes after it",
  () => {
    const one = { backends: 3, classifiers: 1, clients: 7, connectionsMax: 4, bodyMax: 300_000 };
    const slow = { faultPercentMax: 10, clockPpmMax: 100, movePercent: 0, waitPercent: 60 };
    const mixed = { mannerPercent: 60, stackPercent: 30, isByRequest: true };
    again({ seed: 2000282, ...one, ...slow, ...mixed, troubles: ["drain", "long-pause"] });
  },
);

found("damages no packet twice on its way: two flipped bits can cancel in TCP's checksum", () => {
  const one = { backends: 4, classifiers: 1, clients: 15, connectionsMax: 4, bodyMax: 300_000 };
  const rough = { faultPercentMax: 10, clockPpmMax: 500, movePercent: 0, mannerPercent: 0 };
  const mixed = { waitPercent: 0, stackPercent: 30, isByRequest: true };
  again({ seed: 3000490, ...one, ...rough, ...mixed, troubles: ["tunnel-cut", "drain"] });
});

found("asks for no TSval of a connection that its client has reset, after the server's FIN", () => {
  const one = { backends: 2, classifiers: 1, clients: 9, connectionsMax: 4, bodyMax: 300_000 };
  const drifting = { faultPercentMax: 0, clockPpmMax: 500, movePercent: 20, waitPercent: 0 };
  const mixed = { mannerPercent: 0, stackPercent: 30, isByRequest: false };
  again({ seed: 5002953, ...one, ...drifting, ...mixed, troubles: ["drain", "refuse"] });
});

found("knows that a forwarder that stood still grants a target that has begun anew since", () => {
  const one = { backends: 2, classifiers: 2, clients: 15, connectionsMax: 4, bodyMax: 300_000 };
  const mixed = { mannerPercent: 0, waitPercent: 60, stackPercent: 30, isByRequest: false };
  const slow = { faultPercentMax: 1, clockPpmMax: 100, movePercent: 20 };
  const troubles = ["crash", "forwarder-pause", "classifier-pause"] as const;
  again({ seed: 3200358, ...one, ...mixed, ...slow, troubles });
});

found("lets a client ask again whose every SYN was lost, to a crash and then on the way", () => {
  const one = { backends: 4, classifiers: 3, clients: 18, connectionsMax: 4, bodyMax: 5000 };
  const lossy = { faultPercentMax: 10, clockPpmMax: 0, movePercent: 0, waitPercent: 60 };
  const mixed = { mannerPercent: 0, stackPercent: 30, isByRequest: true };
  const troubles = ["forwarder-pause", "forwarder-crash", "drain"] as const;
  again({ seed: 10001898, ...one, ...lossy, ...mixed, troubles });
});

found("asks no cause of a node that stood still and never heard how its move had ended", () => {
  const many = { backends: 6, classifiers: 0, clients: 16, connectionsMax: 4, bodyMax: 300_000 };
  const lossy = { faultPercentMax: 1, clockPpmMax: 500, movePercent: 20, waitPercent: 60 };
  const mixed = { mannerPercent: 10, stackPercent: 100, isByRequest: false };
  again({ seed: 10007655, ...many, ...lossy, ...mixed, troubles: ["long-pause", "partition"] });
});

found("knows the SYN-ACK, said again, for a late SYN of an earlier connection of the port", () => {
  const one = { backends: 4, classifiers: 2, clients: 11, connectionsMax: 4, bodyMax: 100 };
  const lossy = { faultPercentMax: 10, isEachLink: true, clockPpmMax: 100, movePercent: 20 };
  again({
    seed: 20001371,
    ...one,
    ...lossy,
    waitPercent: 60,
    troubles: ["client-cut", "partition"],
  });
});

found("refuses the late claim of a node whose client has begun again at its forwarder", () => {
  const one = { backends: 3, classifiers: 0, clients: 12, connectionsMax: 4, bodyMax: 100 };
  const lossy = { faultPercentMax: 3, isEachLink: true, clockPpmMax: 0, movePercent: 0 };
  const mixed = { waitPercent: 10, mannerPercent: 60, stackPercent: 30, isByRequest: false };
  const troubles = ["long-pause", "forwarder-crash", "forwarder-pause"] as const;
  again({ seed: 10000476, ...one, ...lossy, ...mixed, troubles });
});

found("lets a classifier answer a SYN that was relayed to it before another handed over", () => {
  const one = { backends: 2, classifiers: 3, clients: 19, connectionsMax: 4, bodyMax: 5000 };
  const lossy = { faultPercentMax: 10, isEachLink: true, clockPpmMax: 0, movePercent: 0 };
  const troubles = ["forwarder-pause", "partition"] as const;
  again({ seed: 10011396, ...one, ...lossy, waitPercent: 10, troubles });
});

found("takes no RST that answers a former connection's segment for the end of this one", () => {
  const one = { backends: 4, classifiers: 2, clients: 18, connectionsMax: 4, bodyMax: 300_000 };
  const lossy = { faultPercentMax: 10, isEachLink: true, clockPpmMax: 100, movePercent: 20 };
  const mixed = { mannerPercent: 60, isByRequest: true };
  again({ seed: 10014385, ...one, ...lossy, ...mixed, troubles: ["drain", "drain"] });
});

found("resets the client of a node that died after its ACCEPT overtook a MOVE (R20)", () => {
  const one = { forwarders: 2, backends: 2, classifiers: 3, clients: 8, connectionsMax: 4 };
  const lossy = { faultPercentMax: 3, isEachLink: true, clockPpmMax: 0, movePercent: 0 };
  const mixed = { bodyMax: 5000, mannerPercent: 10, waitPercent: 60, stackPercent: 100 };
  const troubles = ["long-pause", "forwarder-crash"] as const;
  again({ seed: 10004498, ...one, ...lossy, ...mixed, troubles });
});

found.run();
