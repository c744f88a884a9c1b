/** Entry of the test builds: the ABI and the internals that unit tests reach. Never shipped. */
export * from "./index";
export { TCB_SIZE, tcbReserve, tcbOpen, tcbClose, tcbByHandle, tcbCount, tcbAt } from "./tcp/tcb";
