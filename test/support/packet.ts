/** The packet builder and parser that tests and the simulator share. */
export * from "../../host/sim/packet.ts";
