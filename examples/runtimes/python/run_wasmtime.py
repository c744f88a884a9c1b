"""Python through wasmtime (pip install wasmtime):  run_wasmtime.py CORE.wasm SCENARIO.txt FOLDER"""

import sys

from wasmtime import Engine, Instance, Module, Store

from scenario import play


class Core:
    """One instance of the core in wasmtime."""

    def __init__(self, file):
        self._store = Store(Engine())
        exports = Instance(self._store, Module.from_file(self._store.engine, file), []).exports(self._store)
        self._exports = exports
        self._memory = exports["memory"]

    def call(self, name, args):
        function = self._exports[name]
        kinds = function.type(self._store).params
        # wasmtime takes an i32 signed.
        numbers = [
            float(arg) if str(kind) == "f64" else (int(arg) ^ 0x80000000) - 0x80000000 if int(arg) >= 0 else int(arg)
            for arg, kind in zip(args, kinds)
        ]
        return function(self._store, *numbers)

    def read(self, ptr, length):
        return bytes(self._memory.read(self._store, ptr, ptr + length))

    def write(self, ptr, data):
        self._memory.write(self._store, data, ptr)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: run_wasmtime.py CORE.wasm SCENARIO.txt FOLDER")
    print(f"{play(sys.argv[2], Core(sys.argv[1]), sys.argv[3])} steps equal")
