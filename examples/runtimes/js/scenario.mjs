/**
 * Plays a scenario (../README.md) on an instance of the core, in any JavaScript runtime: nothing is imported
 * and nothing is read here but memory.
 */

/**
 * @param {string} text the scenario
 * @param {WebAssembly.Exports} exports of a fresh instance of the core
 * @param {{ keep(file: string, bytes: Uint8Array): void, give(file: string): Uint8Array }} files
 * @returns {number} how many steps were played
 * @throws {Error} at the first step that has another outcome than the scenario says
 */
export function play(text, exports, files) {
  const names = new Map();
  // A view is made for each use: init grows the memory, which detaches older ones.
  const memory = (ptr, length) => new Uint8Array(exports.memory.buffer, ptr, length);
  const address = (place) => {
    const [name, off] = place.split("+");
    return names.get(name) + Number(off ?? 0);
  };
  const argument = (word) => {
    const value = word.slice(2);
    return word.startsWith("p:") ? address(value) : Number(value);
  };
  const steps = {
    get: (name, exported) => void names.set(name, exports[exported]() >>> 0),
    load: (name, place) => {
      const view = new DataView(exports.memory.buffer);
      names.set(name, view.getUint32(address(place), true));
    },
    write: (place, hex) => {
      const bytes = bytesOf(hex);
      memory(address(place), bytes.length).set(bytes);
    },
    call: (exported, ...words) => {
      const end = words.indexOf("=");
      const result = exports[exported](...words.slice(0, end).map(argument));
      if (String(result) !== words[end + 1]) throw new Error(`got ${result}`);
    },
    read: (place, hex) => {
      const found = hexOf(memory(address(place), hex.length / 2));
      if (found !== hex) throw new Error(`got ${found}`);
    },
    keep: (file, place, length) => files.keep(file, memory(address(place), Number(length)).slice()),
    give: (file, place) => {
      const bytes = files.give(file);
      memory(address(place), bytes.length).set(bytes);
    },
  };
  let played = 0;
  text.split("\n").forEach((line, index) => {
    if (line === "" || line.startsWith("#")) return;
    const [verb, ...words] = line.split(" ");
    try {
      steps[verb](...words);
    } catch (error) {
      throw new Error(`line ${index + 1}: ${line}: ${error.message}`, { cause: error });
    }
    played++;
  });
  return played;
}

function bytesOf(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function hexOf(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
