/**
 * Mappings whose client has been silent for T_IDLE: their owners are asked whether they still have the flow
 * (PROTOCOL section 5, QUERY), classifiers too about a connection without a flow. A RELEASE that never came
 * would keep its mapping for ever; an idle connection must keep its own. Knows when to ask about what; what an
 * answer changes stands in endings.ts.
 *
 * One walk over the table begins every T_IDLE and goes in bounded steps, so a lost mapping is found within
 * two T_IDLE, later only when so many are idle that the bounds stretch the walk.
 */
import { tupleKey } from "../core/tuple.ts";
import type { NodeId } from "../transport/transport.ts";
import type { Book } from "./book.ts";
import type { QueryItem } from "./messages.ts";
import { ITEMS_MAX } from "./messages.ts";

/** Places of the mapping table that one step looks at, and flows that it asks about. */
const STEP_PLACES = 131_072;
const STEP_FLOWS = 32 * ITEMS_MAX;
const STEP_PAUSE_US = 50_000;
/** Questions on their way: a node that does not take them must not fill the transport's queue. */
const QUESTIONS_MAX = 128;

export class Sweep {
  private cursor = 0;
  private walkUs: number;
  private nextUs: number;
  private questions = 0;

  constructor(
    private readonly book: Book,
    private readonly isRecovering: () => boolean,
  ) {
    this.walkUs = book.world.clock.nowUs() + book.timers.idleUs;
    this.nextUs = this.walkUs;
  }

  nextTimeoutUs(): number {
    return this.nextUs;
  }

  handleTimeout(): void {
    const nowUs = this.book.world.clock.nowUs();
    if (nowUs < this.nextUs) return;
    this.nextUs = nowUs + STEP_PAUSE_US;
    if (this.isRecovering() || this.questions >= QUESTIONS_MAX) return;
    this.step(nowUs);
    if (this.cursor !== 0) return;
    this.walkUs = Math.max(nowUs, this.walkUs) + this.book.timers.idleUs;
    this.nextUs = this.walkUs;
  }

  private step(nowUs: number): void {
    const { world, timers, entries } = this.book;
    const idle = new Map<NodeId, QueryItem[]>();
    let count = 0;
    this.cursor = world.table.scan(this.cursor, STEP_PLACES, (tuple, mapping, seenUs) => {
      const isIdle = mapping.action !== "tomb" && nowUs - seenUs >= timers.idleUs;
      if (!isIdle || entries.has(tupleKey(tuple))) return true;
      const items = idle.get(mapping.node) ?? [];
      idle.set(mapping.node, items);
      items.push({ flow: mapping.flow, tuple });
      return ++count < STEP_FLOWS;
    });
    for (const [node, items] of idle) this.ask(node, items);
  }

  private ask(node: NodeId, items: readonly QueryItem[]): void {
    for (let at = 0; at < items.length; at += ITEMS_MAX) {
      const some = items.slice(at, at + ITEMS_MAX);
      this.questions++;
      for (let asked = 0; asked < some.length; asked++) this.book.count("idle-asked");
      this.book.world.send(node, { type: "query", items: some }, () => this.questions--);
    }
  }
}
