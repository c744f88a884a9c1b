# core.h of wasm2c -> one function of the same shape for each export, and a table of them by name.
# A declaration follows its comment:   /* export: 'init' */   u32 Z_coreZ_init(Z_core_instance_t*, f64);
/^\/\* export: '/ { split($0, quoted, "'"); name = quoted[2]; next }
name != "" && /\);$/ {
  match($0, /\(.*\)/)
  count = split(substr($0, RSTART + 1, RLENGTH - 2), types, /, */)
  symbol = substr($0, 1, RSTART - 1)
  result = symbol
  sub(/ .*/, "", result)
  sub(/.*[ *]/, "", symbol)
  if (result == "u32" || result == "f64") {
    call = symbol "(core"
    for (i = 2; i <= count; i++) {
      call = call ", " (types[i] == "f64" ? "args[" i - 2 "]" : "(u32)(int64_t)args[" i - 2 "]")
    }
    cast = result == "f64" ? "" : "(int32_t)"
    printf "static double call_%s(%s core, const double *args) {\n", name, types[1]
    printf "  (void)args;\n  return %s%s);\n}\n", cast, call
    table = table sprintf("  {\"%s\", %d, call_%s},\n", name, count - 1, name)
  }
  name = ""
}
END { printf "static const struct export EXPORTS[] = {\n%s};\n", table }
