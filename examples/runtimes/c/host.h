/* The core as a C library: instances, their memory, calls by name. docs/abi.md says what can be called. */
#ifndef BATON_HOST_H
#define BATON_HOST_H

#include <stddef.h>
#include <stdint.h>

typedef struct baton_core baton_core;

/* NULL when there is no memory. */
baton_core *baton_core_new(void);
void baton_core_free(baton_core *core);

/* The first byte of the instance's memory: asked for again after init, which grows it once. */
uint8_t *baton_core_memory(baton_core *core);
size_t baton_core_memory_size(baton_core *core);

/* Every u32, i32 and f64 fits a double. Returns 0, or -1 for a name or a number of arguments that does not exist. */
int baton_core_call(baton_core *core, const char *name, int count, const double *args, double *result);

#endif
