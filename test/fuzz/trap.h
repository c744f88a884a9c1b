/* What wasm2c's runtime calls instead of a long jump: see core.c. */
void baton_trap(int code);
