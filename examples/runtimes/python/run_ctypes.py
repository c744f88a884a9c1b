"""Python through ctypes on the C library (../c):  run_ctypes.py LIBBATONCORE.so SCENARIO.txt FOLDER"""

import ctypes
import sys

from scenario import play


class Core:
    """One instance of the core in libbatoncore.so."""

    def __init__(self, library):
        self._library = ctypes.CDLL(library)
        self._library.baton_core_new.restype = ctypes.c_void_p
        self._library.baton_core_memory.restype = ctypes.c_void_p
        self._library.baton_core_memory.argtypes = [ctypes.c_void_p]
        self._library.baton_core_memory_size.restype = ctypes.c_size_t
        self._library.baton_core_memory_size.argtypes = [ctypes.c_void_p]
        self._library.baton_core_call.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_double),
            ctypes.POINTER(ctypes.c_double),
        ]
        self._core = self._library.baton_core_new()
        if not self._core:
            raise MemoryError("no instance")

    def call(self, name, args):
        result = ctypes.c_double()
        numbers = (ctypes.c_double * max(1, len(args)))(*args)
        if self._library.baton_core_call(self._core, name.encode(), len(args), numbers, result) < 0:
            raise LookupError(name)
        return int(result.value) if result.value.is_integer() else result.value

    def read(self, ptr, length):
        return ctypes.string_at(self._at(ptr, length), length)

    def write(self, ptr, data):
        ctypes.memmove(self._at(ptr, len(data)), data, len(data))

    def _at(self, ptr, length):
        if ptr + length > self._library.baton_core_memory_size(self._core):
            raise IndexError(ptr)
        return self._library.baton_core_memory(self._core) + ptr


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: run_ctypes.py LIBBATONCORE.so SCENARIO.txt FOLDER")
    print(f"{play(sys.argv[2], Core(sys.argv[1]), sys.argv[3])} steps equal")
