/**
 * Deliberate breaks of the product, in places that matter, and what of the simulator objects to each. A break is a
 * replacement in a source file: the product has no hooks for them.
 */
export interface Mutation {
  /** What the broken product does. */
  readonly name: string;
  readonly file: string;
  /** Each first text occurs exactly once in the file. */
  readonly replace: readonly (readonly [from: string, to: string])[];
  /** Flags of `baton sim` that make it likely to show; seeds are counted from --seed on. */
  readonly flags: string;
  /** The first problem of the run that fails. */
  readonly expect: RegExp;
}

/** What a seed draws besides makes these so rare that sixty seeds need not meet them. */
const AS_EVER = "--no-each-link --classifiers 0 --own-stack 0 --manners 0 --no-by-request";

export const MUTATIONS: readonly Mutation[] = [
  {
    name: "the source runs on while its blob is on the way",
    file: "host/node/migrator.ts",
    replace: [
      [
        "    outgoing.blobBytes = blob.length;\n",
        "    outgoing.blobBytes = blob.length;\n    this.world.stack.thaw(outgoing.connection);\n",
      ],
    ],
    flags: "--faults 10 --fault-kinds delay,loss --troubles partition,partition --clients 20",
    expect: /I1: .* has taken over from it|I6: .*thaw/,
  },
  {
    name: "a flow identifier is used again at once",
    file: "host/node/flowid.ts",
    replace: [
      [
        "    this.inUse--;\n",
        "    this.inUse--;\n    this.used[block] = this.read(this.used, block) & ~mask;\n    this.cursor = counter;\n",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 12",
    expect: /I4: .* was infused \d+ ms ago already|I[123]: /,
  },
  {
    name: "packets that waited for their connection are forgotten",
    file: "assembly/encap/flows.ts",
    replace: [
      ["  while (holdPop(queue, REPLAY)) {", "  while (false && holdPop(queue, REPLAY)) {"],
    ],
    flags: "--faults 0 --troubles slow-blob,slow-blob --clients 12",
    expect: /I5: .* held packets are gone/,
  },
  {
    name: "early packets are dropped instead of kept",
    file: "assembly/encap/flows.ts",
    replace: [
      [
        "    descriptor.verdict = <u16>holdEarly(descriptorPtr, entry, peer, flow, nowUs);",
        "    descriptor.verdict = <u16>Verdict.DROPPED;",
      ],
    ],
    flags: "--faults 0 --troubles slow-blob,slow-blob --clients 12",
    expect: /I5: .* packets unaccounted for/,
  },
  {
    name: "TSval steps back at infusion",
    file: "assembly/blob/infuse.ts",
    replace: [
      [
        "tcb.tsOffset = tsVal - <u32>(now / 1000);",
        "tcb.tsOffset = tsVal - <u32>(now / 1000) - 50;",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I2: .*: TSval \d+ after/,
  },
  {
    name: "SND.NXT is one too far after infusion",
    file: "assembly/blob/infuse.ts",
    replace: [
      [
        "tcb.sndNxt = load<u32>(from, BlobOff.SND_NXT);",
        "tcb.sndNxt = load<u32>(from, BlobOff.SND_NXT) + 1;",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I[1236]: /,
  },
  {
    name: "the receive window shrinks at infusion",
    file: "assembly/blob/infuse.ts",
    replace: [
      [
        "tcb.rcvBuf = load<u32>(from, BlobOff.RCV_BUF);",
        "tcb.rcvBuf = load<u32>(from, BlobOff.RCV_BUF) >> 3;",
      ],
      [
        "tcb.rcvNxt + load<u32>(from, BlobOff.RCV_WND);",
        "tcb.rcvNxt + (load<u32>(from, BlobOff.RCV_WND) >> 1);",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I2: .*window edge steps back/,
  },
  {
    name: "the window scale is lost at infusion",
    file: "assembly/blob/infuse.ts",
    replace: [["tcb.rcvWndShift = load<u8>(from, BlobOff.RCV_WND_SHIFT);", "tcb.rcvWndShift = 0;"]],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I[23]: /,
  },
  {
    name: "a byte that nobody has read is lost in the blob",
    file: "assembly/blob/infuse.ts",
    replace: [
      ["tcb.rcvRead = tcb.rcvNxt - fin - unread;", "tcb.rcvRead = tcb.rcvNxt - fin - unread + 1;"],
    ],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I[236]: /,
  },
  {
    name: "corrupted segments are believed",
    file: "assembly/tcp/segment.ts",
    replace: [
      [
        "if (!tcpChecksumOk(ipPtr, tcpPtr, tcpLen)) {",
        "if (false && !tcpChecksumOk(ipPtr, tcpPtr, tcpLen)) {",
      ],
    ],
    flags: "--faults 10 --fault-kinds corrupt --troubles none --clients 12 --body 300000",
    expect: /I[236]: /,
  },
  {
    name: "the verdict comes by a timer",
    file: "host/node/judge.ts",
    replace: [
      [
        'else if (entry.state === "pending") this.resolve(entry);',
        'else if (entry.state === "pending") {\n        this.close(entry);\n        this.book.mapTo(entry.tuple, entry.own);\n        this.book.judge("resume", entry.own, entry.next, entry.tuple);\n      }',
      ],
    ],
    flags: "--faults 0 --troubles partition,partition,partition --clients 20",
    expect: /I[12]: /,
  },
  {
    name: "after RESUME the mapping stays with the target",
    file: "host/node/judge.ts",
    replace: [
      [
        "      this.book.mapTo(entry.tuple, entry.own); // First the way back, then the verdict.",
        "      this.book.mapTo(entry.tuple, entry.next);",
      ],
    ],
    flags: "--faults 0 --troubles refuse,refuse --clients 20",
    expect: /I[35]: |timed out/,
  },
  {
    name: "TIME-WAIT is left out",
    file: "assembly/tcp/arrive.ts",
    replace: [
      [
        "  if (owed) timeWaitAck(index, now);\n",
        "  if (owed) timeWaitAck(index, now);\n  timeWaitEnd(index);\n",
      ],
      [
        "import { timeWaitAt, timeWaitFind, timeWaitOpen }",
        "import { timeWaitAt, timeWaitEnd, timeWaitFind, timeWaitOpen }",
      ],
    ],
    flags: "--faults 10 --fault-kinds loss --troubles none --clients 20 --body 100",
    expect: /I3: .*TIME-WAIT|I2: /,
  },
  {
    name: "a node that was declared dead speaks on",
    file: "host/node/migrator.ts",
    replace: [["if (message.bootEpoch === this.options.epoch) this.world.restart();", ""]],
    flags: "--faults 0 --troubles long-pause --clients 20 --body 300000",
    expect: /I1: .*declared dead/,
  },
  {
    name: "a recovering forwarder answers what it does not know",
    file: "host/node/recovery.ts",
    replace: [["    book.world.table.setRecovering(true);\n", ""]],
    flags:
      "--faults 10 --fault-kinds delay --troubles forwarder-crash,partition,pause --clients 20",
    expect: /I[123]: /,
  },
  {
    name: "a SYN on a tombstone opens a connection",
    file: "assembly/encap/ingress.ts",
    replace: [
      [
        "  if ((flags & TcpFlag.SYN) != 0) return count(Counter.TOMB_SYN);",
        "  if ((flags & TcpFlag.SYN) != 0) {\n    changetype<Descriptor>(descriptorPtr).verdict = <u16>stackInput(descriptorPtr, headerLen, nowUs);\n    return;\n  }",
      ],
    ],
    flags: "--faults 0 --troubles long-pause,crash --clients 20",
    expect: /I[123]: /,
  },
  {
    name: "a chunk of a closed connection's buffer is not given back",
    file: "assembly/tcp/chunk.ts",
    replace: [
      [
        "export function chunkGive(index: u32): void {",
        "export function chunkGive(index: u32): void {\n  if (index % 16 == 3) return;",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 6",
    expect: /I5: .*chunks are in use/,
  },
  {
    name: "a record of TIME-WAIT stays for ever",
    file: "assembly/tcp/timewait.ts",
    replace: [
      [
        "timeWaitAt(waitHead).expireUs <= now) timeWaitEnd(waitHead);",
        "false) timeWaitEnd(waitHead);",
      ],
    ],
    flags: "--faults 0 --troubles none --clients 12",
    expect: /I[56]: /,
  },
  {
    name: "NONE of an early packet releases a flow that was accepted since",
    file: "host/node/endings.ts",
    replace: [
      [
        "this.book.ask(node, flow, known);",
        'this.released({ flow, cause: "closed", tuple: known });',
      ],
    ],
    flags: "--faults 10 --troubles late-blob,late-blob,late-blob --clients 20",
    expect: /I[23]: /,
  },
  {
    name: "the forwarder does not know the numbers of a client that it never heard",
    file: "host/node/judge.ts",
    replace: [["    this.world.table.note(entry.tuple, message.reset);\n", ""]],
    flags: `--faults 0 --troubles crash,crash,crash --clients 20 --waits 60 ${AS_EVER}`,
    expect: /I3: .*(hangs|timed out)/,
  },
  {
    name: "the old connection's end is kept secret when its ports are used again",
    file: "assembly/tcp/linger.ts",
    replace: [
      ["  timeWaitEnd(index); // RELEASED", "  timeWaitForget(index); // RELEASED"],
      ["timeWaitEnd, timeWaitRestart }", "timeWaitEnd, timeWaitForget, timeWaitRestart }"],
    ],
    flags: `--faults 0 --troubles refuse,refuse,refuse --clients 20 ${AS_EVER}`,
    expect: /I5: .*(mappings|ends that the classifier has to report)/,
  },
  {
    name: "keep-alive rests in FIN-WAIT-2",
    file: "assembly/tcp/expire.ts",
    replace: [
      [
        "seqLt(tcb.sndNxt, tcb.sndEnd)) {\n    timerSet",
        "tcb.sndNxt != tcb.sndEnd) {\n    timerSet",
      ],
    ],
    flags: `--faults 10 --troubles none --clients 60 --body 100 ${AS_EVER}`,
    expect: /I5: /,
  },
  {
    name: "a new forwarder does not note what owners say of silent clients",
    file: "host/node/recovery.ts",
    replace: [["    this.book.world.table.note(tuple, reset);\n", ""]],
    flags: `--faults 0 --troubles forwarder-crash,crash,crash --clients 20 ${AS_EVER}`,
    expect: /I3: /,
  },
  {
    name: "a packet that a verdict has overtaken is taken for news",
    file: "host/node/spoken.ts",
    replace: [["return order <= (", "return order < 0 * ("]],
    flags:
      "--seed 2000282 --backends 3 --classifiers 1 --clients 7 --faults 10 --body 300000 --connections 4 " +
      "--troubles drain,long-pause --moves 0 --manners 60 --waits 60 --own-stack 30 --by-request --no-each-link",
    expect: /I2: .*acknowledges \d+, the client sent up to/,
  },
  {
    name: "clients of whom no number is known are reset",
    file: "host/node/table.ts",
    replace: [["if (!seen || isUnheard(seen)) return;\n    this", "if (!seen) return;\n    this"]],
    flags: "--faults 0 --troubles forwarder-crash,crash --clients 20 --plain",
    expect: /I[12]: /,
  },
];
