/*
 * libFuzzer's side of assembly/fuzz: the module as C (wasm2c), one instance for each scene, brought back to where the
 * scene ends before each program. The first byte of an input chooses the scene. A trap aborts.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define SCENES 16

struct scene {
  Z_core_instance_t instance;
  /* What the instance and its memory are after begin(). */
  Z_core_instance_t begun;
  uint8_t *memory;
  size_t size;
  int is_ready;
};

static struct scene scenes[SCENES];

void baton_trap(int code) {
  fprintf(stderr, "trap %d\n", code);
  abort();
}

static void begin(struct scene *scene, uint32_t number) {
  static int is_ready = 0;
  if (!is_ready) {
    wasm_rt_init();
    Z_core_init_module();
    is_ready = 1;
  }
  Z_core_instantiate(&scene->instance);
  Z_coreZ_begin(&scene->instance, number);
  wasm_rt_memory_t *memory = Z_coreZ_memory(&scene->instance);
  scene->size = memory->size;
  scene->memory = malloc(scene->size);
  if (scene->memory == NULL) abort();
  memcpy(scene->memory, memory->data, scene->size);
  scene->begun = scene->instance;
  scene->is_ready = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  uint32_t number = data[0] % SCENES;
  struct scene *scene = &scenes[number];
  if (!scene->is_ready) begin(scene, number);
  scene->instance = scene->begun;
  uint8_t *memory = Z_coreZ_memory(&scene->instance)->data;
  memcpy(memory, scene->memory, scene->size);
  size_t max = Z_coreZ_inputMax(&scene->instance);
  size_t len = size - 1 < max ? size - 1 : max;
  memcpy(memory + Z_coreZ_inputPtr(&scene->instance), data + 1, len);
  uint32_t digest = Z_coreZ_run(&scene->instance, (uint32_t)len);
  if (getenv("BATON_DIGEST") != NULL) printf("%08x\n", digest);
  return 0;
}
