/**
 * The typed façade of the core: one object, one instance, one memory. Knows the ABI and nothing of
 * Node or Linux, so that it runs in any JavaScript runtime. Every u32 becomes unsigned in this room.
 */
import { BatonError } from "../errors.ts";
import { CoreBatch } from "./batch.ts";
import { bind, type Abi } from "./abi.ts";
import { constant, enumValue, instantiateCore, type CoreModule } from "./module.ts";
import { writeParameters, type CoreParameters } from "./parameters.ts";
import { Rings } from "./rings.ts";
import { Slab } from "./slab.ts";
import { Structures } from "./structures.ts";
import type { ClientNumbers, ConnectionInfo, ConnectionNumbers } from "./structures.ts";
import type { ConnectionOwner, CoreEvent, CoreMapping, MapInfo } from "./structures.ts";
import { Tables } from "./tables.ts";
import type { Tuple } from "./tuple.ts";
import { familyOf, NO_ADDRESS, NO_BYTES, NO_SPAN, RECORD_STATES, SCAN_STEPS } from "./words.ts";
import type { FlowRecord, MapAction, Mode, RecordState, SocketOption, Span } from "./words.ts";

export type { CoreParameters } from "./parameters.ts";
export type { FlowRecord, MapAction, Mode, RecordState, SocketOption, Span } from "./words.ts";
export type * from "./structures.ts";

export class Core {
  readonly rx: CoreBatch;
  readonly tx: CoreBatch;
  /** What the xdp link moves its packets by. */
  readonly rings: Rings;
  readonly tables: Tables;
  /** The whole linear memory; never detaches. */
  readonly memory: Uint8Array;
  /** The values of assembly/errors.ts by name. */
  readonly err: Readonly<Record<string, number>>;
  readonly verdict: Readonly<Record<string, number>>;
  /** Longest application state that a blob carries. */
  readonly applicationMax: number;
  /** Values of MapInfo.action. */
  readonly mapActions: Readonly<Record<MapAction, number>>;
  readonly #module: CoreModule;
  readonly #structures: Structures;
  readonly #errNames: ReadonlyMap<number, string>;
  readonly #abi: Abi;
  /** Room for dozens of blobs; a large one has an array of its own. */
  readonly #blobs = new Slab(65_536);

  /**
   * @param wasm  the bytes of core.wasm
   * @throws BatonError ERR_BATON_CORE (wrong file, not enough memory, parameters out of range)
   */
  constructor(wasm: Uint8Array, parameters: CoreParameters, nowUs: number) {
    const module = instantiateCore(wasm);
    this.#module = module;
    this.#abi = bind(module);
    this.err = module.enums["Err"] ?? {};
    this.verdict = module.enums["Verdict"] ?? {};
    const action = (name: string): number => enumValue(module, "MapAction", name);
    this.mapActions = { forward: action("FORWARD"), local: action("LOCAL"), tomb: action("TOMB") };
    this.#errNames = new Map(Object.entries(this.err).map(([name, value]) => [value, name]));
    writeParameters(module, parameters);
    this.#check("init", this.#abi.init(nowUs));
    this.memory = new Uint8Array(module.memory.buffer);
    this.#structures = new Structures(module);
    this.applicationMax = constant(module, "APPLICATION_LEN_MAX");
    this.rx = new CoreBatch(module, this.#abi.rxBatchPtr() >>> 0, parameters.slotBytes);
    this.tx = new CoreBatch(module, this.#abi.txBatchPtr() >>> 0, parameters.slotBytes);
    this.rings = new Rings(module, this.rx);
    this.tables = new Tables(module);
  }

  /** "FULL" for -4. */
  errorName(code: number): string {
    return this.#errNames.get(code) ?? String(code);
  }

  /** This node's own tunnel address. */
  setTunnel(address: Uint8Array): void {
    this.#check("tunnelSet", this.#abi.tunnelSet(familyOf(address), this.#place(address)));
  }

  /** The tunnel address of peer `index`, 1 .. PEERS_MAX - 1. */
  setPeer(index: number, address: Uint8Array): void {
    this.#check("peerSet", this.#abi.peerSet(index, familyOf(address), this.#place(address)));
  }

  /** A service address; `mss` 0: by the MTU; `ecn`: agree to RFC 3168. Returns its index. */
  addService(address: Uint8Array, port: number, mss: number, listen: boolean, ecn = false): number {
    const flag = (name: string): number => enumValue(this.#module, "ServiceFlag", name);
    const flags = (listen ? flag("LISTEN") : 0) | (ecn ? flag("ECN") : 0);
    const at = this.#place(address);
    return this.#check("serviceAdd", this.#abi.serviceAdd(familyOf(address), at, port, mss, flags));
  }

  /** What `mss` of addService says, for connections from now on. */
  setServiceMss(service: number, mss: number): void {
    this.#check("serviceMss", this.#abi.serviceMss(service, mss));
  }

  setMode(mode: Mode): void {
    const name = mode.toUpperCase().replace("-", "_");
    this.#check("modeSet", this.#abi.modeSet(enumValue(this.#module, "Mode", name)));
  }

  /** Decides about the first `count` packets of the rx batch; returns how many need the host. */
  handlePackets(count: number, nowUs: number): number {
    return this.#check("handlePackets", this.#abi.handlePackets(count, nowUs));
  }

  pollTransmit(nowUs: number): number {
    return this.#check("pollTransmit", this.#abi.pollTransmit(nowUs));
  }

  pollHandback(nowUs: number): number {
    return this.#check("pollHandback", this.#abi.pollHandback(nowUs));
  }

  nextTimeoutUs(): number {
    return this.#abi.nextTimeoutUs();
  }

  handleTimeout(nowUs: number): void {
    this.#check("handleTimeout", this.#abi.handleTimeout(nowUs));
  }

  /** The next event, or undefined. */
  pollEvent(): CoreEvent | undefined {
    while (this.#abi.pollEvent() === 1) {
      const event = this.#structures.event();
      if (event) return event; // One that this façade does not know is passed over.
    }
    return undefined;
  }

  /** Active open; the tuple's local end is this side, its port 0 takes an ephemeral one. "connected" or
   *  "closed" follows. @throws BatonError EXISTS, FULL, ARGUMENT */
  connect(tuple: Tuple, nowUs: number): number {
    this.#structures.writeTuple(tuple);
    return this.#check("connect", this.#abi.connect(nowUs));
  }

  /** Received bytes from `offset` unread ones on, as far as they lie together; len 0: no more. */
  readable(handle: number, offset: number): Span {
    const len = this.#abi.readable(handle, offset);
    return len > 0 ? this.#structures.span() : NO_SPAN;
  }

  /** All unread bytes. */
  readableLength(handle: number): number {
    return Math.max(0, this.#abi.readableLength(handle));
  }

  /** Bytes written and not acknowledged. */
  unacknowledgedLength(handle: number): number {
    return Math.max(0, this.#abi.unacknowledgedLength(handle));
  }

  consume(handle: number, count: number, nowUs: number): void {
    this.#check("consume", this.#abi.consume(handle, count, nowUs));
  }

  /** Free send buffer to write to; len 0: full, or nothing may be written any more. */
  reserve(handle: number): Span {
    const len = this.#abi.reserve(handle);
    return len > 0 ? this.#structures.span() : NO_SPAN;
  }

  commit(handle: number, count: number, nowUs: number): void {
    this.#check("commit", this.#abi.commit(handle, count, nowUs));
  }

  /** FIN after everything written; a connection that is over already stays so. */
  shutdown(handle: number, nowUs: number): void {
    this.#abi.shutdown(handle, nowUs);
  }

  abort(handle: number, nowUs: number): void {
    this.#abi.abort(handle, nowUs);
  }

  release(handle: number): void {
    this.#abi.release(handle);
  }

  /** Whether the handle still names a connection; one in TIME-WAIT has none any more. */
  isConnection(handle: number): boolean {
    return this.#abi.connectionState(handle) >= 0;
  }

  /** @throws BatonError for a handle that names no connection. */
  connectionInfo(handle: number): ConnectionInfo {
    this.#check("connectionInfo", this.#abi.connectionInfo(handle));
    return this.#structures.connectionInfo();
  }

  /** Parts of it, for those who ask of every connection. @throws as `connectionInfo` does */
  connectionTuple(handle: number): Tuple {
    this.#check("connectionInfo", this.#abi.connectionInfo(handle));
    return this.#structures.infoTuple();
  }

  connectionNumbers(handle: number): ConnectionNumbers {
    this.#check("connectionInfo", this.#abi.connectionInfo(handle));
    return this.#structures.infoNumbers();
  }

  connectionOwner(handle: number): ConnectionOwner {
    this.#check("connectionInfo", this.#abi.connectionInfo(handle));
    return this.#structures.infoOwner();
  }

  /** One setting; nothing happens when the handle names no connection any more. */
  setOption(handle: number, option: SocketOption, value: number): void {
    this.#abi.setOption(handle, enumValue(this.#module, "Option", option), value);
  }

  /** The peer that a connection without a flow is of, for `released` too; as setOption for one gone. */
  setOwner(handle: number, peer: number): void {
    this.#abi.connectionOwner(handle, peer, 0);
  }

  freeze(handle: number): boolean {
    return this.#abi.freeze(handle) >= 0;
  }

  thaw(handle: number, nowUs: number): void {
    this.#check("thaw", this.#abi.thaw(handle, nowUs));
  }

  discard(handle: number): void {
    this.#check("discard", this.#abi.discard(handle));
  }

  /** The blob of a frozen connection, as a copy; an error name when it cannot be compiled. `application`: at
   *  most `applicationMax` bytes that travel along for the application. */
  compile(
    handle: number,
    mapping: CoreMapping,
    nowUs: number,
    application: Uint8Array = NO_BYTES,
  ): Uint8Array | string {
    if (application.length > this.applicationMax) return "ARGUMENT";
    this.#structures.writeMapping(mapping);
    this.#structures.writeApplication(application);
    const length = this.#abi.compile(handle, nowUs);
    if (length < 0) return this.errorName(length);
    const ptr = this.#abi.blobPtr() >>> 0;
    return this.#blobs.copy(this.memory, ptr, ptr + length);
  }

  /**
   * Installs the connection of a blob: everything or nothing. The blob must hold `mapping` and describe
   * `tuple`; from then on packets of (peer, mapping.flow) are its own. An error's name when it is refused.
   */
  infuse(
    blob: Uint8Array,
    mapping: CoreMapping,
    tuple: Tuple,
    peer: number,
    nowUs: number,
  ): number | string {
    if (blob.length > this.#abi.blobMax() >>> 0) return "FULL";
    this.memory.set(blob, this.#abi.blobPtr() >>> 0);
    const verified = this.#abi.unbundle(blob.length);
    if (verified < 0) return this.errorName(verified);
    const isSame = this.#structures.holdsMapping(mapping) && this.#structures.holdsTuple(tuple);
    if (!isSame) return "BLOB_INVARIANT";
    const handle = this.#abi.infuse(blob.length, peer, nowUs);
    return handle > 0 ? handle : this.errorName(handle);
  }

  /** The application's bytes of the blob that was infused last, as a copy. */
  application(): Uint8Array {
    return this.#structures.application();
  }

  /** Its own stack has a connection with this 4-tuple, half-open ones and TIME-WAIT included. */
  knows(tuple: Tuple): boolean {
    this.#structures.writeTuple(tuple);
    return this.#check("connectionKnown", this.#abi.connectionKnown()) === 1;
  }

  /** False: the table is full, or the tuple's local end is none of this node's services. */
  mapSet(tuple: Tuple, action: MapAction, peer: number, flow: number): boolean {
    this.#structures.writeTuple(tuple);
    const result = this.#abi.mapSet(this.mapActions[action], peer, flow);
    if (result === this.err["FULL"] || result === this.err["NOT_FOUND"]) return false;
    return this.#check("mapSet", result) >= 0;
  }

  mapGet(tuple: Tuple): MapInfo | undefined {
    this.#structures.writeTuple(tuple);
    return this.#abi.mapGet() >= 0 ? this.#structures.mapInfo() : undefined;
  }

  mapDelete(tuple: Tuple): void {
    this.#structures.writeTuple(tuple);
    this.#abi.mapDelete();
  }

  /** What the entry knows of the client's numbers, for one that has seen no packet yet. */
  mapNote(tuple: Tuple, numbers: ClientNumbers): void {
    this.#structures.writeTuple(tuple);
    this.#structures.writeNumbers(numbers);
    this.#check("mapNote", this.#abi.mapNote());
  }

  /** Queues the RST and, with `probe`, the probe of PROTOCOL R20. */
  mapReset(tuple: Tuple, nowUs: number, probe: boolean): void {
    this.#structures.writeTuple(tuple);
    this.#abi.mapReset(nowUs, probe ? 1 : 0);
  }

  /** Turns every mapping to a peer into a tombstone that keeps peer and flow; returns how many. */
  mapBury(peer: number): number {
    return this.#check("mapBury", this.#abi.mapBury(peer));
  }

  /** Looks at `limit` places from `cursor` on (0 to begin) and calls back for each entry found, which must
   *  not be deleted meanwhile; false ends the walk behind it. Returns the next cursor, 0 at the end. */
  mapScan(cursor: number, limit: number, visit: (tuple: Tuple, info: MapInfo) => unknown): number {
    const end = cursor + limit;
    do {
      cursor = this.#abi.mapScan(cursor, Math.min(limit, end - cursor)) >>> 0;
      const info = this.#structures.mapInfo();
      if (info.action !== 0 && visit(this.#structures.tuple(), info) === false) return cursor;
    } while (cursor !== 0 && cursor < end);
    return cursor;
  }

  /** Calls back for every entry of the table. */
  mapEach(visit: (tuple: Tuple, info: MapInfo) => void): void {
    const go = (tuple: Tuple, info: MapInfo): void => visit(tuple, info);
    for (let at = this.mapScan(0, SCAN_STEPS, go); at !== 0;) at = this.mapScan(at, SCAN_STEPS, go);
  }

  recordSet(peer: number, flow: number, state: RecordState, nowUs: number): void {
    this.#check("recordSet", this.#abi.recordSet(peer, flow, RECORD_STATES.indexOf(state), nowUs));
  }

  recordGet(peer: number, flow: number): RecordState {
    return RECORD_STATES[this.#check("recordGet", this.#abi.recordGet(peer, flow))] ?? "none";
  }

  /** The connection that a flow names, 0 when there is none. */
  recordHandle(peer: number, flow: number): number {
    return this.#check("recordHandle", this.#abi.recordHandle(peer, flow));
  }

  /** The 4-tuple of a flow, undefined when the record does not know it. */
  recordTuple(peer: number, flow: number): Tuple | undefined {
    const found = this.#check("recordTuple", this.#abi.recordTuple(peer, flow));
    return found === 1 ? this.#structures.tuple() : undefined;
  }

  /** Calls back for every record that is not "none"; nothing may change meanwhile. */
  recordEach(visit: (record: FlowRecord) => void): void {
    let cursor = 0;
    do {
      cursor = this.#check("recordScan", this.#abi.recordScan(cursor, SCAN_STEPS));
      const { ptr: peer, len: flow } = this.#structures.span();
      if (peer === 0) continue;
      const tuple = this.#structures.maybeTuple();
      visit({ peer, flow, state: this.recordGet(peer, flow), tuple });
    } while (cursor !== 0);
  }

  /** The forwarder has acknowledged MOVE: segments held for the frozen flow go back to it. */
  recordPass(peer: number, flow: number): void {
    this.#check("recordPass", this.#abi.recordPass(peer, flow));
  }

  /** De-encapsulates rx packet `index`, which a node gave back that never knew its flow. */
  unwrapReturned(index: number, tuple: Tuple): boolean {
    this.#structures.writeTuple(tuple);
    return this.#abi.rxUnwrap(index) >= 0;
  }

  /** Rx packet `index` is a SYN given back from TIME-WAIT: its answer must stay above these (RFC 6191). */
  setSynHint(index: number, sndNxt: number, tsVal: number): void {
    this.rx.setHint(index, enumValue(this.#module, "PacketFlag", "SYN_HINT"), sndNxt, tsVal);
  }

  /** Every counter that is not zero, by name. */
  counters(): Record<string, number> {
    return this.#structures.counters();
  }

  #place(address: Uint8Array): number {
    const { addressPtr } = this.#structures;
    this.memory.set(NO_ADDRESS, addressPtr);
    this.memory.set(address, addressPtr);
    return addressPtr;
  }

  #check(name: string, result: number): number {
    if (result >= 0) return result;
    throw new BatonError("ERR_BATON_CORE", `core: ${name}: ${this.errorName(result)}`);
  }
}
