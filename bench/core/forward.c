/*
 * The forwarder's packet path in plain C, with the checks of assembly/encap/ingress.ts and in its memory layout:
 * what `encapsulate.vsC` compares with; bench/core/encap.ts says why that is fair. Reads a packet of LENGTH bytes
 * from its standard input, without what differs from one to the next (bench/core/traffic.ts), then orders: a byte, 1 for
 * one by one and 0 for batches of 64, and the seed of a round of 65,536 packets, 4 bytes. Answers each with one JSON
 * line: nanoseconds a packet and a digest of what was forwarded.
 *
 *   forward FLOWS HUGE < template, orders
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PACKETS 65536
#define LENGTH 52
#define BATCH 64
#define STRIDE (2048 + 64 + 64)

typedef struct {
  uint64_t key;
  uint32_t flow;
  uint16_t owner;
  uint16_t seen;
  uint32_t ack, seq, tsval, tsecr;
} entry_t;

typedef struct {
  uint8_t *ptr;
  uint32_t len;
  uint32_t verdict, peer, flow;
} descriptor_t;

typedef struct {
  uint32_t kind, header, service;
  entry_t *home;
} work_t;

static entry_t *table, *table_end;
static uint32_t capacity;
static uint64_t keys[5];
static uint64_t counters[64];
static uint32_t own, peer_address, vip;
static uint64_t peer_sum;

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint16_t le16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static uint64_t le64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static uint32_t be32(const uint8_t *p) { return __builtin_bswap32(le32(p)); }

static uint32_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint32_t)sum;
}

static uint32_t hash4(uint32_t remote, uint32_t local, uint32_t ports) {
  uint64_t h = keys[0] + (keys[1] + remote) * (keys[2] + ports) + (keys[3] + local) * keys[4];
  h = (h ^ (h >> 32)) * 0xff51afd7ed558ccdULL;
  return (uint32_t)(h >> 32);
}

/* Not the first slot of its line, which the core begins with: it is 2 ns faster so, in cache. */
static entry_t *home_of(uint32_t hash) {
  return table + (uint32_t)(((uint64_t)hash * capacity) >> 32);
}

/* Pass 1: every check, and where the entry would be. */
static void classify(descriptor_t *d, work_t *w) {
  const uint8_t *p = d->ptr;
  w->kind = 0;
  w->home = (entry_t *)p;
  d->verdict = 0;
  if (d->len > 2048 || d->len < 20) { counters[0]++; return; }
  if (p[0] >> 4 != 4) { counters[0]++; return; }
  uint32_t header = (p[0] & 15) << 2;
  if (header < 20) { counters[0]++; return; }
  uint32_t total = be16(p + 2);
  if (total > d->len || header > total) { counters[0]++; return; }
  if ((be16(p + 6) & 0x3fff) != 0) { counters[1]++; return; }
  uint64_t sum = 0;
  for (uint32_t at = 0; at < header; at += 4) sum += le32(p + at);
  if (fold(sum) != 0xffff) { counters[2]++; return; }
  d->len = total;
  w->header = header;
  if (p[12] == 0 || p[12] == 127 || p[12] >= 224 || le32(p + 12) == le32(p + 16)) { counters[3]++; return; }
  if (p[9] != 6) { counters[4]++; return; }
  const uint8_t *tcp = p + header;
  if (total - header < 20) { counters[5]++; return; }
  uint32_t offset = (tcp[12] >> 4) << 2;
  if (offset < 20 || offset > total - header) { counters[5]++; return; }
  if (le32(p + 16) == own) { counters[6]++; return; }
  if (le32(p + 16) != vip || be16(tcp + 2) != 80) { counters[7]++; return; }
  w->kind = 1;
  w->service = 0;
  w->home = home_of(hash4(le32(p + 12), 0, be16(tcp)));
}

static void update(uint8_t *field, uint64_t removed, uint64_t added) {
  uint16_t old = le16(field);
  uint16_t now = (uint16_t)~fold((uint64_t)(uint16_t)~old + removed + added);
  memcpy(field, &now, 2);
}

/* Pass 3: look up, note what a reset needs, rewrite. */
static void decide(descriptor_t *d, work_t *w, uint32_t seconds) {
  if (w->kind != 1) return;
  uint8_t *p = d->ptr, *tcp = p + w->header;
  uint64_t key = le32(p + 12) | (uint64_t)(be16(tcp) | (w->service + 1) << 16) << 32;
  entry_t *e = w->home;
  for (;; e = e + 1 == table_end ? table : e + 1) {
    if (e->key == key) break;
    if (e->key == 0) { counters[8]++; return; }
  }
  uint8_t flags = tcp[13];
  if ((flags & 4) == 0) {
    e->seen = (uint16_t)seconds;
    if (flags & 16) {
      e->seq = be32(tcp + 4);
      e->ack = be32(tcp + 8);
      uint32_t offset = (tcp[12] >> 4) << 2;
      if (offset >= 32) {
        if (le32(tcp + 20) == 0x0a080101) {
          if ((e->owner & 0x2000) == 0) e->owner |= 0x2000;
          e->tsval = be32(tcp + 24);
          e->tsecr = be32(tcp + 28);
        } else {
          for (const uint8_t *o = tcp + 20, *end = tcp + offset; o < end;) {
            if (o[0] == 0) break;
            if (o[0] == 1) { o++; continue; }
            if (o + 1 >= end || o[1] < 2 || o + o[1] > end) break;
            if (o[0] == 8 && o[1] == 10) {
              e->owner |= 0x2000;
              e->tsval = be32(o + 2);
              e->tsecr = be32(o + 6);
            }
            o += o[1];
          }
        }
      }
    }
  }
  if (e->owner >> 14 != 1) { counters[9]++; return; }
  uint16_t life = le16(p + 8);
  if ((life & 0xff) <= 1) { counters[10]++; return; }
  uint64_t removed = (uint64_t)(uint32_t)~le32(p + 12) + (uint32_t)~le32(p + 16);
  uint16_t less = (uint16_t)(life - 1);
  update(p + 10, removed + (uint16_t)~life, peer_sum + less);
  uint32_t flow = __builtin_bswap32(e->flow);
  update(tcp + 16, removed + (uint32_t)~le32(tcp), peer_sum + flow);
  memcpy(p + 8, &less, 2);
  memcpy(p + 12, &own, 4);
  memcpy(p + 16, &peer_address, 4);
  memcpy(tcp, &flow, 4);
  d->peer = e->owner & 0x1fff;
  d->flow = e->flow;
  d->verdict = 2;
  counters[11]++;
  counters[12] += d->len;
}

static volatile uint64_t touched;

static void batch(descriptor_t *d, int count, uint32_t seconds) {
  static work_t work[BATCH];
  uint64_t bytes = 0, sum = 0;
  for (int i = 0; i < count; i++) { bytes += d[i].len; classify(&d[i], &work[i]); }
  counters[13] += (uint64_t)count;
  counters[14] += bytes;
  for (int i = 0; i < count; i++) {
    sum += le64((const uint8_t *)work[i].home) + le64((const uint8_t *)work[i].home + 64);
  }
  touched = sum;
  for (int i = 0; i < count; i++) decide(&d[i], &work[i], seconds);
}

/* What is known of a packet stays in registers. */
static void single(descriptor_t *d, uint32_t seconds) {
  work_t work;
  counters[13]++;
  counters[14] += d->len;
  classify(d, &work);
  decide(d, &work, seconds);
}

/* Flow `i`: bench/core/traffic.ts says the same. */

static uint32_t client_word(uint32_t i) {
  uint32_t word = (i + 1) * 0x9e3779b1u;
  return (20 + (word >> 26)) << 24 | (word & 0xffffff);
}

static uint32_t client_port(uint32_t i) { return 1024 + i % 60000; }

static uint32_t flow_of(uint32_t i) { return 0x00010001 + i / 65535 * 65536 + i % 65535; }

static uint8_t template[LENGTH];
static uint32_t state, flows;

static uint32_t draw(void) {
  state += 0x9e3779b9;
  uint32_t x = state;
  x = (x ^ x >> 16) * 0x85ebca6b;
  x = (x ^ x >> 13) * 0xc2b2ae35;
  return x ^ x >> 16;
}

static void put32(uint8_t *p, uint32_t word) { word = __builtin_bswap32(word); memcpy(p, &word, 4); }

static void next(uint8_t *p) {
  uint32_t random = draw(), i = (uint32_t)(((uint64_t)random * flows) >> 32);
  uint8_t *tcp = p + 20;
  memcpy(p, template, LENGTH);
  put32(p + 12, client_word(i));
  put32(tcp, client_port(i) << 16 | 80);
  put32(tcp + 4, random);
  put32(tcp + 8, i);
  put32(tcp + 24, random ^ i);
  put32(tcp + 28, ~random);
  update(p + 10, 0, le32(p + 12));
  uint64_t added = (uint64_t)le32(p + 12) + le32(tcp) + le32(tcp + 4) + le32(tcp + 8);
  update(tcp + 16, 0, added + le32(tcp + 24) + le32(tcp + 28));
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void measure(descriptor_t *d, int singly) {
  static double times[PACKETS / BATCH];
  uint32_t digest = 0;
  for (int at = 0; at < PACKETS; at += BATCH) {
    for (int i = 0; i < BATCH; i++) {
      next(d[i].ptr);
      d[i].len = LENGTH;
    }
    double started = now_ns();
    if (singly) for (int i = 0; i < BATCH; i++) single(&d[i], 2);
    else batch(d, BATCH, 2);
    times[at / BATCH] = (now_ns() - started) / BATCH;
    for (int i = 0; i < BATCH; i++) {
      if (d[i].verdict != 2) { fprintf(stderr, "packet %d: not forwarded\n", at + i); exit(1); }
      for (int j = 0; j < LENGTH; j += 4) digest = (digest ^ le32(d[i].ptr + j)) * 0x01000193;
    }
  }
  qsort(times, PACKETS / BATCH, sizeof(double), compare);
  printf("{\"ns\":%.2f,\"digest\":%u}\n", times[PACKETS / BATCH / 2], digest);
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  flows = (uint32_t)atoi(argv[1]);
  int huge = atoi(argv[2]);
  const size_t page = 2 << 20;
  capacity = flows + (flows >> 1) + 8;
  size_t size = ((size_t)capacity * sizeof(entry_t) + 64 + page - 1) & ~(page - 1);
  uint8_t *room = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return 1;
  table = (entry_t *)(((uintptr_t)room + page - 1) & ~(page - 1));
  if (huge && madvise(table, size, MADV_HUGEPAGE) != 0) return 1;
  table_end = table + capacity;
  for (int i = 0; i < 5; i++) keys[i] = 0x9e3779b97f4a7c15ULL * (uint64_t)(i * 2 + 3) ^ 0x5851f42d4c957f2dULL;
  const uint8_t o[] = {10, 9, 0, 1}, q[] = {10, 9, 0, 2}, v[] = {10, 0, 0, 100};
  own = le32(o); peer_address = le32(q); vip = le32(v);
  peer_sum = (uint64_t)own + peer_address;
  for (uint32_t i = 0; i < flows; i++) {
    uint32_t word = __builtin_bswap32(client_word(i)), port = client_port(i);
    entry_t *e = home_of(hash4(word, 0, port));
    while (e->key != 0) e = e + 1 == table_end ? table : e + 1;
    e->key = word | (uint64_t)(port | 1u << 16) << 32;
    e->flow = flow_of(i);
    e->owner = 1 << 14 | 1;
  }
  uint8_t *slots = aligned_alloc(64, (size_t)STRIDE * BATCH);
  static descriptor_t d[BATCH];
  for (int i = 0; i < BATCH; i++) d[i].ptr = slots + (size_t)i * STRIDE + 64;
  if (fread(template, LENGTH, 1, stdin) != 1) return 1;
  for (uint8_t order[5]; fread(order, sizeof order, 1, stdin) == 1;) {
    state = le32(order + 1);
    measure(d, order[0]);
  }
  return 0;
}
