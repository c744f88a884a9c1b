/** What can be asked of the servers: names and sizes in bytes. */
export const FILES: Readonly<Record<string, number>> = {
  "128": 128,
  "64k": 64 << 10,
  "1m": 1 << 20,
  "1g": 1 << 30,
};
