/* Plays a scenario (../README.md): scenario SCENARIO.txt FOLDER */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

enum { NAMES_MAX = 256, ARGS_MAX = 8, PATH_LENGTH = 4096 };

struct name {
  char text[32];
  uint32_t value;
};

static baton_core *core;
static struct name names[NAMES_MAX];
static int names_used;
static int line_number;
static const char *folder;

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "line %d: %s: %s\n", line_number, what, detail);
  exit(1);
}

static const char *word(void) {
  const char *found = strtok(NULL, " ");
  if (found == NULL) fail("a word is missing", "");
  return found;
}

static void name_set(const char *text, uint32_t value) {
  int at = 0;
  while (at < names_used && strcmp(names[at].text, text) != 0) at++;
  if (at == NAMES_MAX || strlen(text) >= sizeof names[at].text) fail("too many or too long names", text);
  if (at == names_used) strcpy(names[names_used++].text, text);
  names[at].value = value;
}

/* NAME or NAME+OFFSET */
static uint32_t address(const char *place) {
  size_t length = strcspn(place, "+");
  for (int at = 0; at < names_used; at++) {
    if (strlen(names[at].text) == length && strncmp(names[at].text, place, length) == 0) {
      return names[at].value + (place[length] == '+' ? (uint32_t)strtoul(place + length + 1, NULL, 10) : 0);
    }
  }
  fail("no such name", place);
  return 0;
}

static uint8_t *bytes(uint32_t ptr, size_t length) {
  if (ptr + length > baton_core_memory_size(core)) fail("outside of memory", "");
  return baton_core_memory(core) + ptr;
}

static double run(const char *exported, int count, const double *args) {
  double result = 0;
  if (baton_core_call(core, exported, count, args, &result) < 0) fail("no such export", exported);
  return result;
}

static uint8_t digit(char hex) { return (uint8_t)(hex <= '9' ? hex - '0' : hex - 'a' + 10); }

static void step_get(void) {
  const char *name = word();
  name_set(name, (uint32_t)(int64_t)run(word(), 0, NULL));
}

static void step_load(void) {
  const char *name = word();
  const uint8_t *at = bytes(address(word()), 4);
  name_set(name, (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

static void step_write(void) {
  const uint32_t ptr = address(word());
  const char *hex = word();
  uint8_t *to = bytes(ptr, strlen(hex) / 2);
  for (; *hex != 0; hex += 2) *to++ = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
}

static void step_read(void) {
  const uint32_t ptr = address(word());
  const char *hex = word();
  const uint8_t *from = bytes(ptr, strlen(hex) / 2);
  for (; *hex != 0; hex += 2, from++) {
    if (*from != (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]))) fail("memory differs before", hex);
  }
}

static void step_call(void) {
  const char *exported = word();
  double args[ARGS_MAX];
  int count = 0;
  const char *next = word();
  for (; strcmp(next, "=") != 0; next = word()) {
    if (count == ARGS_MAX) fail("too many arguments", exported);
    args[count++] = next[0] == 'p' ? address(next + 2) : strtod(next + 2, NULL);
  }
  const double result = run(exported, count, args);
  const char *expected = word();
  if (result != strtod(expected, NULL)) {
    char got[64];
    snprintf(got, sizeof got, "got %.17g, expected %s", result, expected);
    fail(exported, got);
  }
}

static FILE *file_open(const char *file, const char *mode) {
  char path[PATH_LENGTH];
  snprintf(path, sizeof path, "%s/%s", folder, file);
  FILE *opened = fopen(path, mode);
  if (opened == NULL) fail("cannot be opened", path);
  return opened;
}

static void step_keep(void) {
  FILE *file = file_open(word(), "wb");
  const uint32_t ptr = address(word());
  const size_t length = strtoul(word(), NULL, 10);
  if (fwrite(bytes(ptr, length), 1, length, file) != length) fail("cannot be written", "");
  if (fclose(file) != 0) fail("cannot be written", "");
}

static void step_give(void) {
  FILE *file = file_open(word(), "rb");
  uint32_t ptr = address(word());
  for (int byte = fgetc(file); byte != EOF; byte = fgetc(file)) *bytes(ptr++, 1) = (uint8_t)byte;
  fclose(file);
}

static const struct {
  const char *verb;
  void (*play)(void);
} STEPS[] = {
    {"get", step_get}, {"load", step_load}, {"write", step_write}, {"read", step_read},
    {"call", step_call}, {"keep", step_keep}, {"give", step_give},
};

static void play(char *line) {
  const char *verb = strtok(line, " ");
  for (size_t at = 0; at < sizeof STEPS / sizeof *STEPS; at++) {
    if (strcmp(STEPS[at].verb, verb) == 0) {
      STEPS[at].play();
      return;
    }
  }
  fail("no such step", verb);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: scenario SCENARIO.txt FOLDER\n");
    return 2;
  }
  FILE *file = fopen(arguments[1], "r");
  core = baton_core_new();
  if (file == NULL || core == NULL) {
    fprintf(stderr, "%s: cannot be read, or there is no memory\n", arguments[1]);
    return 1;
  }
  folder = arguments[2];
  char *line = NULL;
  size_t size = 0;
  int steps = 0;
  while (getline(&line, &size, file) >= 0) {
    line_number++;
    line[strcspn(line, "\n")] = 0;
    if (line[0] == 0 || line[0] == '#') continue;
    play(line);
    steps++;
  }
  printf("%d steps equal\n", steps);
  free(line);
  fclose(file);
  baton_core_free(core);
  return 0;
}
