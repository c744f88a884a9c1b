"""Plays a scenario (../README.md) on any object with call(name, args), read(ptr, length) and write(ptr, data)."""

import os


class Difference(Exception):
    """A step had another outcome than the scenario says."""


def play(scenario, core, folder):
    """Returns how many steps were played."""
    names = {}

    def address(place):
        name, _, off = place.partition("+")
        return names[name] + int(off or 0)

    def argument(word):
        kind, value = word.split(":", 1)
        return address(value) if kind == "p" else float(value) if kind == "f" else int(value)

    def get(name, exported):
        names[name] = core.call(exported, []) & 0xFFFFFFFF

    def load(name, place):
        names[name] = int.from_bytes(core.read(address(place), 4), "little")

    def write(place, data):
        core.write(address(place), bytes.fromhex(data))

    def read(place, data):
        found = core.read(address(place), len(data) // 2).hex()
        if found != data:
            raise Difference(f"got {found}")

    def call(exported, *words):
        end = words.index("=")
        result = core.call(exported, [argument(word) for word in words[:end]])
        if float(result) != float(words[end + 1]):
            raise Difference(f"got {result}")

    def keep(file, place, length):
        with open(os.path.join(folder, file), "wb") as kept:
            kept.write(core.read(address(place), int(length)))

    def give(file, place):
        with open(os.path.join(folder, file), "rb") as given:
            core.write(address(place), given.read())

    steps = {"get": get, "load": load, "write": write, "read": read, "call": call, "keep": keep, "give": give}
    played = 0
    with open(scenario, encoding="ascii") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if line == "" or line.startswith("#"):
                continue
            verb, *words = line.split(" ")
            try:
                steps[verb](*words)
            except Difference as difference:
                raise Difference(f"line {number}: {line}: {difference}") from None
            played += 1
    return played
