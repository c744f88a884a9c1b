/*
 * The peer of bench/core/stack.ts: the same connections and the same bulk data over lwIP as Debian builds it, by its
 * raw API, in one thread. Two interfaces of one lwIP face each other; what one sends, the other receives, in order.
 * lwIP's input changes a packet, and its sender may need it again, so a packet is copied once on the way; checksums
 * are made and verified. Prints one JSON line, by processor time: connections a second so many at once and one at a
 * time, with nobody left in TIME-WAIT; with KEPT of them left there; Gbit/s of bulk data.
 *
 *   lwip ROUNDS CONNECTIONS AT_ONCE KEPT BYTES
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lwip/init.h>
#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>

#define REQUEST 64
#define WIRE_MAX 4096
#define ROUNDS_MAX 64
#define PORT 80
#define KEPT_MAX 16000 /* it has 16,384 ports of its own */
#define CHUNK 4096

struct sent { struct pbuf *packet; struct netif *to; };

static struct netif client, server;
static struct sent wire[WIRE_MAX];
static unsigned wire_first, wire_count;
static uint8_t data[CHUNK];
static long opened, done;
static uint64_t moved;

static void fail(const char *what) { fprintf(stderr, "%s\n", what); exit(1); }

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *list, int count) {
  qsort(list, (size_t)count, sizeof(double), compare);
  return list[count / 2];
}

/* The wire. */

static err_t transmit(struct netif *from, struct pbuf *packet, const ip4_addr_t *next) {
  (void)next;
  if (wire_count == WIRE_MAX) fail("the wire is full");
  struct pbuf *copy = pbuf_alloc(PBUF_RAW, packet->tot_len, PBUF_RAM);
  if (copy == NULL || pbuf_copy(copy, packet) != ERR_OK) fail("no memory for a packet");
  struct sent *slot = &wire[(wire_first + wire_count++) % WIRE_MAX];
  slot->packet = copy;
  slot->to = from == &client ? &server : &client;
  return ERR_OK;
}

static void deliver(void) {
  while (wire_count > 0) {
    struct sent *slot = &wire[wire_first];
    wire_first = (wire_first + 1) % WIRE_MAX;
    wire_count--;
    if (slot->to->input(slot->packet, slot->to) != ERR_OK) pbuf_free(slot->packet);
  }
}

static err_t start(struct netif *netif) {
  netif->name[0] = netif->name[1] = 'b';
  netif->mtu = 1500;
  netif->output = transmit;
  netif->flags = NETIF_FLAG_LINK_UP;
  return ERR_OK;
}

static void add(struct netif *netif, int number) {
  ip4_addr_t address, mask, gateway;
  IP4_ADDR(&address, 10, number, 0, 1);
  IP4_ADDR(&mask, 255, 255, 255, 255);
  ip4_addr_set_zero(&gateway);
  if (netif_add(netif, &address, &mask, &gateway, NULL, start, ip_input) == NULL) fail("netif_add");
  netif_set_up(netif);
}

/* One connection: the client asks, reads the answer and closes first; the server answers and closes when it has. */

static void failed(void *arg, err_t error) { (void)arg; (void)error; fail("a connection was reset"); }

static void write_all(struct tcp_pcb *pcb, u16_t len) {
  if (tcp_write(pcb, data, len, TCP_WRITE_FLAG_COPY) != ERR_OK) fail("tcp_write");
  tcp_output(pcb);
}

static err_t served(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg; (void)error;
  if (p == NULL) return tcp_close(pcb);
  u16_t len = p->tot_len;
  tcp_recved(pcb, len);
  pbuf_free(p);
  write_all(pcb, len);
  return ERR_OK;
}

static err_t answered(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg; (void)error;
  if (p == NULL) { /* FIN: TIME-WAIT, the connection is over. */
    done++;
    return ERR_OK;
  }
  if (p->tot_len != REQUEST) fail("a short answer");
  tcp_recved(pcb, p->tot_len);
  pbuf_free(p);
  return tcp_shutdown(pcb, 0, 1);
}

static err_t connected(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)arg; (void)error;
  write_all(pcb, REQUEST);
  return ERR_OK;
}

static err_t counted(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg; (void)error;
  if (p == NULL) fail("an end");
  moved += p->tot_len;
  tcp_recved(pcb, p->tot_len);
  pbuf_free(p);
  return ERR_OK;
}

static err_t accepted(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)error;
  tcp_recv(pcb, arg == NULL ? served : counted);
  tcp_err(pcb, failed);
  return ERR_OK;
}

static void listen_at(u16_t port, void *arg) {
  struct tcp_pcb *pcb = tcp_new();
  ip_addr_t any = IPADDR4_INIT(0);
  ip_addr_copy_from_ip4(any, *netif_ip4_addr(&server));
  if (pcb == NULL || tcp_bind(pcb, &any, port) != ERR_OK) fail("tcp_bind");
  tcp_bind_netif(pcb, &server);
  pcb = tcp_listen(pcb);
  if (pcb == NULL) fail("tcp_listen");
  tcp_arg(pcb, arg);
  tcp_accept(pcb, accepted);
}

static struct tcp_pcb *open_to(u16_t port, tcp_connected_fn then) {
  struct tcp_pcb *pcb = tcp_new();
  if (pcb == NULL) fail("tcp_new");
  ip_addr_t to = IPADDR4_INIT(0);
  ip_addr_copy_from_ip4(to, *netif_ip4_addr(&server));
  tcp_bind_netif(pcb, &client);
  tcp_err(pcb, failed);
  tcp_recv(pcb, answered);
  if (tcp_connect(pcb, &to, port, then) != ERR_OK) fail("tcp_connect");
  return pcb;
}

/* So many from beginning to end, `at_once` at a time. Without `keep` nobody waits in TIME-WAIT longer than a turn. */
static void connections(long count, long at_once, int keep) {
  long target = done + count, open = count;
  for (long turns = 0; done < target; turns++) {
    if (turns > count * 20) fail("connections do not end");
    for (; opened - done < at_once && open > 0; open--, opened++) open_to(PORT, connected);
    deliver();
    while (!keep && tcp_tw_pcbs != NULL) tcp_abort(tcp_tw_pcbs);
    sys_check_timeouts();
  }
}

static void bulk(struct tcp_pcb *from, uint64_t bytes) {
  for (uint64_t target = moved + bytes; moved < target;) {
    for (u16_t room = tcp_sndbuf(from); room > 0; room = tcp_sndbuf(from)) {
      u16_t len = room < CHUNK ? room : CHUNK;
      if (tcp_write(from, data, len, TCP_WRITE_FLAG_COPY) != ERR_OK) break;
    }
    tcp_output(from);
    deliver();
    sys_check_timeouts();
  }
}

static err_t ready(void *arg, struct tcp_pcb *pcb, err_t error) { (void)arg; (void)pcb; return error; }

/* Median over rounds. */
static double rate(int rounds, long count, long at_once) {
  double rates[ROUNDS_MAX];
  connections(count, at_once, 0);
  for (int round = 0; round < rounds; round++) {
    double before = cpu_seconds();
    connections(count, at_once, 0);
    rates[round] = (double)count / (cpu_seconds() - before);
  }
  return median(rates, rounds);
}

static double gbit(int rounds, uint64_t bytes) {
  double rates[ROUNDS_MAX];
  struct tcp_pcb *from = open_to(PORT + 1, ready);
  deliver();
  if (from->state != ESTABLISHED) fail("not established");
  bulk(from, bytes);
  for (int round = 0; round < rounds; round++) {
    double before = cpu_seconds();
    bulk(from, bytes);
    rates[round] = (double)bytes * 8 / (cpu_seconds() - before) / 1e9;
  }
  return median(rates, rounds);
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  int rounds = atoi(argv[1]);
  long count = atol(argv[2]), at_once = atol(argv[3]), kept = atol(argv[4]);
  if (rounds < 1 || rounds > ROUNDS_MAX || kept < 1 || kept > KEPT_MAX) return 2;
  for (int i = 0; i < CHUNK; i++) data[i] = (uint8_t)(i * 7);
  lwip_init();
  add(&client, 1);
  add(&server, 2);
  listen_at(PORT, NULL);
  listen_at(PORT + 1, data);
  double many = rate(rounds, count, at_once), single = rate(rounds, count, 1);
  double bits = gbit(rounds, strtoull(argv[5], NULL, 10));
  double before = cpu_seconds();
  connections(kept, at_once, 1);
  double slow = (double)kept / (cpu_seconds() - before);
  printf("{\"perSecond\":%.0f,\"oneByOne\":%.0f,\"kept\":%.0f,\"gbit\":%.2f}\n", many, single, slow, bits);
  return 0;
}
