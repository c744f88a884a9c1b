/* relay.pml - one 4-tuple whose packets reach a classifier on a node of its own, relayed packet by packet (R24).
 *
 * Checks: at most one stack may emit for the 4-tuple (I1); a packet that is sent back does not go to and fro for ever.
 * The client leaves at any moment, also amid a handoff, and uses its port again at once: whatever is relayed may be the
 * SYN of its next connection. The network: relayed packets are lost or come late and in any order; messages come
 * late and in any order, each in the end. The forwarder looks up and numbers in one step.
 *
 * Run:   spin -a relay.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -m100000
 * Broken on purpose (-DBUG_xxx):
 *   NO_ORDER        the classifier takes whatever it knows nothing of
 *   GRANT_ORDER     a verdict carries the number that the forwarder had reached when it gave the grant
 *   ABORT_SILENT    ABORTED carries no number
 *   GIVE_UP_OPENS   a copy that is given up after T_FROZEN takes with it that packets go back
 *   SAME_ORDER      what comes back is relayed again under its old number: caught by the search for cycles
 */
#ifndef MAXR
#define MAXR 5         /* relayed packets 1..MAXR-1 */
#endif
#define MAXFL 3        /* flow identifiers 1..MAXFL-1 */
/* forwarder: knows nothing; grant given; mapped to ff, verdict open; mapped to ff for good; aborted, not confirmed */
#define NONE 0
#define RESERVED 1
#define PENDING 2
#define OWNED 3
#define TOMB 4
/* classifier */
#define NIL 0
#define OPEN 1
#define FROZEN 2       /* MOVE and BLOB are sent: packets wait or go back */
#define LOST 3         /* given up after T_FROZEN: packets go back until the verdict is here */
/* verdicts */
#define DONE 1
#define ABORTED 2
#define RESUME 3
/* a relayed packet */
#define GOES 1
#define COMES 2        /* back, to be looked up again */

byte packet[MAXR], nr = 1;             /* nr: the next number */
byte fst, ff, nfl = 1, granted;
byte xst, xf, spoken;                  /* xf: the flow that the connection waits for or moves under */
byte bf;                               /* the flow of the backend's connection, 0: none */
byte verdict[MAXFL], number[MAXFL];
bit grant[MAXFL], move[MAXFL], blob[MAXFL], poison[MAXFL], acc[MAXFL], refu[MAXFL], rel[MAXFL], forget[MAXFL], forgotten[MAXFL];

#define ONE() assert(!(xst == OPEN && bf != 0))
#define FREE (fst == NONE || fst == RESERVED)
#ifdef BUG_NO_ORDER
#define LATE(n) false
#else
#define LATE(n) (n <= spoken)
#endif
#ifdef BUG_GRANT_ORDER
#define RELAYED granted
#else
#define RELAYED (nr - 1)
#endif
#ifdef BUG_ABORT_SILENT
#define ABORT_RELAYED 0
#else
#define ABORT_RELAYED RELAYED
#endif

inline RELAY() { packet[nr] = GOES; nr++ }
inline SAY(f, what, relayed) { verdict[f] = what; number[f] = relayed }
/* What comes back is looked up again: it is encapsulated, dropped on a tombstone, or relayed anew. */
#ifdef BUG_SAME_ORDER
inline AGAIN(n) { if :: FREE -> packet[n] = GOES :: else -> packet[n] = 0 fi }
#else
inline AGAIN(n) { packet[n] = 0; if :: FREE && nr < MAXR -> RELAY() :: else -> skip fi }
#endif
#ifdef BUG_GIVE_UP_OPENS
inline GIVE_UP() { xst = NIL; xf = 0 }
#else
inline GIVE_UP() { xst = LOST }
#endif

#define PACKET(n) \
 :: d_step { packet[n] == GOES -> packet[n] = 0 }                                                  /* lost */ \
 :: d_step { packet[n] == GOES && LATE(n) -> packet[n] = COMES } \
 :: d_step { packet[n] == GOES && !LATE(n) && xst == NIL -> packet[n] = 0; xst = OPEN; ONE() } \
 :: d_step { packet[n] == COMES -> AGAIN(n) }

#define FLOW(f) \
 :: d_step { grant[f] && xst == OPEN && xf == f -> grant[f] = 0; xst = FROZEN; move[f] = 1; blob[f] = 1 } \
 :: d_step { grant[f] && xf != f -> grant[f] = 0; if :: ff == f -> fst = NONE; ff = 0 :: else -> skip fi } /* ABANDON */ \
 :: d_step { move[f] -> move[f] = 0; if :: ff == f && fst == RESERVED -> fst = PENDING :: else -> skip fi } \
 :: d_step { blob[f] -> blob[f] = 0; \
      if :: poison[f] || bf != 0 -> poison[f] = 1; refu[f] = 1 :: else -> bf = f; acc[f] = 1 fi; ONE() } \
 :: d_step { blob[f] && !poison[f] -> blob[f] = 0; poison[f] = 1; refu[f] = 1 }                       /* full */ \
 :: d_step { acc[f] -> acc[f] = 0; \
      if :: ff == f && (fst == RESERVED || fst == PENDING) -> fst = OWNED; SAY(f, DONE, RELAYED) :: else -> skip fi } \
 :: d_step { refu[f] -> refu[f] = 0; \
      if :: ff == f && (fst == RESERVED || fst == PENDING) -> fst = NONE; ff = 0; SAY(f, RESUME, RELAYED) \
         :: ff == f && fst == TOMB -> fst = NONE; ff = 0 :: else -> skip fi } \
 :: d_step { ff == f && fst == PENDING -> fst = TOMB; forget[f] = 1; SAY(f, ABORTED, ABORT_RELAYED) } \
 :: d_step { forget[f] -> forget[f] = 0; forgotten[f] = 1; poison[f] = 1; if :: bf == f -> bf = 0 :: else -> skip fi } \
 :: d_step { forgotten[f] -> forgotten[f] = 0; if :: ff == f && fst == TOMB -> fst = NONE; ff = 0 :: else -> skip fi } \
 :: d_step { rel[f] -> rel[f] = 0; \
      if :: ff == f && (fst == RESERVED || fst == PENDING) -> SAY(f, DONE, RELAYED); fst = NONE; ff = 0 \
         :: ff == f && fst == OWNED -> fst = NONE; ff = 0 :: else -> skip fi } \
 :: d_step { verdict[f] != 0 -> \
      if :: number[f] > spoken -> spoken = number[f] :: else -> skip fi; \
      if :: xf == f && verdict[f] == RESUME && xst == FROZEN -> xst = OPEN; xf = 0 \
         :: xf == f && !(verdict[f] == RESUME && xst == FROZEN) -> xst = NIL; xf = 0 :: else -> skip fi; \
      verdict[f] = 0; number[f] = 0; ONE() }

active proctype system() {
  do
  /* the forwarder relays what the client sends where it knows of no owner */
  :: d_step { FREE && nr < MAXR -> RELAY() }
  /* classifier: asks for a grant; its connection ends before it moves, by the client's RST or its own; T_FROZEN */
  :: d_step { xst == OPEN && xf == 0 && fst == NONE && nfl < MAXFL ->
       ff = nfl; xf = nfl; nfl++; fst = RESERVED; grant[ff] = 1; granted = nr - 1 }
  :: d_step { xst == OPEN -> xst = NIL; xf = 0 }
  :: d_step { xst == FROZEN -> GIVE_UP() }
  /* backend: its connection ends */
  :: d_step { bf != 0 -> rel[bf] = 1; poison[bf] = 1; bf = 0 }
  FLOW(1) FLOW(2)
  PACKET(1) PACKET(2) PACKET(3) PACKET(4)
  :: else -> break
  od
}
