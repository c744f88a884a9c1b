#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "core.h"

struct baton_core {
  Z_core_instance_t instance;
};

struct export {
  const char *name;
  int count;
  double (*call)(Z_core_instance_t *, const double *);
};

#include "exports.inc"

baton_core *baton_core_new(void) {
  static int is_ready = 0;
  if (!is_ready) {
    wasm_rt_init();
    Z_core_init_module();
    is_ready = 1;
  }
  baton_core *core = calloc(1, sizeof *core);
  if (core != NULL) Z_core_instantiate(&core->instance);
  return core;
}

void baton_core_free(baton_core *core) {
  if (core == NULL) return;
  Z_core_free(&core->instance);
  free(core);
}

uint8_t *baton_core_memory(baton_core *core) { return Z_coreZ_memory(&core->instance)->data; }

size_t baton_core_memory_size(baton_core *core) { return Z_coreZ_memory(&core->instance)->size; }

int baton_core_call(baton_core *core, const char *name, int count, const double *args, double *result) {
  for (size_t at = 0; at < sizeof EXPORTS / sizeof *EXPORTS; at++) {
    if (strcmp(EXPORTS[at].name, name) != 0) continue;
    if (EXPORTS[at].count != count) return -1;
    *result = EXPORTS[at].call(&core->instance, args);
    return 0;
  }
  return -1;
}
